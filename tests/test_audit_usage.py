"""Token counts, costs, latencies and models that cannot be real are found, one fault at a time in a clean log."""

import random

import pytest
from loopback_llm import Act, LoopbackLLM
from test_collect import examples, pool_at, run

from fusion_hf.cli import main
from fusion_hf.logs.audit import audit_tables
from fusion_hf.logs.log import Log, write_bench
from fusion_hf.logs.schema import rows_to_table

LLMS = [
    {"name": name, "input_price": 1.0, "output_price": 3.0, "cached_input_price": None, "reasoning_price": None,
     "model": model}
    for name, model in (("a", "org/a-4"), ("b", None))
]  # fmt: skip
KINDS = ("token counts", "costs", "latencies", "served models")


def clean_log(n=60, seed=0):
    """Queries of 5 to 180 words, two LLMs, counts of a tokenizer that makes about a token of four letters."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        query = f"{i} " + " ".join(rng.choices(["river", "a", "stone", "mountain", "is"], k=rng.randint(5, 180)))
        for llm in ("a", "b"):
            response = f"{i} {llm} " + " ".join(rng.choices(["because", "so", "the", "answer"], k=rng.randint(1, 200)))
            sent, got = round(len(query) / rng.uniform(3.5, 5)) + 9, round(len(response) / rng.uniform(3.5, 5)) + 1
            rows.append({
                "query_id": f"q{i}", "task": "t", "source_id": str(i), "query": query, "ground_truth": ["x"],
                "metric": "cem", "llm": llm, "mode": "direct", "response": response, "finish_reason": "stop",
                "input_tokens": sent, "output_tokens": got, "cost": (sent * 1 + got * 3) / 1e6,
                "latency_s": rng.uniform(0.1, 3), "performance": 1.0,
            })  # fmt: skip
    return rows


def found(rows, llms=LLMS):
    """(kind, severity, candidate, count) of what the audit says of usage."""
    result = audit_tables({"train": rows_to_table(rows)}, regrade=0, llms=llms)
    return [(f["kind"], f["severity"], f["candidate"], f["count"]) for f in result["findings"] if f["kind"] in KINDS]


def changed(every=1, llm="a", **columns):
    """A clean log with other values in every n-th row of an LLM; a function is given the row."""
    rows = clean_log()
    for row in [row for row in rows if row["llm"] == llm][::every]:
        row |= {name: value(row) if callable(value) else value for name, value in columns.items()}
    return rows


def test_a_constant_is_told_from_a_few_rows():
    rows = [row | {"input_tokens": 40, "cost": None} for row in clean_log(12) if row["llm"] == "a"]
    assert ("token counts", "error", "a", 12) in found(rows)
    short = [row | {"response": "x" * (i % 12 + 3), "output_tokens": 4, "cost": None} for i, row in enumerate(rows)]
    short = [row | {"input_tokens": None} for row in short]
    assert found(short) == []  # so few letters may well be four tokens each


def priced(row, times=1.0):
    return times * (row["input_tokens"] + 3 * row["output_tokens"]) / 1e6


def test_a_clean_log_is_clean():
    for seed in range(5):
        assert found(clean_log(seed=seed)) == []


FAULTS = [
    ({"input_tokens": 40}, "error", 60),  # as in RouteWorks/RouterArena PR #191
    ({"output_tokens": 1024}, "error", 60),
    ({"input_tokens": lambda row: 40 if int(row["source_id"]) % 4 else row["input_tokens"]}, "error", 45),
    ({"output_tokens": lambda row: 64 if int(row["source_id"]) % 2 else row["output_tokens"]}, "error", 30),
    ({"input_tokens": 1}, "error", 60),
    ({"input_tokens": 0}, "error", 60),
    ({"output_tokens": 0}, "error", 60),
    ({"every": 7, "input_tokens": 0}, "error", 9),
    ({"every": 60, "output_tokens": 0}, "error", 1),
    ({"input_tokens": lambda row: -row["input_tokens"]}, "error", 60),
    ({"every": 7, "output_tokens": -1}, "error", 9),
    ({"input_tokens": lambda row: row["input_tokens"] * 10}, "warning", None),
    ({"output_tokens": lambda row: row["output_tokens"] // 10 + 1}, "warning", None),
    ({"input_tokens": lambda row: row["input_tokens"] // 10 + 1}, "warning", None),
    ({"input_tokens": lambda row: len(row["query"]) * 4}, "warning", None),
    ({"output_tokens": lambda row: row["output_tokens"] * 10 + 500, "reasoning_tokens": 0}, "warning", None),
    ({"output_tokens": lambda row: 1 + len(row["response"]) % 3}, "warning", None),
    ({"every": 5, "input_tokens": lambda row: row["input_tokens"] * 100}, "warning", 12),
]


@pytest.mark.parametrize(("columns", "severity", "count"), FAULTS)
def test_counts_that_cannot_be_real(columns, severity, count):
    rows = changed(**(columns | {"cost": None}))
    (finding, *more) = found(rows)
    assert (
        finding[:3] == ("token counts", severity, "a")
        and finding[3] == (count or finding[3])
        and finding[3] >= (count or 5)
    )
    assert all(kind == "token counts" and candidate == "a" for kind, _, candidate, _ in more)
    assert not [f for f in found(changed(llm="b", cost=None)) if f[0] == "token counts"]


HONEST = [
    {"output_tokens": lambda row: row["output_tokens"] * 50},  # hidden reasoning
    {"output_tokens": lambda row: row["output_tokens"] + 900, "reasoning_tokens": 900},
    {"reasoning": lambda row: "hm " * 3000, "output_tokens": lambda row: row["output_tokens"] + 3000},
    {"output_tokens": 64, "finish_reason": "length"},  # cut at one limit
    {"mode": "thought", "input_tokens": lambda row: row["input_tokens"] + 4000},  # templates before the query
    {"input_tokens": lambda row: row["input_tokens"] + 90},  # a system message
    {"response": None, "output_tokens": 0},
    {"response": "", "output_tokens": 0},
    {"input_tokens": None, "output_tokens": None},
    {"query": lambda row: "東京は日本の首都です。" * 20, "input_tokens": 160},
]


@pytest.mark.parametrize("columns", HONEST)
def test_counts_that_can_be_real(columns):
    rows = [row for row in changed(**columns, cost=None) if row["llm"] == "a" or "query" not in columns]
    assert [f for f in found(rows) if f[0] == "token counts"] == []


@pytest.mark.parametrize(
    "columns",
    [
        {"cost": lambda row: priced(row, 1000)},
        {"cost": lambda row: priced(row, 0.001)},
        {"cost": 0.0},
        {"cost": lambda row: priced(row, 1.1)},
        {"cost": lambda row: row["output_tokens"] * 3 / 1e6},
        {"every": 5, "cost": 0.5},
    ],
)
def test_costs_that_do_not_fit_the_prices(columns):
    ((kind, severity, llm, count),) = found(changed(**columns))
    assert (kind, severity, llm) == ("costs", "warning", "a") and count == (12 if "every" in columns else 60)
    free = [LLMS[0] | {"input_price": 0, "output_price": 0}, LLMS[1]]
    assert ("costs", "warning", "a", 60) in found(clean_log(), free)


def test_costs_know_of_cached_input_reasoning_and_what_the_provider_says():
    dear = [LLMS[0] | {"cached_input_price": 0.1, "reasoning_price": 9.0}, LLMS[1]]
    cost = lambda row: (4 + (row["input_tokens"] - 4) * 0.1 + row["output_tokens"] * 9) / 1e6  # noqa: E731
    rows = changed(
        cached_tokens=lambda row: row["input_tokens"] - 4, reasoning_tokens=lambda row: row["output_tokens"], cost=cost
    )
    assert found(rows, dear) == [] and found(rows)[0][0] == "costs"
    assert found(changed(reported_cost=priced)) == []
    assert found(changed(reported_cost=lambda row: priced(row, 2))) == [("costs", "warning", "a", 60)]
    assert found(clean_log(), []) == []  # no prices, nothing to say


@pytest.mark.parametrize(("every", "value", "count"), [(1, 0.0, 60), (20, 0.0, 3), (60, 0.0, 1), (20, -1.0, 3)])
def test_an_answer_takes_time(every, value, count):
    assert found(changed(every, latency_s=value)) == [("latencies", "warning", "a", count)]
    assert found(changed(every, latency_s=None)) == []


@pytest.mark.parametrize(
    ("served", "severity"),
    [
        ("org/a-4", None), ("a-4", None), ("A_4", None), ("other/a-4", None), ("a-4-2026-08-06", None),
        ("a-4:free", None),
        ("org/b-7", "warning"), ("a-4o", "warning"), ("a-4-mini", "warning"), ("a-4-8b", "warning"),
        ("a-40", "warning"),
        ("a", None), ("z", "warning"),
    ],
)  # fmt: skip
def test_another_model_than_was_asked_is_told(served, severity):
    rows = changed(served_model=served)
    assert found(rows) == ([] if severity is None else [("served models", severity, "a", 60)])
    rows = changed(every=3, served_model=served)
    assert found(rows) == ([] if severity is None else [("served models", severity, "a", 20)])


def test_versions_that_change_are_told_too():
    rows = changed(served_model="a-4-2026-01-01")
    for row in rows[:30]:
        row["served_model"] = "a-4-2026-08-06" if row["llm"] == "a" else None
    assert found(rows) == [("served models", "info", "a", 60)]


def test_a_redirect_goes_from_the_server_into_the_log_and_out_of_the_audit(tmp_path, capsys):
    def behave(prompt, times):
        reply = '{"model": "cheap-1", "choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}'
        return Act(body=reply) if "5" in prompt else Act()

    with LoopbackLLM(behave) as server:
        run(pool_at(server.url), 60, tmp_path / "logs")
    assert set(Log(tmp_path / "logs").table()["served_model"].to_pylist()) == {"cheap-1", "m0"}
    assert main(["audit", str(tmp_path / "logs")]) == 0
    assert "answers of m0 come from another model than m0: cheap-1" in capsys.readouterr().out


def test_the_command_finds_them_in_a_bench(tmp_path, capsys):
    rows = changed(input_tokens=40, cost=lambda row: priced(row, 9))
    write_bench({"train": rows_to_table(rows)}, tmp_path / "bench", llms=[{**row, "size": "small"} for row in LLMS])
    assert main(["audit", str(tmp_path / "bench"), "--strict"]) == 1
    out = capsys.readouterr().out
    assert "input_tokens of a is 40 in all 60 rows" in out and "the cost of a is not its tokens times its prices" in out
    assert examples(1)
