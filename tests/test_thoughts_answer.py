"""Answering with templates before the query: prompts, `think`, and thought mode in the collector."""

import json

import pyarrow as pa
import pytest
from loopback_llm import Act, LoopbackLLM
from thought_toys import ByChat, answer, far, found, scripted, table_of, template_table, unit

from fusion_hf.errors import UserError
from fusion_hf.llms.pool import Pool, save_pool
from fusion_hf.thoughts import (
    STYLES,
    TemplateIndex,
    make_templates,
    think,
    thought_prompts,
)


def test_prompts_have_the_most_similar_last_and_drop_the_least_similar_first(index, rng):
    queries, vectors = ["first?", "second?"], unit(rng, 2)
    whole = thought_prompts(queries, index, k=3, embeddings=vectors)
    for thought, query in zip(whole, queries, strict=True):
        places = [thought.prompt.index(f"Guideline: {h.template}\n") for h in thought.hits]
        assert len(places) == 3 and places == sorted(places, reverse=True)
        assert thought.prompt.endswith(f"Now answer this question:\n{query}")
    words = len(whole[0].prompt.split())
    shorter = thought_prompts(queries[:1], index, k=3, embeddings=vectors[:1], max_words=words - 1)[0]
    assert found([shorter.hits]) == found([whole[0].hits[:2]])
    assert thought_prompts(queries[:1], index, embeddings=vectors[:1], max_words=0)[0].prompt == "first?"


def test_styles_differ_in_what_is_shown(index, rng):
    prompts = {s: thought_prompts(["Q?"], index, 1, s, embeddings=unit(rng, 1))[0] for s in STYLES}
    assert "plan" in prompts["thought"].prompt and "answer " not in prompts["thought"].prompt.split("Now")[0]
    assert "Answer: answer" in prompts["few-shot"].prompt
    assert prompts["zero-shot"].prompt == "Q?" and prompts["zero-shot"].hits == []
    with pytest.raises(UserError, match="needs templates"):
        thought_prompts(["Q?"], None)


def test_think_keeps_the_order_and_the_failures(index, rng):
    server, _ = scripted({"x": ["fine"], "y": [Act(status=400)], "z": ["good"]})
    queries = [f"How many are {key}?" for key in "xyz"]
    with server:
        thoughts = think(queries, index, far(server.url), k=2, search={"embeddings": unit(rng, 3)}, progress=False)
    assert [t.text for t in thoughts] == ["fine", "", "good"]
    assert [t.error is None for t in thoughts] == [True, False, True] and "bad_request" in thoughts[1].error
    assert thoughts[0].output_tokens == 5 and len(thoughts[0].hits) == 2 and thoughts[0].cost == pytest.approx(2e-5)


def test_a_prompt_that_is_too_long_is_asked_again_without_its_least_similar_template(index, rng):
    def behave(body):
        content = body["messages"][0]["content"]
        if content.count("Guideline:") > 1:
            error = {"error": {"message": "too long", "code": "context_length_exceeded"}}
            return Act(status=400, body=json.dumps(error))
        return Act("fits")

    vectors = unit(rng, 2)
    with ByChat(behave) as server:
        thoughts = think(["first?", "second?"], index, far(server.url), search={"embeddings": vectors}, progress=False)
        assert len(server.seen) == 6
    nearest_one = [row[:1] for row in found(index.search(["first?", "second?"], vectors))]
    assert [t.text for t in thoughts] == ["fits", "fits"] and found([t.hits for t in thoughts]) == nearest_one


def test_other_wording_is_data(index, rng, tmp_path):
    from fusion_hf.thoughts import PROMPTS, load_prompts

    own = {"thought": {"header": "", "example": "<{question}|{text}>", "footer": "Q: {query}"}}
    (tmp_path / "p.json").write_text(json.dumps(own), encoding="utf-8")
    query = "What is {text} in {question}?"
    for prompts in (own, tmp_path / "p.json"):
        (thought,) = thought_prompts([query], index, 1, embeddings=unit(rng, 1), prompts=prompts, min_similarity=-1)
        hit = thought.hits[0]
        assert thought.prompt == f"<{hit.query}|{hit.template}>\n\nQ: {query}"
    assert load_prompts(own)["few-shot"] == PROMPTS["few-shot"]
    for wrong, message in (
        ({"thought": {"footer": "no query"}}, r"prompts.thought.footer: expected \{query\} once"),
        ({"cot": {}}, "unknown style 'cot'"),
        ({"thought": {"tail": "x"}}, "found tail"),
        ("/nowhere.json", "expected a JSON file"),
    ):
        with pytest.raises(UserError, match=message):
            load_prompts(wrong)


