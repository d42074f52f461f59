"""`split`: queries and what is nearly like them stand on one side, whatever order the rows have."""

import pyarrow as pa
import pytest
from conftest import make_rows

from fusion_hf import Log, UserError, split
from fusion_hf.cli import main
from fusion_hf.logs.schema import query_id, rows_to_table, validate

WORDS = ["red", "blue", "green", "gold", "grey", "pink", "teal", "lime", "navy", "plum", "rust", "sand"]


def log_of(n=40, **more) -> pa.Table:
    """n queries; each fifth is the one before it in other words, and one text stands in two tasks."""
    rows = []
    for i in range(n):
        k = i - 1 if i % 5 == 4 else i
        text = (
            f"Tell me which of the {k} houses in the {WORDS[k % 12]} street of town number {k * 7919 % 1000} is tallest"
        )
        text += ", please" if i % 5 == 4 else ""
        task = "squad" if i % 2 else "gsm8k"
        for row in make_rows(1):
            rows.append(
                row | {"query": text, "task": task, "source_id": str(i), "query_id": query_id(task, str(i), text)}
            )
            rows[-1] |= {name: value(i) for name, value in more.items()}
    return validate(rows_to_table(rows))


def sides(folder) -> dict[str, str]:
    return {q: s for s, table in Log(folder).parts().items() for q in table["query"].to_pylist()}


def test_by_share_keeps_what_is_alike_together(tmp_path):
    result = split(log_of(), tmp_path / "bench", test=0.25)
    found = sides(tmp_path / "bench")
    for text, side in found.items():
        assert found[text.removesuffix(", please")] == side
    assert result.near_duplicates == 16 and result.groups == 32
    assert {task: sum(row.values()) for task, row in result.by_task.items()} == {"gsm8k": 20, "squad": 20}
    assert all(3 <= row["test"] <= 5 for row in result.by_task.values())
    assert result.to_pandas().shape == (2, 3)
    upside_down = log_of().take(pa.array(range(119, -1, -1)))
    split(upside_down, tmp_path / "again", test=0.25)
    assert sides(tmp_path / "again") == found
    split(log_of(), tmp_path / "other", test=0.25, seed=1)
    assert sides(tmp_path / "other") != found


def test_by_date_asks_when_a_query_was_first_asked(tmp_path):
    table = log_of(served_at=lambda i: f"2026-0{1 + i // 20}-{1 + i % 20:02d}T10:00:00.000+00:00")
    split(table, tmp_path / "bench", after="2026-01-15")
    test = Log(tmp_path / "bench").table("test")
    assert min(test["served_at"].to_pylist()) >= "2026-01-15"
    # Query 14 was asked on the 15th, but what it repeats, query 13, on the 14th.
    assert "14" not in test["source_id"].to_pylist() and "15" in test["source_id"].to_pylist()


def test_what_cannot_be_split_is_one_line(tmp_path, capsys):
    with pytest.raises(UserError, match="either test"):
        split(log_of(), tmp_path / "b")
    with pytest.raises(UserError, match="expected a share"):
        split(log_of(), tmp_path / "b", test=1.5)
    with pytest.raises(UserError, match="do not say when they were served"):
        split(log_of(), tmp_path / "b", after="2026-01-01")
    with pytest.raises(UserError, match="expected a date such as"):
        split(log_of(served_at=lambda i: "2026-01-01"), tmp_path / "b", after="yesterday")
    with pytest.raises(UserError, match="no query would be left for test"):
        split(log_of(1), tmp_path / "b", test=0.5)
    assert not (tmp_path / "b").exists()
    Log(log_of()).write(tmp_path / "a.parquet")
    argv = ["split", str(tmp_path / "a.parquet"), "--out", str(tmp_path / "b"), "--test", "0.3"]
    assert main(argv) == 0
    assert main(argv) == 2 and "holds a log" in capsys.readouterr().err
