"""Which answers an SFT dataset takes from a log."""

import math
import random
from itertools import pairwise

import pytest
from conftest import make_rows

from fusion_hf.distill import RULES, Choice, hold_out, preference_dataset, save, select_rows, sft_dataset
from fusion_hf.distill.dataset import reference_answer
from fusion_hf.errors import UserError
from fusion_hf.hub import kind_of
from fusion_hf.logs.schema import rows_to_table
from fusion_hf.logs.select import small_llms
from fusion_hf.tasks import THINK_SUFFIX, with_mode


def row(llm="ant", mode="direct", **values):
    """One right answer to one query; `values` override."""
    base = make_rows(1)[0]
    defaults = {"response": f"by {llm} {mode} #### 1", "performance": 1.0, "cost": 1.0, "judge": 0.5, "extracted": "1"}
    return base | defaults | {"llm": llm, "mode": mode} | values


def chosen(rows, select="perf", **options):
    """(llms of the chosen rows, best first; what was dropped), and the law of the counts."""
    table, counts = select_rows(rows_to_table(rows), Choice(select=select, **options))
    assert counts["read"] == len(rows)
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert counts["kept"] == table.num_rows
    return table["llm"].to_pylist(), counts["dropped"]


def random_rows(seed=0, queries=30):
    r = random.Random(seed)
    rows = []
    for q in range(queries):
        for llm in "abcdefgh":
            for mode in ("direct", "think"):
                rows.append(
                    row(
                        llm,
                        mode,
                        query_id=f"q{q}",
                        query=f"question {q}",
                        task="gsm8k" if q % 2 else "mmlu",
                        metric="gsm8k" if q % 2 else "em_mc",
                        response=r.choice(["", " ", "x", "yy", "zzz", None]),
                        finish_reason=r.choice(["stop", "stop", "length", None]),
                        error=r.choice([None, None, None, "timeout"]),
                        performance=r.choice([None, 0.0, 0.5, 1.0]),
                        judge=r.choice([None, 0.2, 0.8]),
                        cost=r.choice([None, 1.0, 2.0]),
                        extracted=r.choice("AB"),
                    )
                )
    return rows


def test_perf_ranks_by_performance_then_cost_then_length_then_name():
    rows = [
        row("half", performance=0.5, cost=0.0),
        row("dear", cost=2.0),
        row("unpriced", cost=None),
        row("long", cost=1.0, response="a longer answer that is right #### 1"),
        row("b", cost=1.0, response="same"),
        row("a", cost=1.0, response="sane"),
    ]
    assert chosen(rows, top_k=6)[0] == ["a", "b", "long", "dear", "unpriced", "half"]


def test_top_k_keeps_the_best_and_counts_the_rest():
    kept, dropped = chosen([row(llm, cost=c) for c, llm in enumerate("abcdefg")], top_k=2)
    assert kept == ["a", "b"]
    assert dropped == {"below_the_best": 5}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"performance": 0.0}, "wrong"),
        ({"performance": 0.49}, "wrong"),
        ({"performance": None}, "not_graded"),
        ({"response": None}, "empty"),
        ({"response": " \n\t"}, "empty"),
        ({"finish_reason": "length"}, "truncated"),
        ({"finish_reason": "MAX_TOKENS"}, "truncated"),
        ({"error": "timeout"}, "error"),
    ],
)
def test_bad_answers_are_out_under_every_rule(bad, reason):
    for rule in ("perf", "judge", "hybrid"):
        kept, dropped = chosen([row("good", cost=9.0), row("bad", cost=0.0, judge=1.0) | bad], rule)
        assert kept == ["good"]
        assert dropped == {reason: 1}


def test_threshold_is_inclusive_also_where_float32_cannot_hold_it():
    rows = [row("a", performance=0.7), row("b", performance=0.69)]
    assert chosen(rows, threshold=0.7)[0] == ["a"]


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_rows_and_a_second_run_change_nothing(rule):
    rows = random_rows()
    first, counts = select_rows(rows_to_table(rows), Choice(rule, top_k=3, min_agreement=2))
    assert first.num_rows > 0
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        again, same = select_rows(rows_to_table(shuffled), Choice(rule, top_k=3, min_agreement=2))
        columns = ["query_id", "rank", "rule", "query"] + (["llm", "mode", "response"] if rule != "baseline" else [])
        assert again.select(columns).equals(first.select(columns))
        assert same == counts


