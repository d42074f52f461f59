"""Few-shot prompts from the log itself: which answers are shown, to whom, and never the query's own."""

import json

import numpy as np
import pytest
from loopback_llm import LoopbackLLM
from thought_toys import answer, table_of

from fusion_hf import collect
from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.fused.asking import Thoughts, chats, recall
from fusion_hf.llms.pool import LLM, Pool, save_pool
from fusion_hf.llms.requests import make_requests
from fusion_hf.logs.log import Log, read_log
from fusion_hf.logs.schema import candidate_id, split_candidate
from fusion_hf.tasks import Example
from fusion_hf.thoughts import make_templates
from fusion_hf.thoughts.worked import MAX_WORDS

ASKED = "Choose the right option. End your answer with its letter in parentheses."
WATER = (
    "boils when somebody leaves the kettle on the stove for long",
    "falls out of grey clouds over fields early in the spring",
    "runs down from snowy mountains through a valley to the sea",
)
STEPS = "First add 70 and 7. That is 77. #### 77"


def choice(key, letter, performance=1.0, **more):
    row = answer(key, "a", performance, response=letter, task="arc_challenge", **more)
    return row | {"metric": "em_mc", "ground_truth": ["(B)"], "query": f"Which {key}?\n(A) no\n(B) yes\n{ASKED}"}


def test_every_solved_query_gives_an_example_with_steps_where_there_are_any():
    rows = [choice(key, "(B)") for key in ("sky", "sea", "sun")] + [choice("moon", "(A)", 0.0)]
    rows += [answer("apples", "a", 1.0, cost=1e-6, response="#### 77"), answer("apples", "b", 1.0, response=STEPS)]
    rows += [answer("pears", "a", 1.0, response="so " * MAX_WORDS + "#### 77")]
    made = make_templates(table_of(*rows), "worked")
    shown = {row["query"].split("\n")[0]: row["answer"] for row in made.dataset}
    three = {f"Which {key}?": "(B)" for key in ("sky", "sea", "sun")}
    assert shown == three | {"How many are apples?": STEPS}
    assert made.counts["dropped"] == {"no right answer": 1, "too long": 1} and made.counts["read"] == 6
    with pytest.raises(UserError, match="no worked steps"):  # of bare letters the extractive summariser keeps none
        make_templates(table_of(*rows[:3]), "extractive")
    with pytest.raises(UserError, match="expected 'extractive' or 'worked' or a Summariser, found 'best'"):
        make_templates(table_of(*rows), "best")


def test_a_candidate_in_few_shot_mode_has_a_name_of_its_own():
    assert candidate_id("m", "fewshot") == "m_fewshot" and split_candidate("m_fewshot") == ("m", "fewshot")
    with pytest.raises(UserError, match="not to end in '_fewshot'"):
        LLM("m_fewshot", "small", 1, 1, base_url="http://x/v1")


@pytest.fixture
def worked(tmp_path):
    rows = [choice(key, "(B)") for key in WATER]
    rows += [answer(f"{n} apples", "a", 1.0, response=STEPS) for n in ("five", "nine")]
    Log({"train": table_of(*rows)}).write(tmp_path / "bench")
    out = str(tmp_path / "worked")
    assert main(["templates", str(tmp_path / "bench"), "--model", "worked", "--encoder", "offline", "--out", out]) == 0
    return out


def test_the_collector_shows_right_answers_of_the_same_task_and_never_the_query_itself(tmp_path, worked, capsys):
    source = [
        {"id": str(i), "question": f"Which {key}?", "choices": {"text": ["no", "yes"], "label": ["A", "B"]}}
        | {"answerKey": "B"}
        for i, key in enumerate((WATER[0], "lies salty and still between two old continents at night"))
    ]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, source)))
    with LoopbackLLM() as server:
        save_pool(Pool([LLM("m", "small", 0, 0, base_url=server.url)]), tmp_path / "pool.yaml")
        command = ["collect", "--pool", str(tmp_path / "pool.yaml"), "--tasks", "arc_challenge", "--split", "test"]
        command += ["--source", str(tmp_path / "test.jsonl"), "--modes", "fewshot,thought", "--templates", worked]
        assert main([*command, "-k", "2", "--out", str(tmp_path / "out")]) == 0
        plain = len(server.seen)
        steps = [*command, "-k", "2", "--asked", "think", "--out", str(tmp_path / "steps")]
        assert main(steps) == 0
        # Answers of the two kinds would be one candidate, so they do not go into one folder.
        assert main([*steps[:-1], str(tmp_path / "out")]) == 2 and "asked='direct'" in capsys.readouterr().err
    seen = [seen.prompt for seen in server.seen]
    assert len(seen) == 2 * plain and all("step by step" in p for p in seen[plain:])
    assert not any("step by step" in p for p in seen[:plain]) and recall(tmp_path / "steps")["m"].asked == "think"
    del server.seen[plain:]
    few = [seen.prompt for seen in server.seen if "with their answers" in seen.prompt]
    thought = [seen.prompt for seen in server.seen if "with guidelines" in seen.prompt]
    assert len(few) == len(thought) == 2
    for prompt in few:
        assert prompt.count("Answer: (B)") == 2 and "apples" not in prompt
        assert prompt.count(prompt.split("Now answer this question:\n")[1].split("\n")[0]) == 1
    rows = read_log(tmp_path / "out").to_pylist()
    assert {row["mode"] for row in rows} == {"fewshot", "thought"}
    assert all(row["query"].startswith("Which") for row in rows)  # what stood before it is no part of the query
    assert recall(tmp_path / "out")["m"].k == 2


def test_how_the_query_behind_templates_is_asked_needs_templates(tmp_path):
    pool = Pool([LLM("m", "small", 0, 0, base_url="http://127.0.0.1:9/v1")])
    with pytest.raises(UserError, match="asked: only modes thought and fewshot use it"):
        collect(pool, "arc_challenge", tmp_path / "out", modes=["direct"], asked="think")
    with pytest.raises(UserError, match="expected asked to be one of direct, think, found 'slowly'"):
        collect(pool, "arc_challenge", tmp_path / "out", modes=["thought"], templates=tmp_path, asked="slowly")
    assert not (tmp_path / "out").exists()


def test_a_fused_system_asks_in_few_shot_mode_too(worked):
    (chat,) = chats(["Which salty water?\n(A) no\n(B) yes"], "fewshot", Thoughts(worked, k=1))
    assert chat[0]["content"].startswith("Here are similar questions with their answers:")
    with pytest.raises(UserError, match="mode 'fewshot' needs thought templates"):
        chats(["Which?"], "fewshot")


def test_each_retrieved_mode_may_have_prompts_of_its_own():
    pool = Pool([LLM("m", "small", 0, 0, base_url="http://x/v1")])
    asked = {"gsm8k": [Example("0", "How many?", ["7"])]}
    prompts = {
        mode: lambda queries, ids, mode=mode: [f"{mode}: {q}" for q in queries] for mode in ("thought", "fewshot")
    }
    found = make_requests(pool, asked, ("direct", "fewshot", "thought"), prompts=prompts)
    assert [r.messages[0]["content"] for r in found] == ["How many?", "fewshot: How many?", "thought: How many?"]
    with pytest.raises(UserError, match="mode 'thought' needs thought templates"):
        list(make_requests(pool, asked, ("thought",), prompts={"fewshot": prompts["fewshot"]}))
    assert np.all([r.max_tokens for r in make_requests(pool, asked, ("fewshot",), prompts=prompts)])
