"""Thought templates: which answers, what leaks, what is kept, and what is found again."""

import asyncio
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from loopback_llm import Act, LoopbackLLM

import fusion_hf
from fusion_hf.bench.importing import import_log
from fusion_hf.bench.schema import candidate_id, query_id, rows_to_table, validate
from fusion_hf.bench.store import read_log
from fusion_hf.bench.tasks import THINK_SUFFIX
from fusion_hf.errors import UserError
from fusion_hf.llms.pool import LLM, Pool, save_pool
from fusion_hf.thoughts import (
    STYLES,
    LLMSummariser,
    TemplateIndex,
    build_prompt,
    make_templates,
    select_answers,
    think,
    thought_prompts,
)
from fusion_hf.thoughts.check import check, sentences
from fusion_hf.thoughts.cut import cut_middle, pieces, spans_of
from fusion_hf.thoughts.extract import worked_steps
from fusion_hf.thoughts.files import COLUMNS
from fusion_hf.thoughts.leak import leaks, mask
from fusion_hf.thoughts.nearest import nearest
from fusion_hf.thoughts.solved import Solved
from fusion_hf.thoughts.templates import solved_queries

WORKED = "First add {a} and {b}. That is {a} + {b} = {c}. #### {c}"


def answer(key, llm, performance, cost=1e-4, mode="direct", response="Add both.", judge=None, task="gsm8k", **more):
    """One log row."""
    query = f"How many are {key}?"
    row = {
        "query_id": query_id(task, key, query), "task": task, "source_id": key, "query": query, "metric": "gsm8k",
        "ground_truth": ["77"], "llm": llm, "mode": mode, "response": response, "performance": performance,
        "cost": cost, "judge": judge,
    }  # fmt: skip
    return row | more


def table_of(*rows):
    return validate(rows_to_table(rows))


def chosen(table, *args, **kwargs):
    """source_id -> candidates, best first."""
    answers = select_answers(table, *args, **kwargs).answers
    return {table["source_id"][r[0]].as_py(): [table["llm"][i].as_py() for i in r] for r in answers.values()}


# Which answers


def test_perf_orders_by_performance_then_cost_then_name():
    table = table_of(
        answer("q", "dear", 1.0, 3e-4),
        answer("q", "half", 0.6, 1e-6),
        answer("q", "cheap", 1.0, 1e-4),
        answer("q", "beta", 1.0, 2e-4),
        answer("q", "alpha", 1.0, 2e-4),
        answer("q", "free?", 1.0, None),
    )
    assert chosen(table) == {"q": ["cheap", "alpha", "beta", "dear", "free?", "half"]}
    assert chosen(table, top_k=2) == {"q": ["cheap", "alpha"]}


def test_only_right_answers_and_every_query_is_counted():
    table = table_of(
        answer("solved", "a", 1.0),
        answer("solved", "b", 0.49),  # below the threshold
        answer("unsolved", "a", 0.0),
        answer("silent", "a", 1.0, response=" "),
        answer("ungraded", "a", None),
    )
    selection = select_answers(table)
    assert chosen(table) == {"solved": ["a"]}
    assert (selection.read, selection.dropped) == (4, {"no right answer": 1, "no graded answer": 2})


def test_the_order_of_rows_is_irrelevant(rng):
    rows = [answer(f"q{i}", f"m{j}", float(rng.integers(2)), float(rng.random()), judge=float(rng.random()))
            for i in range(6) for j in range(7)]  # fmt: skip
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    for rule in ("perf", "judge", "hybrid"):
        assert chosen(table_of(*rows), rule, 3) == chosen(table_of(*shuffled), rule, 3)


def test_hybrid_takes_the_best_judged_of_the_five_best():
    # The sixth by cost has the best judge score and must not be seen.
    rows = [answer("q", f"m{i}", 1.0, 1e-4 * (i + 1), judge=judge)
            for i, judge in enumerate([0.1, 0.5, None, 0.9, 0.3, 1.0])]  # fmt: skip
    assert chosen(table_of(*rows), "hybrid", 3) == {"q": ["m3", "m1", "m4"]}
    assert chosen(table_of(*rows), "judge", 2) == {"q": ["m5", "m3"]}