@pytest.mark.parametrize("rule", ["perf", "judge", "hybrid"])
def test_every_chosen_answer_is_good_unique_and_in_order(rule):
    table, counts = select_rows(rows_to_table(random_rows(1)), Choice(rule, top_k=4))
    rows = table.to_pylist()
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    texts = [(r["query_id"], r["mode"], r["response"].strip()) for r in rows]
    assert len(set(texts)) == len(texts)
    for r in rows:
        assert r["performance"] >= 0.5 and r["response"].strip() and r["finish_reason"] != "length" and not r["error"]
    for a, b in pairwise(rows):
        if a["query_id"] == b["query_id"]:
            assert b["rank"] == a["rank"] + 1
            score = "performance" if rule == "perf" else "judge"
            assert a[score] >= b[score]
        else:
            assert b["rank"] == 1


def test_copies_of_a_response_are_one_within_a_mode():
    rows = [row("dear", cost=2.0, response="same "), row("cheap", cost=1.0, response="same")]
    rows += [row("cheap", "think", response="same")]
    kept, dropped = chosen(rows)
    assert kept == ["cheap", "cheap"]
    assert dropped == {"duplicate": 1}


def test_judge_ranks_by_judge_and_hybrid_takes_the_judged_best_of_the_top_by_performance():
    rows = [row(llm, cost=c, judge=c / 10) for c, llm in enumerate("abcdefg")]
    assert chosen(rows, "judge", top_k=2)[0] == ["g", "f"]
    assert chosen(rows, "hybrid", top_k=5)[0] == ["e", "d", "c"]
    assert chosen(rows, "hybrid", top_k=2)[0] == ["b", "a"]


def test_rules_that_need_a_judge_say_so():
    rows = [row("a", judge=None)]
    for rule in ("judge", "hybrid"):
        with pytest.raises(UserError, match="needs judge scores, the log has none: run fusion-hf judge"):
            select_rows(rows_to_table(rows), Choice(rule))
    assert chosen([row("a", judge=None), row("b")], "judge") == (["b"], {"not_judged": 1})


def test_excluded_queries_go_by_id_and_by_text():
    rows = [row("a", query_id="1", query="one"), row("a", query_id="2", query="two"), row("a", query_id="3", query="x")]
    test = rows_to_table([row("b", query_id="1", query="uno"), row("b", query_id="9", query="two")])
    table, counts = select_rows(rows_to_table(rows), exclude=test)
    assert table["query_id"].to_pylist() == ["3"]
    assert counts["dropped"] == {"in_excluded_split": 2}


def test_min_agreement_drops_lucky_letters_only_where_guessing_works():
    choice = {"metric": "em_mc", "ground_truth": ["(A)"], "query_id": "mc"}
    rows = [row("a", extracted="A", **choice), row("b", extracted="B", performance=0.0, **choice)]
    assert chosen(rows)[0] == ["a"]
    kept, dropped = chosen([*rows, row("c")], min_agreement=2)
    assert kept == ["c"]  # an arithmetic answer needs no second witness
    assert dropped == {"wrong": 1, "too_little_agreement": 1}
    assert sorted(chosen([*rows, row("c", extracted="A", **choice)], min_agreement=2)[0]) == ["a", "c"]
    yes_no = {"metric": "cem", "ground_truth": ["True"]}
    assert chosen([row("a", extracted="True", **yes_no)], min_agreement=2)[0] == []


def test_the_think_suffix_is_in_the_prompt_exactly_when_the_answer_was_a_think_answer():
    data, counts = sft_dataset(rows_to_table([row("a", "direct"), row("a", "think", response="  steps #### 1\n")]))
    assert len(data) == counts["kept"] == 2
    for r in data:
        query = make_rows(1)[0]["query"]
        assert r["prompt"] == [{"role": "user", "content": with_mode(query, r["mode"])}]
        assert r["prompt"][0]["content"].endswith(THINK_SUFFIX) == (r["mode"] == "think")
        assert [m["role"] for m in r["completion"]] == ["assistant"]
    assert {r["completion"][0]["content"] for r in data} == {"by a direct #### 1", "steps #### 1"}
    assert counts["by_task"] == {"gsm8k": 2} and counts["by_teacher"] == {"a": 2}
    assert set(data.column_names) >= {"query_id", "task", "llm", "mode", "performance", "rule", "rank"}


def test_llms_and_the_small_llms():
    rows = rows_to_table([row("big"), row("tiny", cost=5.0)])
    sizes = {"big": "70B", "tiny": "1.03M"}
    assert small_llms({**sizes, "moe": "8x7B", "nemo": "12B"}) == ["nemo", "tiny"]
    assert small_llms({"a": "small", "b": "medium", "c": "large", "d": "3B"}) == ["a", "d"]
    data, counts = sft_dataset(rows, Choice(llms=small_llms(sizes)))
    assert set(data["llm"]) == {"tiny"} and counts["dropped"] == {"other_llm": 1}
    assert set(sft_dataset(rows, Choice(llms=["big"]))[0]["llm"]) == {"big"}
    with pytest.raises(UserError, match="none of the LLMs asked for is in the log: it has big, tiny"):
        sft_dataset(rows, Choice(llms=["other"]))


