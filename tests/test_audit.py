"""Each kind of fault is put into a clean log and must be named; the clean log must stay clean."""

import json
import random

import numpy as np
import pytest
from conftest import make_rows
from test_importers import needs

from fusion_hf import audit
from fusion_hf.cli import main
from fusion_hf.errors import UserError
from fusion_hf.logs.audit import audit_tables
from fusion_hf.logs.audit.scores import binomial_cdf, median_polish, wilson
from fusion_hf.logs.importers import read
from fusion_hf.logs.log import write_bench
from fusion_hf.logs.near import near_duplicates
from fusion_hf.logs.schema import query_id, rows_to_table
from fusion_hf.tasks.graders import grader_name

LLMS = ("ant", "bee", "cow", "dog", "eel")
SKILL = dict(zip(LLMS, (0.8, 0.7, 0.6, 0.5, 0.75), strict=True))
WORDS = [
    "river",
    "stone",
    "cloud",
    "table",
    "green",
    "winter",
    "music",
    "paper",
    "glass",
    "engine",
    "flower",
    "bridge",
    "candle",
    "forest",
    "mirror",
]


def choice_log(n=120, split="train", tasks=("arc", "csqa", "mmlu", "obqa"), seed=0, options=True):
    """Multiple choice with four options: every LLM is right with its skill, and says so in words of its own."""
    rng = random.Random(f"{seed}{split}")
    rows = []
    for task in tasks:
        for i in range(n):
            words = rng.sample(WORDS, 4)
            stem = f"{' '.join(rng.choices(WORDS, k=12))} {rng.random()}?"
            query = stem + "".join(f"\n({c}) {w} {i}" for c, w in zip("ABCD", words, strict=True)) * options
            gold = rng.choice("ABCD")
            for llm in LLMS:
                letter = gold if rng.random() < SKILL[llm] else rng.choice([c for c in "ABCD" if c != gold])
                why = " ".join(rng.choices(WORDS, k=10))
                rows.append(
                    {
                        "query_id": query_id(task, str(i), query), "task": task, "source_id": str(i), "query": query,
                        "ground_truth": [f"({gold})"], "metric": "em_mc", "llm": llm, "mode": "direct",
                        "response": f"{why}. So ({letter}).", "finish_reason": "stop", "extracted": letter,
                        "performance": float(letter == gold), "grader": grader_name("em_mc"),
                    }
                )  # fmt: skip
    return rows


def run(rows, split="train", **options):
    return audit_tables({split: rows_to_table(rows)}, **options)


def kinds(result):
    return {finding["kind"] for finding in result["findings"]}


def only(result, kind):
    return [finding for finding in result["findings"] if finding["kind"] == kind]


def without(rows, *names):
    return [{k: v for k, v in row.items() if k not in names} for row in rows]


def test_a_clean_log_is_clean():
    result = audit_tables({s: rows_to_table(choice_log(split=s)) for s in ("train", "test")})
    assert result["findings"] == []
    assert result["read"] == result["kept"] == 2 * 4 * 120 * 5 and result["dropped"] == {}


@pytest.mark.parametrize("options", [True, False])
def test_unparsed_answers_are_named_with_the_share_that_was_lost(options):
    rows = without(choice_log(options=options), "response", "extracted", "grader")
    for row in rows:
        if row["llm"] == "eel" and row["task"] == "mmlu":
            row["performance"] *= int(row["source_id"]) % 20 == 0
    (finding,) = only(run(rows), "scores below chance")
    assert (finding["candidate"], finding["task"], finding["severity"]) == ("eel", "mmlu", "error")
    assert finding["figures"]["chance"] == 0.25 and 0.3 < finding["figures"]["unread_at_least"] < 0.95
    assert len(finding["examples"]) == 5


def test_golds_that_nobody_beats_are_named():
    rows = without(choice_log(n=200), "response", "extracted", "grader")
    rng = random.Random(2)
    for row in rows:
        if row["task"] == "mmlu":
            row["performance"] = float(rng.random() < 0.25)
    (finding,) = only(run(rows), "tasks at chance")
    assert (finding["task"], finding["severity"], finding["figures"]["chance"]) == ("mmlu", "warning", 0.25)


def test_the_published_slice_names_the_candidates_whose_choices_were_not_read():
    result = audit_tables(read("llmrouter", needs("fusionbench_slice")).tables)
    unread = {(f["candidate"], f["task"]) for f in only(result, "scores below chance")}
    # Both answer in prose without a letter in parentheses: near zero where others of their size are far above chance.
    lettered = ("mmlu", "commonsense_qa", "arc_challenge", "openbook_qa", "gpqa")
    assert {("llama3-chatqa-1.5-70b", task) for task in lettered} <= unread
    assert {("llama3-chatqa-1.5-8b", "mmlu"), ("llama3-chatqa-1.5-8b", "gpqa")} <= unread
    assert ("qwen2.5-7b-instruct", "mmlu") in unread and ("codegemma-7b", "gpqa") in unread
    good = {"gemma-2-9b-it", "llama-3.1-nemotron-51b-instruct"}
    assert not any(name in good for name, _ in unread)
    code = {(f["candidate"], f["task"]) for f in only(result, "implausible scores")}
    assert {("mistral-7b-instruct-v0.3", "mbpp"), ("gemma-2-9b-it", "human_eval")} <= code
    assert "gpqa" in {f["task"] for f in only(result, "tasks at chance")}  # its letters are known to be wrong


