"""A router chooses the mode of a pipeline, and real backends answer and summarise as the pipeline does."""

# ruff: noqa: F811  fixtures

from pathlib import Path

import pyarrow as pa
import pytest
from thought_pipe import QUERIES, index, model, pipe, task, texts, thought_pipeline, tiny_model  # noqa: F401

import fusion_hf
from fusion_hf.errors import UserError
from fusion_hf.llms.pool import LLM
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.logs.schema import query_id, rows_to_table, validate
from fusion_hf.logs.shards import latest_rows
from fusion_hf.routers.train import fit_router
from fusion_hf.thoughts import LLMSummariser, TemplateIndex, make_templates, think, think_with
from fusion_hf.thoughts.check import sentences
from fusion_hf.thoughts.leak import leaks
from fusion_hf.thoughts.templates import solved_queries

pytestmark = pytest.mark.filterwarnings("ignore:.*pad_token_id.*")


def sums_and_capitals(n):
    """A log of one LLM: thought mode is right on sums, where direct is wrong; on capitals both are right."""
    rows = []
    for i in range(n):
        sums = i % 2 == 0
        query = f"How much is {i} plus {i * 7 % 31} plus {i * 3 % 17}?" if sums else f"Name the capital of land {i}."
        for mode, cost in (("direct", 1e-5), ("think", 3e-5), ("thought", 2e-5)):
            right = {"direct": not sums, "think": sums, "thought": True}[mode]
            rows.append({"query_id": query_id("mixed", str(i), query), "task": "sums" if sums else "capitals",
                         "source_id": str(i), "query": query, "ground_truth": ["x"], "metric": "cem", "llm": "tiny",
                         "mode": mode, "performance": float(right), "cost": cost})  # fmt: skip
    return RoutingData.from_table(validate(rows_to_table(rows)))


@pytest.fixture(scope="module")
def router():
    return fit_router("linear", sums_and_capitals(80), encoder="none", progress=False)


ASKED = ["How much is 5 plus 6 plus 7?", "Name the capital of land 7."]


def test_a_router_chooses_among_direct_think_and_thought(router):
    assert router.candidates == ["tiny", "tiny_think", "tiny_thought"]
    best = [decision.candidate for decision in router.route(ASKED, "balance")]
    assert best == ["tiny_thought", "tiny"]
    assert router.route(ASKED[:1], "balance", candidates=["tiny", "tiny_think"])[0].candidate == "tiny_think"


def test_the_router_decides_whether_templates_are_worth_their_tokens(model, index, router, tmp_path):
    options = {"k": 2, "max_new_tokens": 4, "min_similarity": -1}
    routed = thought_pipeline(model, index, router=router, **options)
    ((sums,), (capital,)) = routed(ASKED, return_prompt=True)
    assert len(sums["templates"]) == 2 and (capital["templates"], capital["prompt"]) == ([], ASKED[1])
    assert [routed(query, return_prompt=True)[0]["prompt"] for query in ASKED] == [sums["prompt"], capital["prompt"]]
    chats = [[{"role": "user", "content": query}] for query in ASKED]
    assert [len(r[0]["templates"]) for r in routed(chats, return_prompt=True)] == [2, 0]
    router.save_pretrained(tmp_path / "router")
    loaded = thought_pipeline(model, index, router=str(tmp_path / "router"), scenario="performance",
                              candidate="tiny", **options)  # fmt: skip
    assert texts(loaded(ASKED[:1])) == texts(routed(ASKED[:1]))
    for wrong, message in (
        ({"router": router, "candidate": "huge"}, "expected a log with huge in direct and in thought mode.*both: tiny"),
        ({"router": model}, "expected a router of fusion_hf"),
    ):
        with pytest.raises(UserError, match=message):
            thought_pipeline(model, index, **wrong)


def local_llm(model, **options):
    return LLM("tiny", "small", 0.0, 0.0, backend="transformers", model=model, options={"device": "cpu"} | options)


