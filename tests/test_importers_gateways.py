"""Importers for what gateways keep: pairs of request and response, LiteLLM spend logs, Langfuse exports."""

import csv
import json

import pytest

from fusion_hf.errors import UserError
from fusion_hf.logs.importers import read

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]}]


def completion(text="4", **more):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "model": "small-2026", "choices": [choice]} | more


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def only(result):
    [row] = result.table.to_pylist()
    return row


def test_a_pair_of_request_and_response(tmp_path):
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}
    pair = {
        "request": {"model": "small", "messages": CHAT},
        "response": completion(usage=usage),
        "latency_s": "0.25",
        "metadata": {"user_feedback": True, "task": "sums"},
    }
    row = only(read("openai-log", lines(tmp_path / "log.jsonl", [pair])))
    assert row["query"] == "Be brief.\n\n2 + 2?" and row["response"] == "4" and row["finish_reason"] == "stop"
    assert (row["llm"], row["served_model"], row["task"]) == ("small", "small-2026", "sums")
    assert (row["input_tokens"], row["output_tokens"], row["reasoning_tokens"]) == (9, 5, 3)
    assert row["performance"] == 1.0 and row["latency_s"] == 0.25 and row["usage_source"] == "server"


def test_results_of_the_batch_api_and_of_the_responses_api(tmp_path):
    output = [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "four"}]},
    ]
    rows = [
        {"custom_id": "a", "request": {"body": {"model": "m", "messages": CHAT}}, "response": {"body": completion()}},
        {"input": CHAT, "model": "n", "response": {"output": output, "usage": {"input_tokens": 3, "output_tokens": 2}}},
    ]
    table = read("openai-log", lines(tmp_path / "log.jsonl", rows)).table.to_pylist()
    assert [(r["llm"], r["response"], r["output_tokens"]) for r in table] == [("m", "4", None), ("n", "four", 2)]
    assert table[0]["query_id"] == table[1]["query_id"]  # the same text is the same query


@pytest.mark.parametrize(
    "reply",
    [{"error": {"message": "overloaded"}}, {"choices": [{"error": {"message": "overloaded"}, "message": {}}]}],
)
def test_failures_are_errors(tmp_path, reply):
    row = only(read("openai-log", lines(tmp_path / "x.jsonl", [{"model": "m", "messages": CHAT, "response": reply}])))
    assert row["error"] == "overloaded" and row["response"] is None and row["performance"] is None


def test_what_cannot_be_a_row_is_dropped_and_counted(tmp_path):
    rows = [
        {"model": "m", "messages": [], "response": completion()},
        {"messages": CHAT, "response": None, "model": "m"},
    ]
    result = read("openai-log", lines(tmp_path / "x.jsonl", [*rows, {"model": "m", "messages": CHAT, "response": "4"}]))
    assert result.read == 3 and result.kept == 1
    assert result.dropped == {"no query": 1, "neither a response, an error nor a score": 1}


SPEND = {
    "request_id": "r1", "call_type": "acompletion", "api_key": "hash", "spend": 0.002, "total_tokens": 14,
    "prompt_tokens": 9, "completion_tokens": 5, "startTime": "2026-11-01T10:00:00Z",
    "endTime": "2026-11-01T10:00:01.500000Z", "model": "openai/gpt-x", "model_group": "gpt-x", "status": "success",
    "messages": CHAT, "response": completion(), "metadata": {"user_feedback": 0.5}, "cache_hit": "False",
}  # fmt: skip


def test_litellm_spend_logs(tmp_path):
    rows = [
        SPEND,
        SPEND | {"call_type": "aembedding"},
        SPEND | {"messages": {}, "response": {}},
        SPEND | {"model_group": "gpt-y", "status": "failure", "response": {},
                 "metadata": {"error_information": {"error_message": "timeout"}}},
    ]  # fmt: skip
    result = read("litellm", lines(tmp_path / "spend.jsonl", rows))
    good, failed = result.table.to_pylist()
    assert (good["llm"], good["served_model"], good["cost"], good["latency_s"]) == ("gpt-x", "openai/gpt-x", 0.002, 1.5)
    assert (good["input_tokens"], good["output_tokens"], good["performance"]) == (9, 5, 0.5)
    assert failed["error"] == "timeout" and failed["response"] is None
    assert result.dropped == {"no chat": 1, "no query": 1}


def test_a_database_dump_as_csv_holds_json_in_its_cells(tmp_path):
    path = tmp_path / "spend.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(SPEND))
        writer.writeheader()
        writer.writerow({k: json.dumps(v) if isinstance(v, (dict, list)) else v for k, v in SPEND.items()})
    row = only(read("litellm", path))
    assert row["query"] == "Be brief.\n\n2 + 2?" and row["response"] == "4" and row["cost"] == 0.002


GENERATION = {
    "id": "o1", "traceId": "t1", "type": "GENERATION", "startTime": "2026-11-01T10:00:00.000Z",
    "endTime": "2026-11-01T10:00:02.000Z", "model": "small", "input": {"messages": CHAT},
    "output": {"role": "assistant", "content": "4"}, "usageDetails": {"input": 9, "output": 5, "total": 14},
    "costDetails": {"total": 0.003}, "level": "DEFAULT",
}  # fmt: skip