def test_a_weak_llm_that_guesses_is_not_named():
    rows = without(choice_log(n=400), "response", "extracted", "grader")
    rng = random.Random(1)
    for row in rows:
        if row["llm"] == "dog":
            row["performance"] = float(rng.random() < 0.25)
    assert "scores below chance" not in kinds(run(rows))


def test_a_score_far_below_the_own_level_is_named_on_any_format():
    rows = without(choice_log(options=False), "response", "extracted", "grader")
    for row in rows:
        row |= {"metric": "gsm8k", "ground_truth": ["7"]}
        if row["llm"] == "ant" and row["task"] == "arc":
            row["performance"] = 0.0
    result = run(rows)
    assert [(f["candidate"], f["task"]) for f in only(result, "implausible scores")] == [("ant", "arc")]
    assert "scores below chance" not in kinds(result)


def test_duplicate_keys_and_missing_cells():
    rows = make_rows()
    rows.append(dict(rows[0]))
    rows[5]["performance"] = None
    del rows[10]
    result = run(rows)
    assert only(result, "duplicate keys")[0]["count"] == 1
    assert only(result, "duplicate keys")[0]["examples"] == [rows[0]["query_id"]]
    assert sum(f["count"] for f in only(result, "missing cells")) == 2
    judged = [row | {"performance": None, "judge": 0.5} for row in make_rows()]
    assert "missing cells" not in kinds(run(judged))


def test_queries_in_two_splits_word_for_word_and_nearly():
    train, test = choice_log(), choice_log(split="test")
    for row in test:
        if row["source_id"] == "3" and row["task"] == "arc":
            row["query"] = next(r["query"] for r in train if r["source_id"] == "3" and r["task"] == "arc")
        if row["source_id"] == "4" and row["task"] == "arc":
            row["query"] = "Well, " + next(r["query"] for r in train if r["source_id"] == "4" and r["task"] == "arc")
    result = audit_tables({"train": rows_to_table(train), "test": rows_to_table(test)})
    (exact,) = only(result, "queries in two splits")
    assert (exact["count"], exact["severity"]) == (1, "error")
    (near,) = only(result, "near-duplicates in two splits")
    assert near["figures"]["pairs"] == 1 and near["count"] == 2


def test_partial_test_is_a_part_of_test_and_no_leak():
    table = rows_to_table(choice_log(n=20))
    assert "queries in two splits" not in kinds(audit_tables({"partial_test": table, "test": table}))


def test_one_llm_under_two_names_by_text_and_by_score():
    rows = choice_log()
    twins = [row | {"llm": "ant-turbo"} for row in rows if row["llm"] == "ant"]
    (finding,) = only(run(rows + twins), "coinciding candidates")
    assert (finding["candidate"], finding["severity"]) == ("ant & ant-turbo", "warning")
    (finding,) = only(run(without(rows + twins, "response", "extracted")), "coinciding candidates")
    assert finding["candidate"] == "ant & ant-turbo"


def test_a_mode_that_changes_nothing_is_no_second_llm():
    rows = choice_log()
    for mode in ("think", "thought"):
        same = [row | {"mode": mode} for row in rows if row["llm"] == "ant"]
        (finding,) = only(run(rows + same), "coinciding candidates")
        assert (finding["candidate"], finding["severity"]) == (f"ant & ant_{mode}", "info")


def test_gold_letters_that_cannot_be_right():
    rows = choice_log()
    for row in rows:
        number = int(row["source_id"])
        letter = row["ground_truth"][0].strip("()")
        options = dict(line[1:].split(") ", 1) for line in row["query"].split("\n")[1:])
        if row["task"] == "arc" and number == 0:
            row["ground_truth"] = ["(F)"]
        if row["task"] == "arc" and number == 1:
            row["ground_truth"] = [f"({letter})", options[{"A": "B"}.get(letter, "A")]]
        if row["task"] == "arc" and number == 2:
            row["ground_truth"] = [f"({letter})", options[letter]]
        if row["task"] == "csqa" and number == 5:
            row["extracted"] = {"A": "C"}.get(letter, "A")
    found = {(f["task"], f["severity"]): f for f in only(run(rows, regrade=0), "reference answers")}
    messages = [f["message"] for f in only(run(rows, regrade=0), "reference answers")]
    assert any("1 queries of arc: the reference letter is none of the options" in m for m in messages)
    assert any("1 queries of arc: the reference letter and the reference text name two options" in m for m in messages)
    assert found["csqa", "warning"]["count"] == 1 and len(messages) == 3