def test_judge_never_takes_a_wrong_answer():
    table = table_of(answer("q", "liked", 0.0, judge=1.0), answer("q", "right", 1.0, judge=0.1))
    assert chosen(table, "judge") == {"q": ["right"]}
    open_ended = table_of(answer("q", "liked", None, judge=0.9), answer("q", "bad", None, judge=0.2))
    assert chosen(open_ended, "judge") == {"q": ["liked"]}


@pytest.mark.parametrize(
    ("rows", "rule", "message"),
    [
        ([answer("q", "a", 1.0)], "hybrid", "needs judge scores"),
        ([answer("q", "a", None)], "perf", "needs graded answers"),
        ([answer("q", "a", 1.0, response=None)], "perf", "no response texts"),
        ([answer("q", "a", 1.0)], "best", "expected one of perf, judge, hybrid"),
    ],
)
def test_logs_that_cannot_be_used_say_why(rows, rule, message):
    with pytest.raises(UserError, match=message):
        select_answers(table_of(*rows), rule)


# What gives an answer away

CHOICE = "What conducts?\n(A) wood\n(B) copper wire\n(C) a stone\nChoose the right option."


@pytest.mark.parametrize(
    ("text", "gold", "query", "leak"),
    [
        ("The answer is (B).", "(B)", CHOICE, True),
        ("answer: B", "B", CHOICE, True),
        ("Option B fits best.", "(B)", CHOICE, True),
        ("So (B), since (C) is wrong", "(B)", CHOICE, True),
        ("Take the copper wire.", "(B)", CHOICE, True),
        ("Metals conduct. Compare (A), (B) and (C).", "(B)", CHOICE, False),
        ("End with a letter, such as (B).", "(B)", CHOICE, False),
        ("A big answer is a thing", "(A)", CHOICE, False),
        ("Decide whether it is True or False.", "True", "", False),
        ("True claims need support.", "True", "", False),
        ("The statement is True.", "True", "", True),
        ("The answer is false", "False", "", True),
        ("Then 12 + 5 = 17", "17", "12 and 5", True),
        ("It costs $1,700.00 now", "1700", "", True),
        ("171 apples and 3.17", "17", "", False),
        ("There are 12 apples", "12", "12 apples", False),
        ("so 7 + 5 = 12", "12", "12 apples", True),
        ("Work in 2 steps.", "2", "", False),
        ("#### 2", "2", "", True),
        ("x = 2.5", "2", "", False),
        ("He was born in PARIS.", "paris", "", True),
        ("The parish register", "Paris", "", False),
        (r"It is \boxed{\frac{1}{4}}", r"\frac{1}{4}", "", True),
        (r"Not \frac{1}{2}", r"\frac{1}{4}", "", False),
        ("anything", "", "", False),
    ],
)
def test_leaks(text, gold, query, leak):
    metric = "em_mc" if query is CHOICE else ""
    assert bool(leaks(text, [gold], query, metric)) is leak
    # The law behind masking: what is masked leaks no more, and what did not leak is not touched.
    masked = mask(text, [gold], query, metric)
    assert not leaks(masked, [gold], query, metric)
    assert leak or masked == text


def test_code_leaks_by_its_lines():
    gold = json.dumps({"prompt": "", "setup": "", "tests": "assert f(1, 2) == 5", "entry_point": "f"})
    solution = "def f(a, b):\n    return a + b * 2"
    assert leaks("Use `return a + b * 2`.", [gold], "Write def f(a, b):", "code_eval", solution)
    assert not leaks("Return the weighted sum.", [gold], "Write def f(a, b):", "code_eval", solution)


# Summaries


def solved(answers, gold="77", query="What are 70 and 7?", metric="gsm8k"):
    return Solved("q1", "gsm8k", query, [gold], metric, list(answers), ["a"] * len(answers), "perf:3")


