"""Few-shot examples and instructions that many logged queries begin with are not what a query asks."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from thought_toys import template_table
from tiny_bert import tiny_bert
from toy_log import toy_data

from fusion_hf.encoders.beginnings import SHARED_BY, SHORTEST, bare, parted, shared_beginnings
from fusion_hf.encoders.cache import embed_cached
from fusion_hf.errors import UserError
from fusion_hf.routers import fit_router, load_router
from fusion_hf.routers.card import write_router_card
from fusion_hf.routers.measuring.cross_validation import cross_validate
from fusion_hf.routers.measuring.evaluate import evaluate_router
from fusion_hf.routers.sources import embeddings_of
from fusion_hf.routers.verbs import RouterResult
from fusion_hf.thoughts import TemplateIndex
from fusion_hf.thoughts.files import CONFIG_FILE

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


def test_templates_are_found_for_bare_questions_and_prompts_alike(tmp_path):
    queries = [SHOTS + f"{a} is in which {b}?" for a in "abcdefghijk" for b in ("city", "country", "number")]
    table = template_table(len(queries))
    table = table.set_column(table.column_names.index("query"), "query", pa.array(queries))
    encoder = tiny_bert(tmp_path / "bert")
    index = TemplateIndex.build(table, encoder)
    assert index.beginnings[:, 1].tolist() == [len(SHOTS)]
    index.save_pretrained(tmp_path)
    loaded = TemplateIndex.from_pretrained(tmp_path)
    assert torch.equal(loaded.beginnings, index.beginnings)
    asked = ["a is in which city?", "the number of k"]
    for found in (index, loaded):
        bare_hits, shown = found.search(asked, k=2), found.search([SHOTS + q for q in asked], k=2)
        assert [[h.as_dict() for h in row] for row in bare_hits] == [[h.as_dict() for h in row] for row in shown]
        assert queries[0] not in {h.query for h in bare_hits[0]}  # the query itself is not returned
        assert len({h.query for row in bare_hits for h in row}) > 2
    file = tmp_path / "thought_templates" / CONFIG_FILE
    config = json.loads(file.read_text())
    for wrong in ([[1, 2]], {"a": 1}, [[1, 2, "3"]], [[-1, 2, 3]], [[0, 0, 2**63]], [[1, 2, 3]] * 999, "x"):
        file.write_text(json.dumps(config | {"beginnings": wrong}))
        with pytest.raises(UserError, match="beginnings: expected at most 256 rows of three whole numbers"):
            TemplateIndex.from_pretrained(tmp_path)
    del config["beginnings"]  # as indices were saved before
    file.write_text(json.dumps(config))
    assert TemplateIndex.from_pretrained(tmp_path).beginnings is None