def test_the_collector_asks_in_thought_mode(tmp_path, monkeypatch, capsys):
    """`fusion-hf collect --modes thought` sends what `think` sends; its rows are a candidate of their own."""
    from fusion_hf.cli import main
    from fusion_hf.logs.arrays import RoutingData
    from fusion_hf.logs.log import read_log
    from fusion_hf.logs.select import Answers

    source = tmp_path / "gsm8k.jsonl"
    lines = [
        {"question": f"Tom has {i} apples and buys {i + 2}. How many?", "answer": f"Add. #### {2 * i + 2}"}
        for i in range(6)
    ]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    rows = template_table(6).to_pylist()
    with LoopbackLLM(lambda prompt, _: Act(f"#### {len(prompt)}")) as server:
        pool = save_pool(Pool([far(server.url, max_tokens=9)]), tmp_path / "pool.yaml")
        arguments = ["--pool", str(pool), "--tasks", "gsm8k", "--source", str(source), "--out", str(tmp_path / "logs")]
        assert main(["collect", *arguments, "--modes", "thought"]) == 2
        assert "give templates" in capsys.readouterr().err
        assert main(["collect", *arguments, "--modes", "direct"]) == 0
        asked = read_log(tmp_path / "logs")
        # Templates of these very queries, and of others: a query never sees its own.
        for i, row in enumerate(rows[:3]):
            row |= {"query_id": asked["query_id"][i].as_py(), "query": asked["query"][i].as_py()}
        index = TemplateIndex.build(pa.Table.from_pylist(rows), "offline")
        index.save_pretrained(tmp_path / "t")
        assert (
            main(["collect", *arguments, "--modes", "direct,thought", "--templates", str(tmp_path / "t"), "-k", "2"])
            == 0
        )
    log = read_log(tmp_path / "logs")
    assert log.num_rows == 12 and RoutingData.from_table(log).candidates == ["far", "far_thought"]
    sent = {seen.prompt for seen in server.seen}
    queries, ids = asked["query"].to_pylist(), asked["query_id"].to_pylist()
    expected = [t.prompt for t in thought_prompts(queries, index, 2, exclude_query_ids=ids)]
    assert sent == {*queries, *expected} and all("Guideline: plan" in prompt for prompt in expected)
    for i in range(3):
        assert f"plan {i}\n" not in expected[queries.index(rows[i]["query"])]
    by_mode = {(r["query"], r["mode"]): r["response"] for r in log.to_pylist()}
    assert by_mode[queries[0], "thought"] == f"#### {len(expected[0])}" != by_mode[queries[0], "direct"]
    # The prompts are priced as they are sent.
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "collect",
                *arguments[:-1],
                "other",
                "--modes",
                "thought",
                "--templates",
                "t",
                "-k",
                "2",
                "--dry-run",
                "--json",
                "p.json",
            ]
        )
        == 0
    )
    plan = json.loads((tmp_path / "p.json").read_text())["by_llm"]["far"]
    assert plan["input_tokens"] == sum(-(-len(prompt) // 4) for prompt in expected)
    assert len(Answers.of(log).right(0.5)) == 12


def test_templates_through_a_real_endpoint_survive_a_rate_limit(tmp_path):
    from fusion_hf.thoughts.templates import _llm_summariser

    table = table_of(*(answer(f"q{i}", "a", 1.0) for i in range(30)))

    def behave(prompt, times):
        if "How many are q7?" in prompt and times == 0:
            return Act(status=429, headers={"Retry-After": "0"})
        return Act("Count one group after the other." if "are q3?" in prompt else "Add both.", delay=0.02)

    with LoopbackLLM(behave) as server:
        pool = save_pool(Pool([far(server.url)]), tmp_path / "pool.yaml")
        made = make_templates(table, _llm_summariser("far", pool, tmp_path / "t"), progress=False)
        assert server.peak > 1 and len(server.seen) == 31
    assert sorted(made.dataset["template"]) == ["Add both.", "Count one group after the other."]
    assert made.counts["dropped"] == {"duplicate in its task": 28} and made.counts["input_tokens"] == 300
    assert (tmp_path / "t.replies").is_dir()