def test_the_same_question_with_two_gold_texts():
    rows = choice_log(n=10)
    ask = "Which is wet?\n(A) water\n(B) fire\n(C) dust"
    turned = "Which is wet?\n(A) fire\n(B) water\n(C) dust"
    for i, query in enumerate((ask, turned)):
        new = {"query": query, "query_id": f"w{i}", "source_id": f"w{i}", "extracted": None, "response": None}
        rows += [row | new | {"ground_truth": ["(A)"], "performance": None} for row in rows[:5]]
    (finding,) = only(run(rows), "reference answers")
    assert finding["count"] == 1 and "another reference text" in finding["message"]


def test_truncated_by_what_the_server_said_and_by_a_common_length():
    rows = choice_log()
    for i, row in enumerate(rows):
        if row["llm"] == "cow" and i % 3 == 0:
            row["finish_reason"] = "length"
    (finding,) = only(run(rows), "truncated responses")
    assert finding["candidate"] == "cow" and finding["count"] == 160
    for row in rows:
        row["finish_reason"] = None
        if row["llm"] == "bee":
            row["response"] = (row["response"][:-6] * 3)[: min(100, 60 + 7 * int(row["source_id"]) % 80)]
    (finding,) = only(run(rows, regrade=0), "truncated responses")
    assert finding["candidate"] == "bee" and "characters" in finding["message"]


def test_scores_that_change_when_graded_again():
    rows = choice_log(n=30)
    for row in rows:
        if row["llm"] == "ant" and row["task"] == "arc":
            row["performance"] = 0.0
    found = only(run(rows, regrade=None), "re-grading")
    assert len(found) == 1 and found[0]["task"] == "arc" and found[0]["severity"] == "error"
    wrong = sum(r["extracted"] in r["ground_truth"][0] for r in rows if r["llm"] == "ant" and r["task"] == "arc")
    assert found[0]["count"] == found[0]["figures"]["up"] == wrong
    assert any(key.startswith("re-grading") for key in run(rows, regrade=0)["skipped"])


def test_answers_that_our_grader_could_not_read():
    rows = choice_log()
    for row in rows:
        if row["llm"] == "dog" and row["task"] == "obqa":
            row |= {"extracted": None, "performance": 0.0, "response": f"{row['response'][:30]} who knows"}
    (finding,) = only(run(rows), "unparsed answers")
    assert (finding["candidate"], finding["task"], finding["count"]) == ("dog", "obqa", 120)
    publishers = [row | {"grader": "publisher/x@1"} for row in rows]  # who did not say what they read
    assert "unparsed answers" not in kinds(run(publishers, regrade=0))


def test_logs_without_responses_golds_or_scores_are_audited_too(tmp_path):
    rows = without(choice_log(), "response", "extracted", "grader", "finish_reason")
    bare = [row | {"ground_truth": [], "metric": "publisher", "performance": None} for row in rows]
    result = run(bare)
    assert set(result["by_severity"]) == {"error", "warning", "info"} and result["skipped"]
    with pytest.raises(UserError, match="the log is empty"):
        run([])


def test_the_verb_prints_findings_and_strict_exits_with_1(tmp_path, capsys):
    rows = choice_log(n=60)
    for row in rows:
        if row["llm"] == "eel" and row["task"] == "mmlu":
            row |= {"performance": 0.0, "extracted": None}
    bench = write_bench({"train": rows_to_table(rows)}, tmp_path / "b")
    assert main(["audit", str(bench), "--json", str(tmp_path / "a.json"), "--regrade", "0"]) == 0
    out = capsys.readouterr().out
    assert "error   scores below chance: train: eel scores 0.000 on mmlu" in out and "query ids: " in out
    figures = json.loads((tmp_path / "a.json").read_text())
    assert figures["by_severity"]["error"] == 1 and figures == audit(bench, regrade=0).to_dict()
    assert main(["audit", str(bench), "--strict", "--regrade", "0"]) == 1


def test_near_duplicates_ignore_the_form_that_all_share_and_miss_none_above_the_threshold():
    rng = random.Random(0)
    texts = [
        " ".join(rng.choices(WORDS, k=40)) + " Choose the right option and end with its letter." for _ in range(300)
    ]
    assert near_duplicates(texts) == []
    copies = [text.replace("Choose", f"Now choose {i}", 1) for i, text in enumerate(texts[:50])]
    found = near_duplicates(texts + copies)
    assert {(i, j - 300) for i, j, _ in found} == {(i, i) for i in range(50)}
    assert near_duplicates(["", "a", "a"]) == [(1, 2, 1.0)]


def test_statistics_against_known_values():
    assert binomial_cdf(2, 5, 0.5) == pytest.approx(0.5)
    assert binomial_cdf(0, 100, 0.25) == pytest.approx(0.75**100)
    assert wilson(10, 100, 0.025) == pytest.approx((0.0552, 0.1744), abs=1e-4)
    rows, columns = np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 5.0])
    table = rows[:, None] + columns
    broken = table.copy()
    broken[0, 0] = -50
    assert np.allclose(median_polish(broken), table)
