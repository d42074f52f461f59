"""Append-only files of rows that survive a kill at any byte."""

import os
import time

import pytest

from fusion_hf.errors import UserError
from fusion_hf.logs.shards import ShardWriter, latest_rows, read_rows, repair, row_key, shard_files


def row(i, **fields):
    return {"query_id": str(i), "llm": "ä", "mode": "direct", "response": "é\n\u2028" * i, **fields}


def test_a_shard_that_another_process_repairs_as_it_is_made_is_made_anew(tmp_path, monkeypatch):
    """The other one comes between the making of the file and its lock, and takes it for one that is over."""
    from fusion_hf.logs import shards

    real, removed = os.open, []

    def opened(path, *more, **how):
        file = real(path, *more, **how)
        if not removed:
            removed.append(path)
            assert repair(tmp_path) == 0 and not os.path.exists(path)
        return file

    monkeypatch.setattr(shards.os, "open", opened)
    writer = ShardWriter(tmp_path)
    writer.write(row(1))
    writer.close()
    assert removed != [writer.path] and list(read_rows(tmp_path)) == [row(1)]


def test_shards_are_in_order_over_the_end_of_a_second(tmp_path, monkeypatch):
    """A clock that goes on by 0.4 s with every reading."""
    from fusion_hf.logs import shards

    now = [10**18]

    def tick():
        now[0] += 4 * 10**8
        return now[0]

    monkeypatch.setattr(shards.time, "time_ns", tick)
    gmtime = time.gmtime
    monkeypatch.setattr(shards.time, "gmtime", lambda at=None: gmtime(tick() // 10**9 if at is None else at))
    for i in range(1, 8):
        writer = ShardWriter(tmp_path)
        writer.write(row(i))
        writer.close()
    assert list(read_rows(tmp_path)) == [row(i) for i in range(1, 8)]


def test_a_shard_cut_at_any_byte_gives_its_whole_rows(tmp_path):
    writer = ShardWriter(tmp_path)
    for i in range(4):
        writer.write(row(i))
    writer.close()
    content = writer.path.read_bytes()
    for size in range(len(content) + 1):
        writer.path.write_bytes(content[:size])
        whole = content[:size].count(b"\n")
        assert list(read_rows(tmp_path)) == [row(i) for i in range(whole)]
        cut = repair(tmp_path)
        assert cut == (size > 0 and content[size - 1 : size] != b"\n")
        if size == 0:
            assert not writer.path.exists()  # killed before its first row
            continue
        assert writer.path.read_bytes() == content[:size][: content[:size].rfind(b"\n") + 1]
        assert list(read_rows(tmp_path)) == [row(i) for i in range(whole)]


def test_repair_finds_the_last_line_behind_a_long_torn_one(tmp_path):
    path = tmp_path / "shard-1.jsonl"
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    assert repair(tmp_path) == 1 and path.read_bytes() == b"{}\n"
    with pytest.raises(UserError, match=r"shard-1.jsonl, line 1: expected a log row, found 'query_id'"):
        list(read_rows(tmp_path))


def test_repair_leaves_a_shard_that_is_being_written(tmp_path, caplog):
    writer = ShardWriter(tmp_path)
    writer.write(row(1))
    os.write(writer._file, b'{"half')
    assert repair(tmp_path) == 0 and "is being written by another process" in caplog.text
    writer.close()
    assert repair(tmp_path) == 1 and len(list(read_rows(tmp_path))) == 1


def test_the_latest_answer_wins_and_an_error_never_hides_an_answer(tmp_path):
    for content in ([row(1, error="x"), row(2)], [row(1), row(3, error="a")], [row(1, error="y"), row(3, error="b")]):
        writer = ShardWriter(tmp_path)
        for r in content:
            writer.write(r)
        writer.close()
    ShardWriter(tmp_path).close()
    assert len(shard_files(tmp_path)) == 3  # one without rows does not stay
    assert sorted(latest_rows(tmp_path), key=row_key) == [row(1), row(2), row(3, error="b")]