def test_a_local_backend_answers_as_the_pipeline_does(pipe, model, index):
    thoughts = think(QUERIES, index, local_llm(model, max_tokens=8), k=2, progress=False)
    results = pipe(QUERIES, return_prompt=True)
    assert [t.prompt for t in thoughts] == [result["prompt"] for (result,) in results]
    assert [t.text for t in thoughts] == texts(results)
    assert all(t.error is None and t.output_tokens <= 8 for t in thoughts)


def test_think_with_a_model_folder_or_a_pool(pipe, model, index, tmp_path):
    from fusion_hf.llms.pool import Pool, save_pool

    index.save_pretrained(tmp_path / "t")
    expected = texts(pipe(QUERIES))
    by_folder = think_with(tmp_path / "t", QUERIES, model, k=2, max_tokens=8)
    assert [t.text for t in by_folder] == expected
    pool = save_pool(Pool([local_llm(model)]), tmp_path / "pool.yaml")
    by_pool = think_with(tmp_path / "t", QUERIES, "tiny", pool=pool, k=2, max_tokens=8)
    assert [(t.prompt, t.text) for t in by_pool] == [(t.prompt, t.text) for t in by_folder]
    with pytest.raises(UserError, match="needs the pool"):
        think_with(tmp_path / "t", QUERIES, "tiny")


def test_a_real_model_summarises_and_the_run_resumes(log_table, tmp_path):
    """A random model writes no guideline that ends: every reply is kept, checked, asked for again, and refused."""
    model = Path(tiny_model(tmp_path / "model", context=2048))
    summariser = LLMSummariser(local_llm(str(model), max_tokens=12), tmp_path / "replies")
    with pytest.raises(UserError, match="12 cut off"):
        make_templates(log_table, summariser, progress=False)
    rows = latest_rows(tmp_path / "replies")
    assert len(rows) == 24 and {row["source_id"] for row in rows} == set(log_table["query_id"].to_pylist())
    assert all(row["output_tokens"] == 12 and row["cost"] == 0.0 for row in rows)
    assert summariser.plan(solved_queries(log_table, summariser)[0])["resumed"] == 12
    (model / "model.safetensors").unlink()  # the second run can only come from what was kept
    with pytest.raises(UserError, match="12 cut off"):
        make_templates(log_table, summariser, progress=False)


def test_a_real_model_makes_templates(log_table, tmp_path):
    """The reader of the sample, 2 million trained parameters, as summariser: what it writes becomes templates."""
    reader = Path(fusion_hf.__file__).parent / "logs" / "sample" / "reader"
    table = read_log(reader.parent, "train").slice(0, 150)
    llm = LLM("reader", "small", 0.1, 0.2, backend="transformers", model=str(reader),
              options={"device": "cpu", "max_tokens": 40})  # fmt: skip
    made = make_templates(table, LLMSummariser(llm, tmp_path / "replies"), progress=False)
    counts = made.counts
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()) and counts["kept"] > 0
    assert counts["usd"] > 0 and counts["input_tokens"] > 0
    assert all(1 <= len(sentences(text)) <= 5 for text in made.dataset["template"])
    golds = dict(zip(table["query_id"].to_pylist(), table["ground_truth"].to_pylist(), strict=True))
    assert not any(
        leaks(row["template"], golds[row["query_id"]]) for row in made.dataset if len(golds[row["query_id"]][0]) > 3
    )


def test_the_templates_command(log_table, tmp_path):
    from fusion_hf.logs.log import write_bench
    from fusion_hf.thoughts import build_templates

    rows = log_table.to_pylist()
    for row in rows:
        row["response"] = f"Count {row['source_id']} things, then add one more. {row['response']}"
    bench = write_bench({"train": pa.Table.from_pylist(rows, schema=log_table.schema)}, tmp_path / "bench")
    counts = build_templates(bench, tmp_path / "t", encoder="offline")
    index = TemplateIndex.from_pretrained(tmp_path / "t")
    assert counts["kept"] == len(index) > 0
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    with pytest.raises(UserError, match="give a pool"):
        build_templates(bench, tmp_path / "u", model="gpt", encoder="offline")
    with pytest.raises(UserError, match="'none' makes no vectors"):
        build_templates(bench, tmp_path / "u", encoder="none")
