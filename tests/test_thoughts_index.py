"""The index over thought templates: exact, batch = single, saved = loaded; leaks, floors, diversity, tasks."""

import itertools
import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from thought_toys import found, template_table, unit
from tiny_bert import tiny_bert

from fusion_hf.encoders.encoder import load_encoder
from fusion_hf.errors import UserError
from fusion_hf.logs.log import read_log
from fusion_hf.tasks import THINK_SUFFIX
from fusion_hf.thoughts import (
    TemplateIndex,
)
from fusion_hf.thoughts.nearest import nearest


@pytest.mark.parametrize(("n", "size"), [(7, 3), (40, 1000), (520, 17000)])
def test_nearest_is_exact_and_the_same_alone_as_in_a_batch(rng, n, size):
    queries, vectors = unit(rng, n), unit(rng, size)
    rows, similarity = nearest(queries, vectors, 5)
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    k = min(5, size)
    np.testing.assert_array_equal(rows[:, :k], np.argsort(-scores, axis=1, kind="stable")[:, :k])
    np.testing.assert_allclose(similarity[:, :k], -np.sort(-scores, axis=1)[:, :k], atol=1e-6)
    assert (rows[:, k:] == -1).all() and np.isneginf(similarity[:, k:]).all()
    for i in range(0, n, max(1, n // 10)):
        alone = nearest(queries[i : i + 1], vectors, 5)
        np.testing.assert_array_equal(alone[0][0], rows[i])
        np.testing.assert_array_equal(alone[1][0], similarity[i])


def test_equal_vectors_come_in_the_order_of_rows(rng):
    vectors = np.repeat(unit(rng, 1), 5, axis=0)
    assert nearest(vectors[:1], vectors, 3)[0].tolist() == [[0, 1, 2]]


def test_k_is_kept_and_the_best_come_first(index, rng):
    queries = unit(rng, 20)
    best = index.search(embeddings=queries, k=7, min_similarity=-1)
    assert all(len(hits) == 7 for hits in best)
    assert all(a.similarity >= b.similarity for hits in best for a, b in itertools.pairwise(hits))
    three = index.search(embeddings=queries, k=3, min_similarity=-1)
    assert found(three) == [row[:3] for row in found(best)]
    assert len(index.search(embeddings=queries[:1], k=999, min_similarity=-1)[0]) == 300


def test_the_floor_leaves_out_weak_hits(index, rng):
    queries = unit(rng, 20)
    every = found(index.search(embeddings=queries, k=300, min_similarity=-1))
    for floor in (0.0, 0.3, 0.999):
        strong = found(index.search(embeddings=queries, k=300, min_similarity=floor))
        assert strong == [[h for h in row if h[1] >= floor] for row in every]


def test_the_query_itself_is_never_returned(index):
    thinking = f"Template question number 6?{THINK_SUFFIX}"
    asked = ["Template question number 4?", "  template QUESTION number 5?\n", thinking]
    vectors = index.embeddings[4:7]
    hits = index.search(asked, vectors, k=300, min_similarity=-1)
    assert [len(row) for row in hits] == [299] * 3
    assert all(4 + i not in {h.row for h in row} for i, row in enumerate(hits))
    kept = index.search(asked, vectors, k=1, leak_exclusion=False)
    assert [row[0].row for row in kept] == [4, 5, 6]


def test_near_duplicates_of_the_query_are_never_returned(rng):
    story = "Ana has {} red apples and her brother Tom gives her three green ones from his own tree before lunch on {}."
    days = [story.format("twelve", day) for day in ("Monday", "Tuesday")]
    texts = [
        *days,
        story.format("no", "Sunday").replace("Ana", "Eva"),
        *(f"Quite another matter, {i}?" for i in range(9)),
    ]
    table = template_table(len(texts)).set_column(2, "query", pa.array(texts))
    index, vectors = TemplateIndex(table, unit(rng, len(texts)), "offline"), unit(rng, 3)
    asked = [story.format("twelve", "Friday").upper(), texts[2], "Something new?"]
    hits = index.search(asked, vectors, k=99, min_similarity=-1)
    # The first is a near-duplicate of two templates; the third differs in more words from them.
    assert [sorted(set(range(12)) - {h.row for h in row}) for row in hits] == [[0, 1], [2], []]
    # What is dropped is made up for, and a query gets the same alone as in a batch.
    assert all(len(row) == 4 for row in index.search(asked, vectors, k=4, min_similarity=-1))
    alone = [index.search([q], vectors[i : i + 1], k=4, min_similarity=-1)[0] for i, q in enumerate(asked)]
    assert found(alone) == found(index.search(asked, vectors, k=4, min_similarity=-1))
    assert all(len(row) == 12 for row in index.search(asked, vectors, k=99, min_similarity=-1, leak_exclusion=False))


def test_the_form_that_many_queries_share_makes_no_near_duplicates(rng):
    form = (
        "Read the question below with care, think about what is asked, and answer it in one short line.\nQuestion: {}"
    )
    table = template_table(100).set_column(
        2, "query", pa.array([form.format(f"who made thing {i} there") for i in range(100)])
    )
    index = TemplateIndex(table, unit(rng, 100), "offline")
    hits = index.search([form.format("who made thing 7 there")], index.embeddings[7:8], k=100, min_similarity=-1)
    assert sorted(h.row for h in hits[0]) == [i for i in range(100) if i != 7]


def test_diversity_leaves_copies_out(rng):
    base = unit(rng, 40)
    copies = base[:1] + 0.02 * unit(rng, 3)
    vectors = np.concatenate([copies, base[1:]]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = TemplateIndex(template_table(len(vectors)), vectors, "offline")
    query = base[:1] + 0.2 * base[1:2]
    plain = index.search(embeddings=query, k=3, min_similarity=-1)[0]
    spread = index.search(embeddings=query, k=3, min_similarity=-1, diversity=0.5)[0]
    assert {h.row for h in plain} == {0, 1, 2}
    assert spread[0].row == plain[0].row and len({h.row for h in spread} & {0, 1, 2}) == 1 and len(spread) == 3
    assert found(index.search(embeddings=query, k=3, min_similarity=-1, diversity=1e-9)) == found([plain])
    # Greedy choice by the definition, written plainly, over the same candidates.
    choices = index.search(embeddings=query, k=15, min_similarity=-1)[0]
    chosen = [choices[0]]
    while len(chosen) < 3:
        rest = [h for h in choices if h.row not in {c.row for c in chosen}]
        chosen.append(
            max(rest, key=lambda h: 0.5 * h.similarity - 0.5 * max(vectors[h.row] @ vectors[c.row] for c in chosen))
        )
    assert [h.row for h in spread] == [h.row for h in chosen]


def test_tasks_are_predicted_from_the_embedding(rng):
    centres = unit(rng, 3)
    noisy = np.repeat(centres, 50, axis=0) + 0.3 * unit(rng, 150)
    vectors = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
    names = ["sum", "story", "fact"]
    table = template_table(150).set_column(1, "task", pa.array(np.repeat(names, 50)))
    index = TemplateIndex(table, vectors, "offline")
    queries = centres + 0.3 * unit(rng, 3)
    assert index.predict_tasks(queries) == names
    hits = index.search(embeddings=queries, k=150, filter_tasks=True, min_similarity=-1)
    assert [{h.task for h in row} for row in hits] == [{name} for name in names] and len(hits[0]) == 50
    with pytest.raises(UserError, match="found both"):
        index.search(embeddings=queries, tasks="sum", filter_tasks=True)


def test_a_large_table_is_mapped_rather_than_read(index, rng, tmp_path, monkeypatch):
    from fusion_hf.thoughts import files

    index.save_pretrained(tmp_path / "t")
    small = TemplateIndex.from_pretrained(tmp_path / "t")
    monkeypatch.setattr(files, "IN_MEMORY_BYTES", 0)
    before = pa.total_allocated_bytes()
    large = TemplateIndex.from_pretrained(tmp_path / "t")
    again = TemplateIndex.from_pretrained(tmp_path / "t")
    assert pa.total_allocated_bytes() - before < index.table.nbytes / 2
    assert large.table.equals(small.table) and again.table.equals(small.table)
    queries = unit(rng, 4)
    assert found(large.search(embeddings=queries)) == found(small.search(embeddings=queries))
    index.table = index.table.slice(0, 7)
    index.embeddings = index.embeddings[:7]
    index.save_pretrained(tmp_path / "t")
    assert len(TemplateIndex.from_pretrained(tmp_path / "t")) == 7  # what was cached of the old file is not taken


@pytest.mark.parametrize("damage", ["cut", "none can be written"])
def test_a_cached_table_that_is_damaged_or_cannot_be_written_is_no_trouble(index, tmp_path, monkeypatch, damage):
    from fusion_hf.thoughts import files

    index.save_pretrained(tmp_path / "t")
    monkeypatch.setattr(files, "IN_MEMORY_BYTES", 0)
    monkeypatch.setenv("FUSION_HF_CACHE", str(tmp_path / "cache"))
    if damage == "cut":
        TemplateIndex.from_pretrained(tmp_path / "t")
        (cached,) = (tmp_path / "cache" / "templates").glob("*.arrow")
        data = cached.read_bytes()
        cached.unlink()  # a new file: the old one is mapped
        cached.write_bytes(data[: len(data) // 2])
    else:
        (tmp_path / "cache").write_text("not a folder")
    assert TemplateIndex.from_pretrained(tmp_path / "t").table.equals(index.table)


def test_faiss_proposes_and_exact_scores_decide(rng, monkeypatch):
    pytest.importorskip("faiss", reason="needs the extra faiss (faiss-cpu)")
    from fusion_hf.thoughts import approximate

    vectors, queries = unit(rng, 5000), unit(rng, 50)
    exact = TemplateIndex(template_table(5000), vectors, "offline")
    expected = exact.search(embeddings=queries, k=5, exclude_query_ids=[f"id{i}" for i in range(50)], min_similarity=-1)
    monkeypatch.setattr(approximate, "FROM", 1000)
    index = TemplateIndex(template_table(5000), vectors, "offline")
    hits = index.search(embeddings=queries, k=5, exclude_query_ids=[f"id{i}" for i in range(50)], min_similarity=-1)
    assert index._propose is not None
    agree = [len({h.row for h in a} & {h.row for h in b}) / 5 for a, b in zip(hits, expected, strict=True)]
    assert np.mean(agree) > 0.9 and all(i not in {h.row for h in row} for i, row in enumerate(hits))
    for row in hits:
        np.testing.assert_allclose(
            [h.similarity for h in row], [queries[hits.index(row)] @ vectors[h.row] for h in row], atol=1e-5
        )
    assert [h.task for h in index.search(embeddings=queries[:1], k=3, tasks="fact", min_similarity=-1)[0]] == [
        "fact"
    ] * 3


def test_excluded_ids_are_never_returned(index):
    vectors = index.embeddings[:3]
    hits = index.search(embeddings=vectors, k=300, exclude_query_ids=["id0", None, {"id2", "id7", "unknown"}],
                        min_similarity=-1)  # fmt: skip
    assert [len(row) for row in hits] == [299, 300, 298]
    assert not {0} & {h.row for h in hits[0]} and not {2, 7} & {h.row for h in hits[2]}


def test_the_task_filter(index, rng):
    queries = unit(rng, 3)
    hits = index.search(embeddings=queries, k=300, tasks=["sum", None, "unheard of"], min_similarity=-1)
    assert [len(row) for row in hits] == [100, 300, 0]
    assert {h.task for h in hits[0]} == {"sum"}
    assert {h.task for h in index.search(embeddings=queries, tasks="fact", min_similarity=-1)[1]} == {"fact"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.search(), "needs queries or embeddings"),
        (lambda i: i.search("one text"), "expected a list of texts"),
        (lambda i: i.search(embeddings=np.ones((2, 3))), r"expected \[n, 16\], found \(2, 3\)"),
        (lambda i: i.search(["a"], np.ones((2, 16))), "found 2 for 1 queries"),
        (lambda i: i.search(embeddings=np.ones((2, 16)), k=0), "k: expected at least 1"),
        (lambda i: i.search(embeddings=np.ones((2, 16)), diversity=2), "diversity: expected a number from 0 to 1"),
        (lambda i: i.search(embeddings=np.ones((2, 16)), tasks=["sum"]), "one entry a query"),
        (lambda i: TemplateIndex(i.table, i.embeddings[:5], "offline"), r"expected shape \[300, d\]"),
        (lambda i: TemplateIndex(i.table, i.embeddings, "none"), "'none' makes no vectors"),
        (lambda i: TemplateIndex.build(i.table, "none"), "'none' makes no vectors"),
        (lambda i: TemplateIndex(i.table.slice(0, 0), i.embeddings[:0], "offline"), "expected at least one"),
        (lambda i: TemplateIndex.from_pretrained("/nowhere/at/all"), "expected a folder or a Hub id"),
    ],
)
def test_wrong_input_to_the_index(index, call, message):
    with pytest.raises(UserError, match=message):
        call(index)


def test_a_folder_without_an_index_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="fusion-hf templates BENCH"):
        TemplateIndex.from_pretrained(tmp_path)


SEARCH = """
import sys, json, numpy as np
from fusion_hf.thoughts import TemplateIndex
index = TemplateIndex.from_pretrained(sys.argv[1])
hits = index.search(embeddings=np.load(sys.argv[2]), k=4)
print(json.dumps([isinstance(index.embeddings, np.memmap), [[h.as_dict() for h in row] for row in hits]]))
"""


@pytest.mark.slow
def test_saved_and_loaded_in_a_fresh_process_it_is_the_same(index, rng, tmp_path):
    index.save_pretrained(tmp_path / "t")
    np.save(tmp_path / "q.npy", unit(rng, 9))
    run = subprocess.run([sys.executable, "-c", SEARCH, str(tmp_path / "t"), str(tmp_path / "q.npy")],
                         capture_output=True, text=True, check=True)  # fmt: skip
    mapped, hits = json.loads(run.stdout.splitlines()[-1])
    assert mapped
    assert hits == [[h.as_dict() for h in row] for row in index.search(embeddings=np.load(tmp_path / "q.npy"), k=4)]
    # Saving over the folder that is mapped must not lose anything.
    loaded = TemplateIndex.from_pretrained(tmp_path / "t")
    loaded.save_pretrained(tmp_path / "t")
    np.testing.assert_array_equal(TemplateIndex.from_pretrained(tmp_path / "t").embeddings, index.embeddings)


def test_load_dataset_reads_the_saved_folder(index, tmp_path):
    from datasets import load_dataset
    from safetensors.numpy import load_file

    index.save_pretrained(tmp_path / "t")
    stored = load_file(tmp_path / "t" / "thought_templates" / "embeddings.safetensors")
    assert list(stored) == ["embeddings"] and np.array_equal(stored["embeddings"], index.embeddings)
    data = load_dataset(str(tmp_path / "t"), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.to_list() == index.table.to_pylist()
    assert TemplateIndex(data.select([3, 1]), index.embeddings[[3, 1]], "offline").table["query_id"].to_pylist() == [
        "id3", "id1",
    ]  # fmt: skip


def test_templates_in_a_bench_folder_are_one_more_config(index, log_table, tmp_path):
    from datasets import get_dataset_config_names, load_dataset

    from fusion_hf.logs.log import write_bench

    bench = write_bench({"train": log_table}, tmp_path / "bench")
    before = get_dataset_config_names(str(bench))
    index.save_pretrained(bench)
    index.save_pretrained(bench)
    assert sorted(get_dataset_config_names(str(bench))) == sorted([*before, "thought_templates"])
    data = load_dataset(str(bench), "thought_templates", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(data) == 300 and read_log(bench).num_rows == log_table.num_rows
    write_bench({"test": log_table}, bench)
    assert "thought_templates" in get_dataset_config_names(str(bench))


# Asking an LLM


def test_another_index_of_one_name_or_one_written_anew_is_read_as_it_is(index, tmp_path):
    from datasets import load_dataset

    part = TemplateIndex(index.table.slice(0, 2), index.embeddings[:2], "offline")
    for number, (folder, one) in enumerate([("a", index), ("b", part), ("a", part)]):
        out = one.save_pretrained(tmp_path / folder / "t")
        data = load_dataset(str(out), "thought_templates", split="train", cache_dir=str(tmp_path / "cache"))
        assert data.to_list() == one.table.to_pylist(), number
        assert TemplateIndex.from_pretrained(out).table.equals(one.table)
        assert len(list(out.rglob("*.parquet"))) == 1


def test_without_the_offline_package_the_hub_has_the_same_encoder(index, monkeypatch):
    from fusion_hf.encoders import encoder as module
    from fusion_hf.thoughts import index as place

    asked = []
    monkeypatch.setattr(module, "OFFLINE_PACKAGE", "not_installed_here")
    real = place.load_encoder
    monkeypatch.setattr(
        place, "load_encoder", lambda name: asked.append(name) or (real(name) if name == "offline" else 7)
    )
    assert TemplateIndex(index.table, index.embeddings, "offline")._encoder == 7
    assert asked == ["offline", "sentence-transformers/all-MiniLM-L6-v2"]


def test_a_self_contained_index_carries_encoder_and_templates_as_json_lines(index, tmp_path, monkeypatch):
    from datasets import load_dataset

    from fusion_hf.encoders import encoder as module
    from fusion_hf.thoughts import files
    from fusion_hf.thoughts.rows import Rows

    out = index.save_pretrained(tmp_path / "t")
    assert not (out / "thought_templates" / "encoder").exists()
    index.save_pretrained(out, self_contained=True)
    (table,) = (out / "thought_templates").glob("train-*")
    assert table.suffix == ".jsonl"
    data = load_dataset(str(out), "thought_templates", split="train", cache_dir=str(tmp_path / "cache"))
    assert data.to_list() == index.table.to_pylist()
    monkeypatch.setattr(module, "OFFLINE_PACKAGE", "not_installed_here")
    whole = TemplateIndex.from_pretrained(out)
    assert whole.table.equals(index.table)
    np.testing.assert_array_equal(whole.encode(["What is 2 + 2?"]), index.encode(["What is 2 + 2?"]))
    # Saved over the folder that its weights are mapped from, and read from a map as a large one.
    whole.save_pretrained(out, self_contained=True)
    np.testing.assert_array_equal(whole.encode(["Why?"]), TemplateIndex.from_pretrained(out).encode(["Why?"]))
    with monkeypatch.context() as patch:
        patch.setattr(files, "IN_MEMORY_BYTES", 0)
        assert TemplateIndex.from_pretrained(out).table.equals(index.table)
    # Without pyarrow: the same hits, the same tasks, and the same folder when it is saved again.
    with monkeypatch.context() as patch:
        patch.setattr(files, "pa", None)
        patch.setattr(files, "pq", None)
        bare = TemplateIndex.from_pretrained(out)
        assert isinstance(bare.table, Rows)
        queries = index.table["query"].to_pylist()[:5]
        for options in ({}, {"diversity": 0.5}, {"filter_tasks": True}, {"exclude_query_ids": ["id1"] * 5}):
            found = [i.search(queries, index.embeddings[:5], 4, min_similarity=-1, **options) for i in (index, bare)]
            assert [[h.as_dict() for h in row] for row in found[0]] == [[h.as_dict() for h in row] for row in found[1]]
        bare.save_pretrained(tmp_path / "again", card=False, self_contained=True)
        name = f"thought_templates/{table.name}"
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    # Templates alone again: the encoder of before is not taken for theirs.
    index.save_pretrained(out)
    assert TemplateIndex.from_pretrained(out)._encoder_folder is None
    assert len(list((out / "thought_templates").glob("train-*"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(files, "pa", None)
        with pytest.raises(UserError, match="needs pyarrow"):
            TemplateIndex.from_pretrained(out)


@pytest.mark.parametrize("with_arrow", [True, False])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "expected at least one template"),
        ("{", "expected JSON lines"),
        ("[" * 100_000, "expected JSON lines"),
        ("7", "line 1: expected an object"),
        ("{}", "line 1: expected an object"),
        (("query", 7), "line 1: expected a text in query"),
        (("template", None), "line 1: expected a text in template"),
        (("candidates", [1]), "line 1: expected texts in candidates"),
        (b"\xff\xfe", "expected JSON lines"),
    ],
)
def test_json_lines_of_strangers_are_checked(index, tmp_path, monkeypatch, line, message, with_arrow):
    from fusion_hf.thoughts import files

    if not with_arrow:
        monkeypatch.setattr(files, "pa", None)
    one = TemplateIndex(index.table.slice(0, 1), index.embeddings[:1], "offline")
    files.write_index(tmp_path, one.table, one.embeddings, "offline")
    path = tmp_path / "thought_templates" / "train-0.jsonl"
    if isinstance(line, tuple):
        line = json.dumps(one.table.to_pylist()[0] | dict([line]))
    path.write_bytes(line if isinstance(line, bytes) else line.encode())
    config = path.with_name("index_config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"table": path.name}))
    with pytest.raises(UserError, match=message):
        TemplateIndex.from_pretrained(tmp_path)


def test_an_encoder_that_is_a_folder_goes_with_the_templates(tmp_path):
    encoder = tiny_bert(tmp_path / "mine" / "my-encoder")
    TemplateIndex.build(template_table(9), encoder).save_pretrained(tmp_path / "made" / "templates")
    wanted = load_encoder(encoder).encode(["what is the capital"])
    shutil.rmtree(tmp_path / "mine")
    (tmp_path / "made").rename(tmp_path / "moved")
    for place in (tmp_path / "moved" / "templates", tmp_path / "again"):
        found = TemplateIndex.from_pretrained(place)
        np.testing.assert_array_equal(found.encode(["what is the capital"]), wanted)
        told = "".join(path.read_text() for path in place.rglob("*") if path.suffix in (".json", ".md"))
        assert str(tmp_path) not in told and found.encoder_name == "my-encoder"
        found.save_pretrained(tmp_path / "again")  # copied, as into a fused system
    assert not list((tmp_path / "again").rglob("*.jsonl"))
