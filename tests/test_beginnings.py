"""Few-shot examples and instructions that many logged queries begin with are not what a query asks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert
from toy_log import toy_data

from fusion_hf.encoders.cache import embed_cached
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.beginnings import SHARED_BY, SHORTEST, bare, parted, shared_beginnings
from fusion_hf.routers.card import write_router_card
from fusion_hf.routers.measuring.cross_validation import cross_validate
from fusion_hf.routers.measuring.evaluate import evaluate_router
from fusion_hf.routers.sources import embeddings_of
from fusion_hf.routers.verbs import RouterResult

SHOTS = "".join(f"Example {i}: which number is {i} + {i}?\nAnswer: {2 * i}\n\n" for i in range(19))
OTHER = "You are asked for capitals.\n" + SHOTS
QUERIES = [f"What is {i} + {i}?" for i in range(3 * SHARED_BY)]
assert len(SHOTS) > SHORTEST


def prompted(data, beginning=SHOTS):
    return replace(data, queries=[beginning + q for q in data.queries])


def test_the_longest_shared_beginning_of_whole_lines_is_taken_off():
    texts = [SHOTS + q for q in QUERIES] + [OTHER + q for q in QUERIES] + ["alone", SHOTS]
    known = shared_beginnings(texts)
    assert known[:, 1].tolist() == [len(OTHER), len(SHOTS)]
    rest, words = parted(texts, known)
    assert rest == [*QUERIES, *QUERIES, "alone", SHOTS]  # nothing would be left of the last one
    assert len(set(words)) == 3 and words[-1] == words[-2] == ""
    assert bare([SHOTS + "new", SHOTS[:-9] + "new", "new", ""], known) == ["new", SHOTS[:-9] + "new", "new", ""]


@pytest.mark.parametrize(
    "texts",
    [
        [SHOTS + q for q in QUERIES[: SHARED_BY - 1]],
        [SHOTS + QUERIES[0]] * 99,  # one query, asked again and again
        ["Which number is it? " * 40 + q for q in QUERIES],  # one line: it may be what is asked
        [SHOTS[: SHORTEST - 60] + "\n" + q for q in QUERIES],
        [],
    ],
)
def test_what_few_share_or_is_short_stays(texts):
    assert shared_beginnings(texts).shape == (0, 3) and bare(texts, shared_beginnings(texts)) == texts


def test_sorted_windows_find_what_counting_finds():
    rng = np.random.default_rng(0)
    lines = [f"{c * 310}\n" for c in "abc"]
    for _ in range(20):
        texts = ["".join(lines[i] for i in rng.integers(0, 3, 4)) + f"{n}" for n in range(300)]
        counts: dict[str, int] = {}
        for text in texts:
            for end in (i + 1 for i, c in enumerate(text) if c == "\n" and i + 1 >= SHORTEST):
                counts[text[:end]] = counts.get(text[:end], 0) + 1
        often = {b for b, n in counts.items() if n >= SHARED_BY}
        rest = bare(texts, shared_beginnings(texts))
        longest = [max((b for b in often if t.startswith(b)), key=len, default="") for t in texts]
        assert often and [len(t) - len(r) for t, r in zip(texts, rest, strict=True)] == [len(b) for b in longest]


@pytest.mark.parametrize("kind", ["fusion", "knn", "linear", "oracle"])
def test_a_question_is_routed_alike_with_and_without_the_examples(kind, tmp_path):
    train, test = toy_data(90), toy_data(45, split="test")
    encoder = tiny_bert(tmp_path / "bert")
    router = fit_router(kind, prompted(train), encoder, progress=False)
    asked = train if kind == "oracle" else test
    plain, shown = router.route(asked.queries), router.route(prompted(asked).queries)
    assert [d.candidate for d in plain] == [d.candidate for d in shown]
    assert len({d.candidate for d in plain}) > 1
    vectors = embed_cached(router.text_encoder, asked.queries)  # the encoder sees the question alone
    np.testing.assert_array_equal(embeddings_of(router, prompted(asked)), vectors)
    np.testing.assert_allclose(router.features(prompted(asked).queries)[:, :16], vectors, atol=1e-6)
    router.save_pretrained(tmp_path / "router")
    assert b"Example 3" not in b"".join(p.read_bytes() for p in (tmp_path / "router").iterdir() if p.is_file())
    again = load_router(tmp_path / "router").route(prompted(asked).queries)
    assert [d.candidate for d in again] == [d.candidate for d in shown]


def test_what_is_not_embedded_is_told(tmp_path):
    router = fit_router("linear", prompted(toy_data(60)), "none")
    told = str(RouterResult.of(router, tmp_path / "router", False))
    assert "not embedded: 1 beginning that many of them share" in told
    write_router_card(tmp_path / "router", "me/router")
    assert "Not embedded: 1 beginning of prompts" in (tmp_path / "router" / "README.md").read_text()
    plain = fit_router("linear", toy_data(60), "none")
    assert "not embedded" not in str(RouterResult.of(plain, tmp_path / "plain", False))
    write_router_card(tmp_path / "plain", "me/plain")
    assert "Not embedded" not in (tmp_path / "plain" / "README.md").read_text()


def test_a_log_without_them_learns_none():
    assert not hasattr(fit_router("linear", toy_data(60), "none"), "beginnings")


def test_evaluation_and_folds_embed_as_training_does(tmp_path):
    train, test = prompted(toy_data(90)), prompted(toy_data(45, split="test"))
    encoder = tiny_bert(tmp_path / "bert")
    router = fit_router("linear", train, encoder, progress=False)
    assert torch.equal(router.beginnings[:, 1], torch.tensor([len(SHOTS)]))
    known = evaluate_router(router, test, train, ["performance"], embeddings=embeddings_of(router, test))
    plain = evaluate_router(router, test, train, ["performance"])
    assert known["scenarios"] == plain["scenarios"]
    # With the examples, of which the tiny encoder reads 64 tokens, every query would have the same vector.
    folds = [cross_validate(d, ["linear"], 3, "performance", encoder, progress=False) for d in (train, toy_data(90))]
    assert folds[0]["kinds"]["linear"]["reward"] == pytest.approx(folds[1]["kinds"]["linear"]["reward"], abs=0.02)