def test_extractive_keeps_the_steps_and_masks_the_result():
    text = worked_steps("Tom has 70.\nHe gets 7 more, 70 + 7 = 77.\nSo the answer is 77.\n#### 77", solved([]))
    assert text == "Tom has 70. He gets 7 more, 70 + 7 = ?"
    assert worked_steps("#### 77", solved([])) is None
    assert worked_steps("(B)", solved([], "(B)", CHOICE, "em_mc")) is None


def test_extractive_is_cut_to_five_sentences():
    long = " ".join(f"Step {letter} is done." for letter in "klmnopqr")
    text = worked_steps(long, solved([]))
    assert text.count(".") == 5 and text.startswith("Step k") and text.endswith("Step r is done.")


def test_long_texts_are_cut_by_tokens_at_head_and_tail(tmp_path):
    from tiny_llm import make_tiny_llm
    from transformers import AutoTokenizer

    text = " ".join(f"w{i}" for i in range(100))
    assert cut_middle(text, 10).split() == [*(f"w{i}" for i in range(6)), "…", "w97", "w98", "w99"]
    assert cut_middle(text, 100) == text and cut_middle("def f():\n    return 1", 50) == "def f():\n    return 1"
    # Code is cut between its lines, whatever the tokens.
    code = "\n".join(f"    value_{i} = compute({i}, other[{i}])" for i in range(60))
    own = spans_of(AutoTokenizer.from_pretrained(make_tiny_llm(tmp_path / "llm")))
    for spans, sizes in ((pieces, (90, 150, 333)), (own, (333, 700))):
        for tokens in sizes:
            cut = cut_middle(code, tokens, spans)
            assert len(spans(cut.replace("…", ""))) <= tokens < len(spans(code))
            head, tail = cut.split("\n…\n")
            assert code.startswith(head + "\n") and code.endswith("\n" + tail)
    assert len(own("äöü €")) >= 4  # one token covers part of a letter: the spans still lie within the text
    assert "".join(cut_middle("€" * 50, 20, own).split()).strip("€") == "…"


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Add both.", 1),
        ("Add both numbers", 1),
        ("1. Read it.\n2. Add both. Then check!\n- End with ####.", 4),
        ("Use e.g. a table, i.e. rows. Then add 3.5 to it.", 2),
        ('Say "stop." Then go on.', 2),
        ("**Task:** add.\n\n**Steps:** carry.", 2),
        ("...", 0),
    ],
)
def test_sentences_are_counted(text, count):
    assert len(sentences(text)) == count


@pytest.mark.parametrize(
    ("reply", "finish", "reason"),
    [
        ("Add both numbers.", "stop", None),
        ("<think>it is 77</think> Add both numbers.", "stop", None),
        (" \n", "stop", "empty"),
        ("<think>still at it", "length", "empty"),
        ("word " * 151, "stop", "too long"),
        ("Add. " * 6, "stop", "too many sentences"),
        ("Add both. Then they", "length", None),
        ("Add both and", "length", "cut off"),
        ("The sum is 77.", "stop", "leaks the answer"),
    ],
)
def test_replies_are_checked(reply, finish, reason):
    text, found = check(reply, finish, solved(["x"]))
    assert found == reason and (text is None) == (reason is not None)
    assert text in (None, "Add both numbers.", "Add both.")


class ByChat(LoopbackLLM):
    """The endpoint with behaviour by the whole body of a request, since the last message of every retry is the same."""

    def __init__(self, behave):
        super().__init__()
        self.by_chat = behave

    async def _act(self, request, act, body):
        act = self.by_chat(body)
        await asyncio.sleep(act.delay)
        return await super()._act(request, act, body)


def far(url, **options):
    return LLM("far", "small", 1.0, 2.0, base_url=url, options=options)


