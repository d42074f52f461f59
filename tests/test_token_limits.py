"""How long an answer may be: what is sent by task and mode, what overrides it, and the report of cut answers."""

import pytest
from loopback_llm import Act, LoopbackLLM

from fusion_hf import grade, read_log, train_router
from fusion_hf.errors import UserError
from fusion_hf.llms.collect import collect_examples
from fusion_hf.llms.pool import LLM, Pool, load_pool, save_pool
from fusion_hf.llms.requests import make_requests, worst_case
from fusion_hf.llms.token_limits import answer_limit, limit_option
from fusion_hf.tasks import TASKS, Example

MATH = TASKS["gsm8k"].max_tokens


def llm(url="http://x/v1", **fields):
    return LLM("m", "small", 1.0, 2.0, base_url=url, **fields)


def ask(one, out, modes=("direct", "think")):
    asked = {task: [Example("0", f"A question of {task}.", ["7"])] for task in ("gsm8k", "arc_challenge")}
    return collect_examples(Pool([one]), asked, out, modes, progress=False)


def sent(server, name="max_tokens"):
    return {(s.prompt.split()[3].rstrip("."), "think" if "step" in s.prompt else "direct"): s.body.get(name)
            for s in server.seen}  # fmt: skip


def test_the_task_says_how_long_an_answer_may_be_in_each_mode(tmp_path):
    with LoopbackLLM() as server:
        ask(llm(server.url), tmp_path)
    assert sent(server) == {(t, m): TASKS[t].max_tokens[m] for t in ("gsm8k", "arc_challenge") for m in MATH}


def test_the_pool_overrides_it_by_task_and_mode_and_adds_the_budget_of_reasoning(tmp_path):
    one = llm(token_limits={"gsm8k/think": 900, "arc_challenge": 50, "think": 600}, reasoning_tokens=4000)
    assert answer_limit(one, "gsm8k", "think") == 4900 and answer_limit(one, "arc_challenge", "think") == 4050
    assert answer_limit(one, "mmlu", "think") == 4600 and answer_limit(one, "gsm8k") == MATH["direct"] + 4000
    assert answer_limit(one, "gsm8k", "thought") == MATH["direct"] + 4000  # a mode that the task does not name
    assert answer_limit(llm(options={"max_tokens": 20}), "gsm8k", "think") == 20
    assert answer_limit(llm(options={"max_tokens": None}), "gsm8k") is None  # leave it to the server
    assert answer_limit(llm(), "a task of my own") is None
    save_pool(Pool([one]), tmp_path / "pool.yaml")
    assert load_pool(tmp_path / "pool.yaml")["m"] == one


def test_it_is_sent_in_the_word_that_the_pool_uses(tmp_path):
    with LoopbackLLM() as server:
        ask(llm(server.url, options={"max_completion_tokens": 77}), tmp_path, ("direct",))
    assert set(sent(server, "max_completion_tokens").values()) == {77} and set(sent(server).values()) == {None}
    assert limit_option(llm(), None) == {}


def test_the_worst_case_counts_the_limit_of_the_request():
    (request,) = make_requests(Pool([llm()]), {"gsm8k": [Example("0", "How many?", ["7"])]}, ("think",))
    assert request.max_tokens == MATH["think"]
    more = worst_case(llm(), request.messages, limit=request.max_tokens) - worst_case(llm(), request.messages)
    assert more == pytest.approx(MATH["think"] * 2.0 / 1e6)


@pytest.mark.parametrize(
    "wrong", [{"token_limits": {"gsm8k": "long"}}, {"token_limits": [3]}, {"reasoning_tokens": -1}]
)
def test_a_wrong_limit_gives_one_line(wrong):
    with pytest.raises(UserError, match="expected token_limits to be numbers of tokens by task, mode or task/mode"):
        llm(**wrong)


def test_cut_answers_are_told_by_task_and_candidate(tmp_path, caplog):
    def behave(prompt, _):
        return Act(text="It is", finish_reason="length" if "gsm8k" in prompt and "step" in prompt else "stop")

    with LoopbackLLM(behave) as server:
        summary = ask(llm(server.url), tmp_path)
    assert summary.to_dict()["cut"] == {"gsm8k/m_think": 1}
    assert "1 answers were cut at their limit (gsm8k/m_think 1): raise token_limits" in caplog.text


def test_the_version_of_the_prompt_is_a_column_of_the_log(tmp_path):
    asked = {"gsm8k": [Example("0", "How many?", ["7"], "plain@1"), Example("1", "How much?", ["7"])]}
    with LoopbackLLM() as server:
        collect_examples(Pool([llm(server.url)]), asked, tmp_path, ("direct",), progress=False)
    rows = {row["source_id"]: row["prompt_version"] for row in read_log(tmp_path).to_pylist()}
    assert rows == {"0": "plain@1", "1": None}


def test_a_token_budget_is_a_candidate_that_a_router_chooses_where_it_is_enough(tmp_path):
    def solve(prompt, times):
        """It solves a sum at once and then goes on until it is cut off; a story takes it 90 tokens."""
        most = server.seen[-1].body["max_tokens"]
        right, given = ("story" not in prompt or most >= 90), most if "story" not in prompt else min(90, most)
        done = {"prompt_tokens": 20, "completion_tokens": given, "total_tokens": 20 + given}
        return Act(text="#### 7" if right else "First", usage=done, finish_reason="length" if given == most else "stop")

    with LoopbackLLM(solve) as server:
        common = {"base_url": server.url, "model": "one"}
        budgets = {"brief": 16, "long": 400}
        options = {name: {"max_tokens": most, "concurrency": 1} for name, most in budgets.items()}
        pool = Pool([LLM(name, "small", 1.0, 10.0, options=options[name], **common) for name in budgets])
        queries = [f"{i} + {i + 3}?" if i % 2 else f"A story of {i} bees and what became of them?" for i in range(60)]
        asked = {"gsm8k": [Example(str(i), query, ["7"]) for i, query in enumerate(queries)]}
        collect_examples(pool, asked, tmp_path / "logs", ("direct",), progress=False)
    assert {seen.body["model"] for seen in server.seen} == {"one"}
    grade(tmp_path / "logs", out=tmp_path / "log.parquet")
    router = train_router(read_log(tmp_path / "log.parquet"), "fusion", encoder="none", task_labels=False).router
    unseen = [
        "12 + 55?",
        "4 + 9?",
        "A story of 7 ants and what became of them?",
        "A story of 99 bees and what became of them?",
    ]
    assert [d.candidate for d in router.route(unseen, "balance")] == ["brief", "brief", "long", "long"]