@pytest.mark.parametrize(
    ("metric", "gold", "query"),
    [
        ("gsm8k", "1,234", "How many?"),
        ("math", "\\frac{1}{2}", "What is it? Put the final answer alone in \\boxed{}."),
        ("em_mc", "(B)", "Which?\n(A) no\n(B) yes\nChoose the right option."),
        ("cem", "True", "Is it?\nAnswer the question from the passage with True or False."),
    ],
)
def test_a_gold_label_is_written_so_that_its_own_grader_accepts_it(metric, gold, query):
    from fusion_hf.tasks.graders import grade

    assert grade(metric, reference_answer(metric, [gold]), [gold], query).score == 1.0


def test_baseline_is_the_gold_label_once_a_query_and_never_code():
    rows = [row("a", "think", performance=0.0), row("b"), row("a", query_id="code", metric="code_eval")]
    data, counts = sft_dataset(rows_to_table(rows), Choice("baseline"))
    assert [r["completion"][0]["content"] for r in data] == ["#### 1"]
    assert data["llm"][:] == ["reference"] and data["mode"][:] == ["direct"]
    assert counts["dropped"] == {"code_has_no_gold_text": 1, "same_query": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select": "best"}, "select: expected one of perf, judge, hybrid, baseline, found 'best'"),
        ({"top_k": 0}, "top_k: expected a whole number from 1 on, found 0"),
        ({"threshold": 0.0}, "threshold: expected a performance above 0"),
        ({"min_agreement": 0}, "min_agreement: expected a whole number from 1 on, found 0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        select_rows(rows_to_table([row()]), Choice(**options))


def test_nothing_left_and_missing_columns_are_one_clear_line():
    with pytest.raises(UserError, match="no answer is left to learn from: read 1 rows, dropped: 1 wrong"):
        sft_dataset(rows_to_table([row(performance=0.0)]))
    with pytest.raises(UserError, match="the log has no column 'response'"):
        sft_dataset(rows_to_table([row()]).drop_columns("response"))
    with pytest.raises(UserError, match="the log is empty"):
        sft_dataset(rows_to_table([]))


def test_optional_columns_may_be_absent():
    table = rows_to_table([row("a", performance=1.0)]).select(
        ["query_id", "task", "query", "ground_truth", "metric", "llm", "mode", "response", "performance"]
    )
    assert sft_dataset(table)[1]["kept"] == 1


def test_a_saved_dataset_is_read_by_load_dataset_and_has_a_card(tmp_path):
    from datasets import load_dataset

    data, counts = sft_dataset(rows_to_table(random_rows(2)), Choice(top_k=2))
    for _ in range(2):  # writing again replaces
        out = save(data, counts, tmp_path / "sft")
    back = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert back.features == data.features
    assert back.to_list() == data.to_list()
    card = (out / "README.md").read_text()
    for name, count in [*counts["by_task"].items(), *counts["by_teacher"].items(), *counts["dropped"].items()]:
        assert f"| {name} | {count} |" in card
    assert math.isclose(sum(counts["by_task"].values()), len(data))


def test_a_right_answer_said_nearly_the_same_way_counts_once():
    words = "first we add the three apples to the four apples and then we take two of them away which leaves"
    rows = [
        row("a", cost=1.0, response=f"{words} #### 5"),
        row("b", cost=2.0, response=f"Well, {words} #### 5"),
        row("c", cost=3.0, response="three plus four minus two #### 5"),
        row("d", cost=4.0, response=f"{words}   #### 5"),
    ]
    assert chosen(rows) == (["a", "c"], {"near_duplicate": 2})
    assert chosen(rows, near=1.0) == (["a", "b", "c"], {"near_duplicate": 1})  # blanks never count
    rows += [row("e", "think", cost=0.5, response=f"{words} #### 5")]
    assert chosen(rows)[0] == ["e", "a", "c"]  # the two modes are two prompts


def test_ties_go_to_the_cheaper_or_to_the_shorter_by_choice():
    rows = [row("cheap", cost=1.0, response="a long way round to #### 1"), row("short", cost=2.0, response="#### 1")]
    assert chosen(rows, tie="cost")[0] == ["cheap", "short"]
    assert chosen(rows, tie="length")[0] == ["short", "cheap"]
    with pytest.raises(UserError, match="tie: expected one of cost, length, found 'name'"):
        chosen(rows, tie="name")


def test_code_is_learned_only_if_it_passed_every_test():
    code = {"metric": "code_eval", "ground_truth": ['{"tests": ["assert f(1) == 1"]}'], "query_id": "c"}
    rows = [
        row("a", performance=0.9, response="def f(x): return 1", **code),
        row("b", response="def f(x): return x", **code),
    ]
    table, counts = select_rows(rows_to_table(rows))
    assert table["llm"].to_pylist() == ["b"] and counts["dropped"] == {"wrong": 1}
    assert "assert" not in table["response"][0].as_py()


def test_queries_nearly_in_the_test_split_are_out_and_counted():
    asked = "Ana has 12 apples and buys 30 more at the market. How many apples does Ana have now in her big basket?"
    rows = [row("a", query_id="1", query=asked), row("a", query_id="2", query="What is the capital of the moon?")]
    test = rows_to_table([row("b", query_id="9", query=f"{asked.upper()} Please.")])
    table, counts = select_rows(rows_to_table(rows), exclude=test)
    assert table["query_id"].to_pylist() == ["2"]
    assert counts["dropped"] == {"nearly_in_excluded_split": 1}
    assert select_rows(rows_to_table(rows), Choice(near=1.0), test)[1]["kept"] == 2


def many(tasks):
    return [
        row(llm, task=task, query_id=f"{task} {q}", cost=c, response=f"{llm} on {task} number {q}")
        for task, n in tasks.items()
        for q in range(n)
        for c, llm in enumerate("ab")
    ]


def by_task(rows, **options):
    table, counts = select_rows(rows_to_table(rows), Choice(**options))
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    tasks = table["task"].to_pylist()
    return {task: tasks.count(task) for task in sorted(set(tasks))}, table


def test_caps_and_weights_keep_a_task_from_swamping_the_others():
    rows = many({"gsm8k": 20, "math": 5, "squad": 10, "boolq": 10})
    assert by_task(rows)[0] == {"boolq": 20, "gsm8k": 40, "math": 10, "squad": 20}
    counts, table = by_task(rows, task_cap=12)
    assert counts == {"boolq": 12, "gsm8k": 12, "math": 10, "squad": 12}
    kept = [r for r in table.to_pylist() if r["task"] == "gsm8k"]
    assert {r["rank"] for r in kept} == {1}  # twelve queries rather than six twice
    assert by_task(rows, max_rows=40)[0] == dict.fromkeys(["boolq", "gsm8k", "math", "squad"], 10)
    assert by_task(rows, max_rows=50)[0] == {
        "boolq": 14,
        "gsm8k": 13,
        "math": 10,
        "squad": 13,
    }  # math gives up its rest
    # A domain shares its weight: Reading is squad and boolq.
    assert by_task(rows, max_rows=40, weights={"Reading": 1, "math": 0})[0] == {"boolq": 10, "gsm8k": 20, "squad": 10}
    with pytest.raises(UserError, match="weight of 'maths': expected a task or domain of the log, which has Math"):
        by_task(rows, max_rows=9, weights={"maths": 1})
    with pytest.raises(UserError, match="give max_rows too"):
        by_task(rows, weights={"math": 2})
    with pytest.raises(UserError, match="task_cap: expected a whole number from 1 on, found 0"):
        by_task(rows, task_cap=0)


def test_judge_alone_decides_where_no_answer_was_graded():
    rows = [row("a", performance=None, judge=0.9), row("b", performance=None, judge=0.2)]
    assert chosen(rows, "judge") == (["a"], {"wrong": 1})
    assert chosen(rows, "perf") == ([], {"not_graded": 2})


def test_preference_pairs_are_the_best_against_the_worst_answer_to_one_prompt():
    rows = [
        row("dear", cost=2.0), row("cheap", cost=1.0), row("wrong", performance=0.0, judge=0.9),
        row("cut", performance=0.0, finish_reason="length"), row("half", performance=0.4),
        row("dear", "think", judge=0.1), row("cheap", "think", judge=0.7),
        row("alone", query_id="q2"), row("wrong", query_id="q3", performance=0.0),
    ]  # fmt: skip
    data, counts = preference_dataset(rows_to_table(rows))
    assert [(r["mode"], r["chosen_llm"], r["rejected_llm"]) for r in data] == [("direct", "cheap", "wrong")]
    assert data[0]["chosen"][0]["content"] == "by cheap direct #### 1"
    assert data[0]["rejected"] == [{"role": "assistant", "content": "by wrong direct #### 1"}]
    assert data[0]["prompt"] == [{"role": "user", "content": make_rows(1)[0]["query"]}]
    assert {k: counts[k] for k in ("read", "kept", "dropped")} == {
        "read": 4, "kept": 1, "dropped": {"no_right_answer": 1, "no_worse_answer": 2},
    }  # fmt: skip
    by_judge = preference_dataset(rows_to_table(rows), Choice("judge"))[0]
    pairs = {(r["mode"], r["chosen_llm"], r["rejected_llm"]) for r in by_judge}
    assert pairs == {("think", "cheap", "dear")}  # nobody's right answer is judged above the others in direct mode
    with pytest.raises(UserError, match="format: preference compares answers of LLMs"):
        preference_dataset(rows_to_table(rows), Choice("baseline"))
    with pytest.raises(UserError, match="no pair is left: read 1 prompts, dropped: 1 no_worse_answer"):
        preference_dataset(rows_to_table([row()]))


def test_held_out_queries_are_in_no_other_split():
    data, _ = sft_dataset(rows_to_table(many({"gsm8k": 60})))
    train, held = hold_out(data, 0.2)
    assert not set(train["query_id"]) & set(held["query_id"]) and len(train) + len(held) == len(data)
    assert 4 <= len(set(held["query_id"])) <= 22
    assert hold_out(data, 0.0) == (data, None)


def test_the_command_excludes_other_splits_counts_tokens_and_writes_both_forms(tmp_path, capsys):
    import json

    from datasets import load_dataset

    from fusion_hf.cli import main
    from fusion_hf.logs.log import write_bench
    from fusion_hf.logs.sample import reader_path

    train = many({"gsm8k": 8, "squad": 8})
    train += [row("c", task="gsm8k", query_id="leak", query="asked in both splits")]
    test = [row("a", task="gsm8k", query_id="t", query="asked in both splits")]
    llms = [{"name": n, "size": s} for n, s in (("a", "small"), ("b", "large"), ("c", "large"))]
    bench = write_bench({"train": rows_to_table(train), "test": rows_to_table(test)}, tmp_path / "bench", llms)
    common = ["sft-data", str(bench), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "j.json")]
    assert main([*common, "--small", "--holdout", "0.3", "--tokenizer", str(reader_path())]) == 0
    counts = json.loads((tmp_path / "j.json").read_text())
    assert counts["dropped"] == {"in_excluded_split": 1, "other_llm": 16} and counts["by_teacher"] == {"a": 16}
    data = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert len(data["validation"]) == counts["validation"] > 0 and data["train"].num_rows + counts["validation"] == 16
    assert all(n > 0 for n in data["train"]["tokens"])
    assert kind_of(tmp_path / "out") == ("dataset", "dataset")  # what `fusion-hf push` and --push make of it
    tokens = sum(
        t for part in data.values() for t, task in zip(part["tokens"], part["task"], strict=True) if task == "squad"
    )
    assert f"| squad | 8 | 0 | {tokens} |" in (tmp_path / "out" / "README.md").read_text()
    worse = [row("b", task="gsm8k", query_id=f"gsm8k {q}", performance=0.0, mode="think") for q in range(8)]
    right = [row("a", task="gsm8k", query_id=f"gsm8k {q}", mode="think") for q in range(8)]
    bench = write_bench({"train": rows_to_table(worse + right)}, tmp_path / "pairs")
    assert main(["sft-data", str(bench), "--format", "preference", "--out", str(tmp_path / "dpo")]) == 0
    pairs = load_dataset(str(tmp_path / "dpo"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(pairs) == 8 and {"prompt", "chosen", "rejected"} <= set(pairs.column_names)
    assert main([*common, "--small", "--pool", str(tmp_path / "none.yaml")]) == 2
    with pytest.raises(SystemExit, match="2"):
        main([*common, "--weights", "gsm8k"])
    assert "--weights: expected NAME=VALUE, found 'gsm8k'" in capsys.readouterr().err


def test_a_student_learns_the_answer_not_the_reasoning():
    rows = [
        row("a", response="<think>Is it 5?</think>\nSo it is 7."),
        row("b", response="[THINK]Is it 5?", query_id="q2", query="another"),
        row("c", response="<|channel|>analysis<|message|>5?<|end|><|start|>assistant<|channel|>final<|message|>So 8.",
            query_id="q3", query="a third"),
    ]  # fmt: skip
    dataset, counts = sft_dataset(rows_to_table(rows), Choice(top_k=5))
    assert [c[0]["content"] for c in dataset["completion"]] == ["So it is 7.", "So 8."]
    assert counts["dropped"] == {"empty": 1}