def scripted(script):
    """(loopback server, chats it saw): the reply to a chat about a query depends on how long the chat is."""
    chats = []

    def behave(body):
        messages = body["messages"]
        chats.append(messages)
        key = next(key for key in script if f"How many are {key}?" in messages[0]["content"])
        reply = script[key][len(messages) // 2]
        return reply if isinstance(reply, Act) else Act(reply, delay=0.01)

    return ByChat(behave), chats


def test_llm_summaries_are_retried_once_rejected_counted_priced_and_resumed(tmp_path):
    table = table_of(*(answer(key, "a", 1.0) for key in ("good", "leaky", "mended", "same", "broken")),
                     answer("hard", "a", 0.0))  # fmt: skip
    script = {
        "good": ["Add both."],
        "leaky": ["It is 77.", "Still 77."],
        "mended": ["", "Think about units."],
        "same": ["  add BOTH. "],
        "broken": [Act(status=401)],
    }
    server, chats = scripted(script)
    folder = tmp_path / "replies"
    with server:
        summariser = LLMSummariser(far(server.url), folder)
        made = make_templates(table, summariser, concurrency=2, progress=False)
        assert made.dataset["template"] == ["Add both.", "Think about units."]
        usd = 6 * (10 * 1.0 + 5 * 2.0) / 1e6
        assert made.counts == {
            "read": 6,
            "kept": 2,
            "dropped": {"no right answer": 1, "leaks the answer": 1, "duplicate in its task": 1, "no reply (auth)": 1},
            "unchecked": 0, "retried": 2, "resumed": 0, "input_tokens": 60, "output_tokens": 30,
            "usd": pytest.approx(usd), "usd_total": pytest.approx(usd),
        }  # fmt: skip
        assert made.counts["read"] == made.counts["kept"] + sum(made.counts["dropped"].values())
        assert server.peak == 2 and len(chats) == 7
        again = next(chat for chat in chats if len(chat) == 3 and "leaky" in chat[0]["content"])
        assert again[1]["content"] == "It is 77." and "gives the answer away" in again[2]["content"]
        assert set(made.dataset.column_names) == set(COLUMNS)
        row = made.dataset[0]
        assert (row["rule"], row["summariser"], row["candidates"], row["answer"], row["prompt_version"]) == (
            "perf:3", "far", ["a"], "Add both.", "2",
        )  # fmt: skip

        # A kill within the last write leaves half a line; the next run pays only for what is missing.
        shard = next(folder.glob("shard-*.jsonl"))
        shard.write_bytes(shard.read_bytes() + b'{"query_id": "ha')
        script["broken"] = ["Count them."]
        second = make_templates(table, summariser, progress=False)
        assert len(chats) == 8 and second.counts["resumed"] == 6 and second.counts["kept"] == 3
        assert second.counts["usd"] == pytest.approx(usd / 6) and second.counts["usd_total"] == pytest.approx(
            usd * 7 / 6
        )
        third = make_templates(table, summariser, progress=False)
        assert third.dataset.to_list() == second.dataset.to_list() and len(chats) == 8
        # Other answers are another question.
        other = table_of(*(answer(key, "b", 1.0, response="Count on.") for key in ("good", "mended")))
        make_templates(other, summariser, progress=False)
        assert len(chats) == 11


def test_a_budget_stops_the_summariser_and_a_dry_run_prices_it(tmp_path):
    table = table_of(*(answer(f"q{i}", "a", 1.0) for i in range(20)))
    usage = {"prompt_tokens": 200, "completion_tokens": 100}
    server, chats = scripted({f"q{i}": [Act(f"Add {'ten' * i} more.", usage=usage)] for i in range(20)})
    with server:
        summariser = LLMSummariser(far(server.url, max_tokens=100), tmp_path / "replies")
        items, _ = solved_queries(table, summariser)
        plan = summariser.plan(items)
        assert plan["read"] == 20 and plan["resumed"] == 0 and not chats
        assert plan["usd_most"] == pytest.approx(plan["usd_input"] + 20 * 100 * 2.0 / 1e6)
        made = make_templates(table, summariser, max_usd=0.003, progress=False)
        assert 0 < made.counts["kept"] < 20 and made.counts["usd"] <= 0.003
        assert made.counts["dropped"] == {"not asked": 20 - made.counts["kept"]}
        assert summariser.plan(items)["resumed"] == made.counts["kept"]
        assert make_templates(table, summariser, progress=False).counts["kept"] == len(chats) == 20


def test_an_llm_without_prices_costs_an_unknown_amount(tmp_path):
    server, _ = scripted({"q": ["Add both."]})
    with server:
        free = LLM("far", "small", None, None, base_url=server.url)
        made = make_templates(table_of(answer("q", "a", 1.0)), LLMSummariser(free), progress=False)
    assert made.counts["usd"] is None and made.counts["usd_total"] is None and made.counts["output_tokens"] == 5


KILLED = """
import sys
from fusion_hf.bench.store import read_log
from fusion_hf.llms.pool import LLM
from fusion_hf.thoughts import LLMSummariser, make_templates
summariser = LLMSummariser(LLM("far", "small", 1.0, 2.0, base_url=sys.argv[1]), sys.argv[3])
make_templates(read_log(sys.argv[2]), summariser, concurrency=2, progress=False)
"""


@pytest.mark.slow
def test_a_killed_run_pays_only_for_what_was_in_flight(tmp_path):
    import time

    table = table_of(*(answer(f"q{i}", "a", 1.0) for i in range(40)))
    import pyarrow.parquet as pq

    pq.write_table(table, tmp_path / "log.parquet")
    server, chats = scripted({f"q{i}": [Act(f"Add {'ten' * i} more.", delay=0.2)] for i in range(40)})
    with server:
        run = subprocess.Popen([sys.executable, "-c", KILLED, server.url, tmp_path / "log.parquet", tmp_path / "r"])
        while len(chats) < 12 and run.poll() is None:
            time.sleep(0.02)
        run.kill()
        run.wait()
        killed_at = len(chats)
        assert 12 <= killed_at < 40
        made = make_templates(table, LLMSummariser(far(server.url), tmp_path / "r"), progress=False)
    assert made.counts["kept"] == 40
    # Two chats were in flight at most, and what the server had not sent before the kill is asked again.
    assert (
        killed_at - 2 <= made.counts["resumed"] <= killed_at and len(chats) == killed_at + 40 - made.counts["resumed"]
    )


def test_the_summariser_is_shown_the_best_answers_and_never_the_gold(tmp_path):
    table = table_of(*(answer("q", f"m{i}", 1.0, 1e-4 * (i + 1), response=f"way number {i}") for i in range(5)))
    server, chats = scripted({"q": ["Add both."]})
    with server:
        make_templates(table, LLMSummariser(far(server.url)), top_k=2, progress=False)
    prompt = chats[0][0]["content"]
    assert "way number 0" in prompt and "way number 1" in prompt and "way number 2" not in prompt
    assert "77" not in prompt


def test_the_templates_command_prices_asks_and_resumes(tmp_path, capsys):
    from fusion_hf.bench.store import write_bench
    from fusion_hf.cli import main

    rows = [answer(f"q{i}", llm, 1.0, response=f"{llm} counts them.") for i in range(6) for llm in ("tiny", "giant")]
    llms = [{"name": "tiny", "size": "7B"}, {"name": "giant", "size": "70B"}]
    bench = write_bench({"train": table_of(*rows)}, tmp_path / "bench", llms=llms)
    server, chats = scripted({f"q{i}": [f"Add {'ten' * i} more."] for i in range(6)})
    with server:
        pool = save_pool(Pool([far(server.url, max_tokens=50)]), tmp_path / "pool.yaml")
        command = ["templates", str(bench), "--model", "far", "--pool", str(pool), "--encoder", "offline", "--json",
                   str(tmp_path / "f.json"), "--out", str(tmp_path / "t"), "--llms", "tiny"]  # fmt: skip

        def run(*more):
            capsys.readouterr()
            code = main([*command, *more])
            return code, json.loads((tmp_path / "f.json").read_text()) if code == 0 else capsys.readouterr().err

        code, figures = run("--dry-run")
        assert code == 0 and figures["read"] == figures["plan"]["read"] == 6 and figures["plan"]["usd_most"] > 0
        assert not chats and not (tmp_path / "t").exists()
        code, figures = run("--max-usd", "1")
        assert (code, figures["kept"], figures["resumed"], len(chats)) == (0, 6, 0, 6)
        assert not any("giant counts" in chat[0]["content"] for chat in chats)
        index = TemplateIndex.from_pretrained(tmp_path / "t")
        assert set(itertools.chain(*index.table["candidates"].to_pylist())) == {"tiny"}
        code, figures = run("--max-usd", "1")
        assert (code, figures["resumed"], figures["usd"], len(chats)) == (0, 6, 0.0, 6)
        code, error = run("--select", "judge")
        assert code == 2 and "needs judge scores" in error and error.count("\n") == 1
    # --small takes the sizes of the log where no pool is given.
    assert main(["templates", str(bench), "--small", "--encoder", "offline", "--out", str(tmp_path / "s")]) == 0
    small = TemplateIndex.from_pretrained(tmp_path / "s")
    assert set(itertools.chain(*small.table["candidates"].to_pylist())) == {"tiny"}


def test_only_the_small_pool_teaches(tmp_path):
    table = table_of(answer("q", "tiny", 1.0, 9.0, response="Add with care."),
                     answer("q", "giant", 1.0, 0.0, response="Just know it all."))  # fmt: skip
    made = make_templates(table, llms=["tiny"], progress=False)
    assert made.dataset["template"] == ["Add with care."] and made.dataset["candidates"] == [["tiny"]]
    with pytest.raises(UserError, match="it has giant, tiny"):
        make_templates(table, llms=["nobody"], progress=False)


def test_extractive_templates_come_from_the_best_answer_with_steps():
    rows = [
        answer("q", "bare", 1.0, 1e-6, response="#### 77"),
        answer("q", "worked", 1.0, 1e-3, mode="think", response=WORKED.format(a=70, b=7, c=77)),
        answer("p", "bare", 1.0, response="#### 77"),
    ]
    made = make_templates(table_of(*rows), progress=False)
    assert made.counts["dropped"] == {"no worked steps": 1}
    row = made.dataset[0]
    assert row["template"] == "First add 70 and 7. That is 70 + 7 = ?"
    assert (row["candidates"], row["summariser"], row["rule"]) == (["worked_think"], "extractive", "perf")


def test_extractive_says_of_code_what_its_prose_and_comments_say():
    code = "This doubles every item.\n```python\ndef f(x):\n    return 2 * x\n```\nIt keeps the order."
    assert worked_steps(code, solved([], "", metric="accuracy")) == "This doubles every item. It keeps the order."
    bare = "def f(x):\n    # go over the items one by one\n    y = []\n    y += x\n    return y"
    assert worked_steps(bare, solved([], "", metric="accuracy")) == "go over the items one by one."


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.parametrize(
    ("source", "folder", "split", "rule", "at_least"),
    [
        ("routerbench", "routerbench", "train", "perf", 200),
        ("gsm8k-solutions", "gsm8k", "test", "perf", 800),
        ("alpaca-eval", "alpaca_eval", "test", "judge", 600),
    ],
)
def test_templates_from_real_logs(source, folder, split, rule, at_least, tmp_path):
    if not (SHARED / folder).is_dir():
        pytest.skip(f"needs {SHARED / folder}, which is not part of the repository")
    import_log(source, SHARED / folder, tmp_path / "bench")
    table = read_log(tmp_path / "bench", split)
    made = make_templates(table, select=rule, progress=False)
    counts = made.counts
    assert counts["kept"] >= at_least and counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    score = "judge" if rule == "judge" else "performance"
    names = [candidate_id(a, b) for a, b in zip(table["llm"].to_pylist(), table["mode"].to_pylist(), strict=True)]
    scores = dict(zip(zip(table["query_id"].to_pylist(), names, strict=True), table[score].to_pylist(), strict=True))
    golds = dict(zip(table["query_id"].to_pylist(), table["ground_truth"].to_pylist(), strict=True))
    for row in made.dataset:
        assert 1 <= len(sentences(row["template"])) <= 5
        assert all(scores[row["query_id"], name] >= 0.5 for name in row["candidates"])
        assert not leaks(row["template"], golds[row["query_id"]], row["query"], metric="gsm8k" if golds else "")
    # A real local model, which has never seen such questions, as summariser of a few of them.
    few = table.filter(pc.is_in(table["query_id"], pa.array(made.dataset["query_id"][:6])))
    reader = str(Path(fusion_hf.__file__).parent / "bench" / "sample" / "reader")
    llm = LLM("reader", "small", 0.1, 0.2, backend="transformers", model=reader,
              options={"device": "cpu", "max_tokens": 24})  # fmt: skip
    summariser = LLMSummariser(llm, tmp_path / "replies", response_tokens=48)
    items, _ = solved_queries(few, summariser, rule)
    drafts, usage = summariser.drafts(items, progress=False)
    assert len(drafts) == 6 and all((draft.text is None) == (draft.reason is not None) for draft in drafts)
    assert usage["output_tokens"] > 0 and usage["usd"] > 0


def test_no_template_at_all_is_an_error_with_the_reasons():
    table = table_of(answer("q", "a", 1.0, response="#### 77"))
    with pytest.raises(UserError, match="1 no worked steps"):
        make_templates(table, progress=False)


def test_make_templates_inside_a_running_loop():
    async def notebook():
        return make_templates(table_of(answer("q", "a", 1.0, response="Add all of them.")), progress=False)

    assert asyncio.run(notebook()).counts["kept"] == 1


# The prompt


def test_prompt_formats_are_fixed():
    examples = [("Q one?", "plan one"), ("Q two?", "plan two")]
    assert build_prompt("Q?", examples, "zero-shot") == "Q?" == build_prompt("Q?", [])
    assert build_prompt("Q?\nEnd with ####.", examples, "thought") == (
        "Here are similar questions with guidelines on how to solve them:\n\nQuestion: Q one?\nGuideline: plan one\n\n"
        "Question: Q two?\nGuideline: plan two\n\nNow answer this question:\nQ?\nEnd with ####."
    )
    assert build_prompt("Q?", examples[:1], "few-shot") == (
        "Here are similar questions with their answers:\n\nQuestion: Q one?\nAnswer: plan one\n\n"
        "Now answer this question:\nQ?"
    )
    with pytest.raises(UserError, match="zero-shot, few-shot, thought"):
        build_prompt("Q?", [], "cot")


# The index


def unit(rng, n, d=16):
    x = rng.standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def template_table(n, tasks=("sum", "story", "fact")):
    rows = [
        {
            "query_id": f"id{i}", "task": tasks[i % len(tasks)], "query": f"Template question number {i}?",
            "template": f"plan {i}", "answer": f"answer {i}", "candidates": ["a"], "rule": "perf:3",
            "summariser": "scripted", "prompt_version": "1",
        }
        for i in range(n)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


@pytest.fixture
def index(rng):
    return TemplateIndex(template_table(300), unit(rng, 300), "offline")


def found(hits):
    return [[(h.row, h.similarity) for h in row] for row in hits]


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

    from fusion_hf.bench.store import read_log, write_bench

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
    """`fusion-hf collect --mode thought` sends what `think` sends; its rows are a candidate of their own."""
    from fusion_hf.bench.data import RoutingData
    from fusion_hf.bench.select import Answers
    from fusion_hf.cli import main
    from fusion_hf.llms.collect import finish

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
        assert main(["collect", *arguments, "--mode", "thought"]) == 2
        assert "pass --templates" in capsys.readouterr().err
        assert main(["collect", *arguments, "--modes", "direct"]) == 0
        asked = finish(tmp_path / "logs")
        # Templates of these very queries, and of others: a query never sees its own.
        for i, row in enumerate(rows[:3]):
            row |= {"query_id": asked["query_id"][i].as_py(), "query": asked["query"][i].as_py()}
        index = TemplateIndex.build(pa.Table.from_pylist(rows), "offline")
        index.save_pretrained(tmp_path / "t")
        assert (
            main(["collect", *arguments, "--mode", "direct,thought", "--templates", str(tmp_path / "t"), "-k", "2"])
            == 0
        )
    log = finish(tmp_path / "logs")
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
                "--mode",
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
