"""Making templates: summarisers, prices, retries, resumption, real logs, and the command."""

import asyncio
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from loopback_llm import Act
from thought_toys import (
    WORKED,
    answer,
    far,
    scripted,
    solved,
    table_of,
)

import fusion_hf
from fusion_hf import import_log
from fusion_hf.errors import UserError
from fusion_hf.llms.pool import LLM, Pool, save_pool
from fusion_hf.logs.log import read_log
from fusion_hf.logs.schema import candidate_id
from fusion_hf.thoughts import (
    LLMSummariser,
    TemplateIndex,
    build_prompt,
    make_templates,
)
from fusion_hf.thoughts.check import sentences
from fusion_hf.thoughts.extract import worked_steps
from fusion_hf.thoughts.files import COLUMNS
from fusion_hf.thoughts.leak import leaks
from fusion_hf.thoughts.templates import solved_queries


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
from fusion_hf.logs.log import read_log
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
    from fusion_hf.cli import main
    from fusion_hf.logs.log import write_bench

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
    reader = str(Path(fusion_hf.__file__).parent / "logs" / "sample" / "reader")
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