def test_langfuse_observations_as_the_api_gives_them(tmp_path):
    path = tmp_path / "observations.json"
    path.write_text(json.dumps({"data": [GENERATION, GENERATION | {"type": "SPAN"}], "meta": {"page": 1}}))
    result = read("langfuse", path)
    row = only(result)
    assert (row["llm"], row["cost"], row["latency_s"]) == ("small", 0.003, 2.0)
    assert (row["input_tokens"], row["output_tokens"], row["response"]) == (9, 5, "4")
    assert result.dropped == {"no generation": 1}


def test_langfuse_scores_are_joined_by_observation_else_by_trace(tmp_path):
    def blob(number, **more):
        return {
            "id": f"o{number}", "trace_id": f"t{number}", "type": "GENERATION", "provided_model_name": "small",
            "input": json.dumps([{"role": "user", "content": f"question {number}"}]), "output": "yes",
        } | more  # fmt: skip

    (tmp_path / "observations_v2").mkdir()
    (tmp_path / "scores").mkdir()
    lines(tmp_path / "observations_v2" / "1.jsonl", [blob(1), blob(2), blob(3), blob(4, id="o4b"), blob(4)])
    scores = [
        {"id": "s1", "trace_id": "t1", "observation_id": "o1", "name": "right", "value": 1, "data_type": "BOOLEAN"},
        {"id": "s2", "trace_id": "t1", "observation_id": "o1", "name": "useful", "value": 0.5, "data_type": "NUMERIC"},
        {"id": "s3", "trace_id": "t2", "name": "right", "value": 0, "data_type": "BOOLEAN"},
        {"id": "s4", "trace_id": "t4", "name": "right", "value": 1, "data_type": "BOOLEAN"},
        {"id": "s5", "trace_id": "t3", "name": "tone", "value": "friendly", "data_type": "CATEGORICAL"},
    ]
    lines(tmp_path / "scores" / "1.jsonl", scores)
    table = read("langfuse", tmp_path).table.to_pylist()
    # The trace t4 has two answers, so that its score is of neither.
    assert [r["performance"] for r in table] == [0.75, 0.0, None, None]


def test_a_score_on_another_scale_is_named(tmp_path):
    (tmp_path / "scores.jsonl").write_text(json.dumps({"id": "s", "traceId": "t1", "name": "stars", "value": 4}) + "\n")
    lines(tmp_path / "observations.jsonl", [GENERATION])
    with pytest.raises(UserError, match=r"scores.jsonl, line 1, 'value': expected a score in 0..1, found 4"):
        read("langfuse", tmp_path)


ODD = [
    {"model": 7, "messages": CHAT, "response": completion()},
    {"model": "m", "messages": "text\ud800", "response": completion("\ud800x")},
    {"model": "m", "messages": CHAT, "response": completion(usage={"prompt_tokens": 1e40, "completion_tokens": -3})},
    {"model": "m", "messages": CHAT, "response": {"choices": "none"}},
    {"model": "m", "messages": CHAT, "response": {"choices": [{"message": {"content": None, "tool_calls": [{}]}}]}},
    {"model": "m", "messages": {"a": 1}, "response": 3},
]


@pytest.mark.parametrize("record", ODD)
def test_odd_records_give_a_row_or_a_reason_and_never_a_crash(tmp_path, record):
    good = {"model": "m", "messages": "another question", "response": "yes"}
    result = read("openai-log", lines(tmp_path / "x.jsonl", [record, good]))
    assert result.read == result.kept + sum(result.dropped.values()) == 2


GATEWAYS = {
    "openai-log": {"request": {"model": "m", "messages": CHAT}, "response": completion(), "created_at": 1750000000},
    "litellm": {"model_group": "m", "messages": CHAT, "response": completion(), "startTime": "2025-06-15T15:06:40Z"},
    "langfuse": {"type": "GENERATION", "id": "g", "model": "m", "input": CHAT, "output": "4",
                 "startTime": "2025-06-15T15:06:40+00:00"},
}  # fmt: skip


@pytest.mark.parametrize("format", GATEWAYS)
def test_they_take_the_options_of_ones_own_logs(format, tmp_path):
    stars = [{**GATEWAYS[format], "rating": {"stars": n}, "deployment": "big"} for n in (2, 5)]
    log = lines(tmp_path / "log.jsonl", stars)
    how = {"mapping": {"performance": "rating.stars", "llm": "deployment"}, "scale": "1-5"}
    row = only(read(format, log, **how, on_duplicate="mean"))
    assert row["performance"] == pytest.approx((0.25 + 1.0) / 2) and row["llm"] == "big" and row["response"] == "4"
    assert row["served_at"] == "2025-06-15T15:06:40.000+00:00"
    assert only(read(format, log, **how, on_duplicate="last"))["performance"] == 1.0
    with pytest.raises(UserError, match="several rows of one query"):
        read(format, log, on_duplicate="error")
    with pytest.raises(UserError, match=r"expected a key 'stars' with a value .map performance=stars., found it in no"):
        read(format, log, mapping={"performance": "stars"})
    with pytest.raises(UserError, match=r"expected a score in 0..1, found 2 .see scale."):
        read(format, log, mapping={"performance": "rating.stars"})
    with pytest.raises(UserError, match="unknown column 'score'"):
        read(format, log, mapping={"score": "rating.stars"})


def test_a_time_that_cannot_be_read_is_none(tmp_path):
    log = lines(tmp_path / "log.jsonl", [{**GATEWAYS["openai-log"], "created_at": "yesterday"}])
    assert only(read("openai-log", log))["served_at"] is None
