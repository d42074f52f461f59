"""Fused systems: planning, answering through real LLMs, saving and loading, and folders that are not to be trusted."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from loopback_llm import Act, LoopbackLLM
from thought_toys import template_table
from tiny_bert import tiny_bert
from toy_fused import toy_bench, toy_pool, toy_splits
from toy_log import FORMS

from fusion_hf.cards import check_metadata
from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.fused import FusedSystem, Thoughts, collect_candidate, write_fused
from fusion_hf.fused.asking import recall
from fusion_hf.fused.card import write_fused_card
from fusion_hf.fused.keys import key_and_host
from fusion_hf.fused.ranking import Asked
from fusion_hf.llms.pool import LLM, save_pool
from fusion_hf.logs.log import Log
from fusion_hf.routers import fit_router
from fusion_hf.thoughts import TemplateIndex

QUERIES = [FORMS[task].format(a=7, b=8, c=9) for task in ("sums", "code", "capitals")]
TRAIN = toy_splits()["train"]
SEEN = {
    "bee": {"performance": 0.9, "cost_usd": 1e-5},
    "cat": {"performance": 0.5, "cost_usd": 2e-5},
    "cat_think": {"performance": 0.4, "cost_usd": 3e-5},
    "dog": {"performance": 0.8, "cost_usd": 9e-5},
}


def config(router):
    """sums: cat by itself; code: a router; capitals: cat behind templates."""
    systems = {
        "cat": {"kind": "candidate", "candidate": "cat"},
        "near (balance)": {"kind": "router", "router": router, "scenario": "balance"},
        "thought": {"kind": "candidate", "candidate": "cat_thought"},
    }
    seen = {**SEEN, "cat_thought": {"performance": 0.6, "cost_usd": None}}
    tasks = {
        task: {
            "system": system, "level": "x", "candidates": seen, "span": {"performance": 1.0, "cost": 1e-4},
            "evidence": {"test": None},
        }
        for task, system in zip(("sums", "code", "capitals"), systems, strict=True)
    }  # fmt: skip
    return {"bench": "toy", "made_by": "a test", "best_single": "bee", "systems": systems, "tasks": tasks, "test": None}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """(folder of a router, thought templates)."""
    folder = tmp_path_factory.mktemp("parts")
    fit_router("knn", TRAIN, encoder="none", progress=False).save_pretrained(folder / "near")
    encoder = tiny_bert(folder / "bert")
    TemplateIndex.build(template_table(9), encoder).save_pretrained(folder / "plans")
    return str(folder / "near"), Thoughts(str(folder / "plans"), k=2, asked="think")


def make(out, parts, url="http://127.0.0.1:9/v1"):
    router, thoughts = parts
    recogniser = fit_router("best-per-task", TRAIN, encoder="none", progress=False)
    return write_fused(out, config(router), toy_pool(url), recogniser, {"cat": thoughts})


@pytest.fixture(scope="module")
def folder(parts, tmp_path_factory):
    return make(tmp_path_factory.mktemp("fused") / "fused", parts)


@pytest.fixture(scope="module")
def fused(folder):
    return FusedSystem.from_pretrained(folder)


def test_the_folder_holds_all_that_it_needs_and_no_path_of_this_machine(folder, parts):
    found = {p.relative_to(folder).as_posix() for p in folder.iterdir()}
    assert found == {"README.md", ".fusion_hf.json", "fused_config.json", "pool.yaml", "routers", "templates", "models"}
    text = (folder / "pool.yaml").read_text() + (folder / "fused_config.json").read_text()
    assert parts[0] not in text and str(folder) not in text and "./models/reader" in text
    assert not [p for p in folder.rglob("*") if p.suffix in (".pkl", ".pt", ".bin")]


def test_it_may_be_written_to_a_relative_path(parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("here", parts)
    assert "model: ./models/reader" in (tmp_path / "here" / "pool.yaml").read_text()
    monkeypatch.chdir("/")
    assert FusedSystem.from_pretrained(tmp_path / "here").pool["cat"].model == str(tmp_path / "here/models/reader")


def test_every_query_goes_to_the_system_of_its_task(fused):
    plan = fused.plan(QUERIES)
    assert [d.task for d in plan] == ["sums", "code", "capitals"]
    assert [d.system for d in plan] == ["cat", "near (balance)", "thought"]
    assert plan[0].candidate == "cat" and plan[0].performance == 0.5 and plan[0].cost == 2e-5
    router = fused._router(fused.config["systems"]["near (balance)"]["router"])
    alone = router.route([QUERIES[1]], "balance")[0]
    assert (plan[1].candidate, plan[1].performance) == (alone.candidate, pytest.approx(alone.performance))
    assert plan[2].candidate == "cat_thought" and plan[2].cost is None
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUERIES[2]}]
    assert fused.plan([chat])[0].task == "capitals"
    assert fused.plan([]) == []


def test_tasks_may_be_given(fused):
    assert [d.task for d in fused.plan(QUERIES, "sums")] == ["sums"] * 3
    assert [d.task for d in fused.plan(QUERIES, [None, "capitals", None])] == ["sums", "capitals", "capitals"]
    with pytest.raises(UserError, match=r"unknown task 'poems': expected one of sums, code, capitals, or None to have"):
        fused.plan(QUERIES, ["sums", "poems", None])
    with pytest.raises(UserError, match="tasks: expected one a query, 3, found 1"):
        fused.plan(QUERIES, ["sums"])


def test_trade_offs_budgets_and_candidates_are_answered_from_the_log(fused):
    def only(**how):
        return fused.plan(QUERIES[:1], **how)[0]

    # performance / 1 against 0.5 * performance - 0.5 * cost / 1e-4, by hand.
    assert only(scenario="performance").candidate == "bee"
    assert only(scenario="balance", candidates=["cat", "dog"]).candidate == "cat"  # .25 - .1 against .4 - .45
    assert only(scenario="performance", candidates=["cat", "dog"]).candidate == "dog"
    assert only(max_cost=2e-5).candidate == "cat" and only(max_cost=2e-5).system == "cat"
    cheap = only(max_cost=1.5e-5)
    assert (cheap.candidate, cheap.system) == ("bee", "log")
    assert only(candidates=["cat_think", "dog"]).candidate == "dog"
    routed = fused.plan(QUERIES[1:2], candidates=["dog"])[0]
    assert (routed.candidate, routed.system) == ("dog", "near (balance)")
    assert fused.plan(QUERIES[1:2], candidates=["cat_think"])[0].system == "log"  # the router does not know it
    with pytest.raises(UserError, match="no candidate is expected to cost at most 1e-09 USD; the cheapest is expected"):
        only(max_cost=1e-9)
    with pytest.raises(UserError, match="unknown candidate 'eel': this system knows bee, cat, "):
        only(candidates=["eel"])
    with pytest.raises(UserError, match="unknown scenario 'cheapish'"):
        only(scenario="cheapish")


PLAN = """
import json, sys
from fusion_hf.fused import FusedSystem
fused = FusedSystem.from_pretrained(sys.argv[1])
print(json.dumps([d.to_dict() for d in fused.plan(json.loads(sys.argv[2]))]))
"""


def in_a_fresh_process(code, *arguments, **more):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | more).stdout


def test_a_copy_plans_the_same_in_a_fresh_process_and_runs_no_code(fused, tmp_path):
    fused.save_pretrained(tmp_path / "copy")
    code = list((tmp_path / "copy").rglob("*.py"))  # routers bring their code along, for trust_remote_code=True
    for file in code:
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    shown = in_a_fresh_process(PLAN, tmp_path / "copy", json.dumps(QUERIES))
    assert json.loads(shown.splitlines()[-1]) == [d.to_dict() for d in fused.plan(QUERIES)]
    assert code and not (tmp_path / "ran").exists()


def test_a_real_model_answers_and_equal_queries_are_asked_once(fused, tmp_path):
    answers = fused([QUERIES[0], QUERIES[2], QUERIES[0]], folder=tmp_path / "log")
    assert [a.error for a in answers] == [None] * 3 and all(a.text for a in answers)
    assert answers[0] == answers[2]
    rows = [json.loads(line) for p in (tmp_path / "log").glob("*.jsonl") for line in p.read_text().splitlines()]
    assert len(rows) == 2
    assert answers[0].cost == pytest.approx((answers[0].input_tokens + 2 * answers[0].output_tokens) / 1e6)
    # Behind templates the prompt is longer, and it is the one that was collected.
    (shown,) = [r for r in rows if "Template question" in r["query"]]
    assert shown["query"].rstrip().endswith("Let's think step by step.") and QUERIES[2] in shown["query"]
    assert shown["query"].count("Guideline:") == 2


def test_endpoints_are_asked_in_the_mode_of_the_candidate_and_failures_are_kept(parts, tmp_path):
    def behave(prompt, times):
        return Act(status=400) if "capital" in prompt else Act(f"about {prompt[:8]}")

    with LoopbackLLM(behave) as server:
        fused = FusedSystem.from_pretrained(make(tmp_path / "fused", parts, server.url))
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUERIES[0]}]
        answers = fused([QUERIES[0], chat, QUERIES[2]], candidates=["bee"])
    assert [a.text for a in answers] == ["about What is ", "about What is ", ""]
    assert answers[2].error.startswith("bad_request") and answers[2].decision.candidate == "bee"
    assert [len(s.body["messages"]) for s in sorted(server.seen, key=lambda s: len(s.body["messages"]))] == [1, 1, 2]
    assert next(s for s in server.seen if len(s.body["messages"]) == 2).body["messages"] == chat


def test_think_mode_is_asked_behind_the_last_message(fused):
    from fusion_hf.fused.asking import chats

    chat = [{"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Why?"}]
    assert chats([chat, "How?"], "think") == [
        [chat[0], {"role": "user", "content": "Why?\nLet's think step by step."}],
        [{"role": "user", "content": "How?\nLet's think step by step."}],
    ]
    assert chat[1]["content"] == "Why?"
    with pytest.raises(UserError, match="query 0: expected a chat that ends with a user message, found none"):
        chats([chat[:1]], "think")
    with pytest.raises(UserError, match="mode 'thought' needs thought templates"):
        chats(["How?"], "thought")


def test_a_candidate_is_collected_once_behind_templates(parts, tmp_path):
    bench = toy_bench(tmp_path / "bench")
    with LoopbackLLM() as server:
        bee = toy_pool(server.url)["bee"]
        collected = [
            collect_candidate(bench, bee, "thought", tmp_path / "log", ["partial_test"], parts[1], progress=False)
            for _ in range(2)
        ]
        assert [(c.read, c.kept) for c in collected] == [(60, 60), (0, 0)] and len(server.seen) == 60
    assert all(s.prompt.count("Guideline:") == 2 and s.prompt.endswith("step by step.") for s in server.seen)
    assert recall(tmp_path / "log") == {"bee": parts[1]} and recall(tmp_path) == {}
    with pytest.raises(UserError, match=r"log holds answers of bee with Thoughts\(.*k=2.*found Thoughts\(.*k=1"):
        collect_candidate(bench, bee, "thought", tmp_path / "log", ["partial_test"], Thoughts(parts[1].templates, k=1))
    rows = Log(tmp_path / "log").table().to_pylist()
    assert {(r["llm"], r["mode"]) for r in rows} == {("bee", "thought")}
    asked = {r["query_id"]: r["query"] for r in rows}
    assert asked == dict(zip(toy_splits()["partial_test"].query_ids, toy_splits()["partial_test"].queries, strict=True))


def test_another_pool_may_reach_its_llms(folder, tmp_path):
    with LoopbackLLM() as server:
        pool = save_pool(toy_pool(server.url).select(["bee"]), tmp_path / "mine.yaml")
        fused = FusedSystem.from_pretrained(folder, pool)
        assert fused(QUERIES[:1], candidates=["bee"])[0].text == "It is 42."
        with pytest.raises(UserError, match="the pool has no LLM 'cat'"):
            fused(QUERIES[:1])


def test_keys_go_nowhere_unless_the_user_says_so(folder, tmp_path, monkeypatch):
    """Whoever wrote a system also wrote the addresses in its pool; a folder may come from a download too."""
    copy = tmp_path / "stranger"
    shutil.copytree(folder, copy)
    text = (copy / "pool.yaml").read_text()
    monkeypatch.setenv("A_KEY_OF_MINE", "abc123")
    with LoopbackLLM() as server:
        text = text.replace("base_url: http://127.0.0.1:9/v1", f"base_url: {server.url}\n  api_key_env: A_KEY_OF_MINE")
        (copy / "pool.yaml").write_text(text)
        host = server.url.removesuffix("/v1")
        with pytest.raises(UserError, match=rf"bee: this system's own pool .*--keys A_KEY_OF_MINE={host} "):
            FusedSystem.from_pretrained(copy)(QUERIES[:1], candidates=["bee"])
        for wrong in ("A_KEY_OF_MINE", "A_KEY_OF_MINE=api.openai.com", "OTHER_KEY=" + host):
            with pytest.raises(UserError, match=rf"expected one of A_KEY_OF_MINE={host}, .* found '{wrong}'"):
                FusedSystem.from_pretrained(copy, keys=[wrong])
        for wrong in (True, f"A_KEY_OF_MINE={host}", [1]):
            with pytest.raises(UserError, match="keys: expected a list of VARIABLE=HOST, found"):
                FusedSystem.from_pretrained(copy, keys=wrong)
        mine = save_pool(toy_pool(server.url), tmp_path / "mine.yaml")
        with pytest.raises(UserError, match="keys: expected none where a pool is given"):
            FusedSystem.from_pretrained(copy, mine, keys=[f"A_KEY_OF_MINE={host}"])
        assert main(["ask", str(copy), QUERIES[0], "--candidates", "bee"]) == 2 and not server.seen
        fused = FusedSystem.from_pretrained(copy, keys=[f"A_KEY_OF_MINE={host}"])
        assert fused(QUERIES[:1], candidates=["bee"])[0].text == "It is 42."
        assert server.seen[0].headers["Authorization"] == "Bearer abc123"
        typed = ["ask", str(copy), QUERIES[0], "--candidates", "bee", "--keys", f"A_KEY_OF_MINE={host}"]
        assert main(typed) == 0 and len(server.seen) == 2


def test_a_yes_names_the_variable_and_the_host():
    def llm(backend="openai", **more):
        return LLM("m", "small", 0, 0, backend=backend, **more)

    assert key_and_host(llm(base_url="https://api.example.com/v1", api_key_env="K")) == "K=api.example.com"
    assert key_and_host(llm(base_url="https://a.example:8443/v1", api_key_env="K")) == "K=a.example:8443"
    assert key_and_host(llm(base_url="http://api.example.com/v1", api_key_env="K")) == "K=http://api.example.com"
    assert key_and_host(llm(base_url="https://api.example.com/v1")) is None
    assert key_and_host(llm("inference_client", model="a/b")) == "HF_TOKEN=provider:auto"
    assert key_and_host(llm("inference_client", model="a/b", api_key_env="K", options={"provider": "x"})) == (
        "K=provider:x"
    )


def test_weights_that_are_code_are_left_out(parts, tmp_path):
    model = tmp_path / "pickled"
    model.mkdir()
    (model / "pytorch_model.bin").write_bytes(b"x")
    from dataclasses import replace

    pool = toy_pool()
    pool = type(pool)([pool["bee"], replace(pool["cat"], model=str(model)), pool["dog"]])
    recogniser = fit_router("best-per-task", TRAIN, encoder="none", progress=False)
    with pytest.raises(UserError, match="expected weights as safetensors, found none"):
        write_fused(tmp_path / "out", config(parts[0]), pool, recogniser, {"cat": parts[1]})


def test_the_card_shows_what_was_measured_and_its_snippet_runs(folder, tmp_path):
    copy = tmp_path / "measured"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "fused_config.json").read_text())
    gap = {"difference": 0.1, "low": 0.02, "high": 0.18}
    for task, verdict in (("sums", "better"), ("code", "worse")):
        config["tasks"][task]["evidence"]["test"] = {"best_single": 0.4, "performance": 0.5, **gap, "verdict": verdict}
    config["test"] = {"queries": 60, "best_single": 0.4, "performance": 0.5, **gap}
    config["test"]["recognised"] = {"tasks": 0.99, "performance": 0.49}
    (copy / "fused_config.json").write_text(json.dumps(config))
    write_fused_card(copy, str(copy))
    text = (copy / "README.md").read_text()
    data = check_metadata(text, "model")
    assert data["library_name"] == "fusion_hf" and data["license"] == "apache-2.0"
    assert [r["dataset"]["config"] for r in data["model-index"][0]["results"]] == ["sums", "code"]
    assert "It beats the best single LLM on 1 of 2 tasks; not on code (worse)." in text
    assert "| sums | 0.400 | 0.500 | +0.100 [+0.020, +0.180] | better |" in text
    snippet = text.split("```python\n")[1].split("```")[0]
    assert in_a_fresh_process(snippet).split() == ["sums", "cat", "0.5"]
    write_fused_card(folder)
    plain = (folder / "README.md").read_text()
    assert "Measured on the test split" not in plain and "model-index" not in plain
    (folder / "README.md").unlink()


def test_expected_costs_may_be_unknown(fused):
    with pytest.raises(UserError, match="no cost was measured"):
        fused.plan(QUERIES[2:], candidates=["cat_thought"], max_cost=1.0)
    assert np.isclose(fused.plan(QUERIES[2:], max_cost=1.0)[0].cost, 1e-5)  # bee: the templates' cost is not known


def test_an_llm_in_this_process_is_loaded_once(folder, monkeypatch):
    from fusion_hf.llms import opened

    loaded = []
    real = opened.open_backend
    monkeypatch.setattr(opened, "open_backend", lambda llm: (loaded.append(llm.name), real(llm))[1])
    fused = FusedSystem.from_pretrained(folder)
    first, second = fused(QUERIES[:1]), fused(QUERIES[:1])
    assert loaded == ["cat"] and first[0].error is None and second[0].text == first[0].text
    fused.close()
    assert fused(QUERIES[:1])[0].text == first[0].text and loaded == ["cat", "cat"]


def test_the_next_best_answers_where_an_llm_fails(parts, tmp_path):
    def behave(prompt, times):
        return Act(status=503)

    with LoopbackLLM(behave) as server:
        fused = FusedSystem.from_pretrained(make(tmp_path / "failing", parts, server.url))
        how = {"scenario": "performance", "retries": 0}
        answer = fused(QUERIES[:1], **how)[0]
        assert (answer.tried, answer.decision.candidate, answer.error) == (("bee", "dog"), "cat_thought", None)
        alone = fused(QUERIES[:1], **how, fallback=False)[0]
        assert alone.tried == () and alone.error.startswith("server: HTTP 503")
        only = fused(QUERIES[:1], **how, candidates=["bee"])[0]
        assert only.error.startswith("server: HTTP 503") and only.tried == ()
    with LoopbackLLM(lambda prompt, times: Act(status=400)) as server:
        fused = FusedSystem.from_pretrained(make(tmp_path / "refusing", parts, server.url))
        assert fused(QUERIES[:1], **how)[0].error.startswith("bad_request")  # another LLM would be asked the same


def test_the_order_of_stand_ins_is_that_of_the_trade_off(fused):
    ranking = fused.rank([Asked(QUERIES[0], scenario="performance")])[0]
    assert [d.candidate for d in ranking.options] == ["bee", "dog", "cat_thought", "cat", "cat_think"]
    assert ranking.options[0].reward == pytest.approx(0.9)
    kept = fused.rank([Asked(QUERIES[0], scenario="balance", saved={"dog": 9e-5})])[0]
    assert kept.options[0].candidate == "dog"  # .4 - .45 + .45, as much as .45 - .05
    wrong = fused.rank([Asked(QUERIES[0], max_cost=1e-9), Asked(QUERIES[0])])
    assert isinstance(wrong[0], UserError) and wrong[1].options
