import pyarrow as pa
import pytest

from fusion_hf.logs.schema import (
    LOG_SCHEMA,
    SchemaError,
    candidate_id,
    key_codes,
    log_features,
    query_id,
    rows_to_table,
    split_candidate,
    validate,
)


def check(rows):
    return validate(rows_to_table(rows), where="log.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, r"row 3: unknown column 'colour'; expected columns are query_id"),
        ({"performance": 1.5}, r"log.jsonl: row 3, column 'performance': expected a score in 0..1 or null, found 1.5"),
        ({"performance": -0.1}, r"row 3, column 'performance'"),
        ({"performance": float("nan")}, r"row 3, column 'performance': .*found nan"),
        ({"judge": 2.0}, r"row 3, column 'judge'"),
        ({"performance": "right"}, r"row 3, column 'performance': expected float, found str 'right'"),
        ({"cost": -1.0}, r"row 3, column 'cost': expected a number of at least 0 or null"),
        ({"cost": float("inf")}, r"row 3, column 'cost'"),
        ({"input_tokens": -5}, r"row 3, column 'input_tokens'"),
        ({"mode": "loud"}, r"row 3, column 'mode': expected one of direct, think, thought, fewshot, found loud"),
        ({"query": None}, r"row 3, column 'query': expected large_string, found null"),
        ({"ground_truth": "5"}, r"row 3, column 'ground_truth': expected list<.*>, found str '5'"),
    ],
)
def test_a_bad_row_is_named_with_its_column(log_rows, change, message):
    log_rows[3] |= change
    with pytest.raises(SchemaError, match=message):
        check(log_rows)


def test_a_duplicate_key_names_both_rows(log_rows):
    log_rows[7] |= {k: log_rows[2][k] for k in ("query_id", "llm", "mode")}
    with pytest.raises(SchemaError, match=r"row 7, column 'query_id': duplicate key .*same key stands in row 2"):
        check(log_rows)


def test_the_same_query_in_another_mode_is_another_row(log_rows):
    log_rows[1] |= {k: log_rows[0][k] for k in ("query_id", "llm")} | {"mode": "think"}
    assert len(set(key_codes(check(log_rows)))) == len(log_rows)


def test_valid_rows_come_back_in_schema_order_with_nulls_for_what_was_not_measured(log_rows):
    table = check(log_rows)
    assert table.schema == LOG_SCHEMA
    assert table["judge"].null_count == len(log_rows)
    assert table["performance"].to_pylist() == [row["performance"] for row in log_rows]


def test_a_missing_required_column_and_a_foreign_type_are_refused(log_table):
    with pytest.raises(SchemaError, match="column 'llm' is missing"):
        validate(log_table.drop_columns(["llm"]))
    strings = log_table.set_column(
        log_table.column_names.index("performance"), "performance", pa.array(["1"] * log_table.num_rows)
    )
    with pytest.raises(SchemaError, match="row 0, column 'performance': expected float, found string"):
        validate(strings)


def test_wider_numbers_and_plain_strings_are_cast(log_table):
    wide = log_table.set_column(
        log_table.column_names.index("performance"), "performance", log_table["performance"].cast(pa.float64())
    )
    wide = wide.set_column(wide.column_names.index("query"), "query", wide["query"].cast(pa.string()))
    assert validate(wide).equals(log_table)


def test_ids():
    assert query_id("a", "1", "q") == query_id("a", "1", "q") != query_id("a", "1q", "")
    for pair in (("llama", "direct"), ("llama", "think"), ("llama", "thought")):
        assert split_candidate(candidate_id(*pair)) == pair


def test_features_follow_the_arrow_schema():
    schema = log_features().arrow_schema
    assert schema.names == LOG_SCHEMA.names
    assert [f.type for f in schema if f.name != "ground_truth"] == [
        f.type for f in LOG_SCHEMA if f.name != "ground_truth"
    ]
