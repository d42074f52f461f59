"""Slow servers and dead ones told apart by streaming; a run that is stopped once, twice, or that waits too long."""

import asyncio
import json
import time

import pytest
from loopback_llm import Act, LoopbackLLM

from fusion_hf.llms.backends import BackendError
from fusion_hf.llms.backends._stream import whole
from fusion_hf.llms.backends.openai import Backend
from fusion_hf.llms.limits import Limits
from fusion_hf.llms.pool import LLM, Pool
from fusion_hf.llms.record import Recorder, Summary
from fusion_hf.llms.requests import make_requests
from fusion_hf.llms.runner import Runner
from fusion_hf.logs.shards import ShardWriter, read_rows
from fusion_hf.tasks import Example

TEXT = "It is 42, and so  it was.\n#### 42"


def llm(url, **options):
    return LLM("m", "small", 1.0, 2.0, base_url=url, options={"max_tokens": 20} | options)


def chat(act, **options):
    async def go(backend):
        try:
            return await backend.chat([{"role": "user", "content": "How many?"}])
        finally:
            await backend.close()

    with LoopbackLLM(lambda *_: act) as server:
        return asyncio.run(go(Backend(llm(server.url, **options)))), server


def test_a_streamed_answer_is_the_answer():
    act = Act(text=TEXT, message={"reasoning_content": "Six times seven."})
    (streamed, server), (plain, _) = chat(act, stream=True), chat(act)
    fields = ("text", "finish_reason", "input_tokens", "output_tokens", "reasoning", "usage_source", "served_model")
    assert {f: getattr(streamed, f) for f in fields} == {f: getattr(plain, f) for f in fields}
    assert (streamed.text, streamed.usage_source, streamed.reasoning) == (TEXT, "server", "Six times seven.")
    (seen,) = server.seen
    assert seen.body["stream"] is True and seen.body["stream_options"] == {"include_usage": True}


def test_a_server_that_does_not_stream_is_read_all_the_same():
    completion = {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]}
    reply, _ = chat(Act(body=json.dumps(completion)), stream=True)
    assert reply.text == TEXT


def test_a_slow_server_may_take_its_time_and_a_dead_one_is_told_by_its_silence():
    slow = Act(text="one two three four five six seven eight", pause=0.4)
    reply, _ = chat(slow, stream=True, first_token_timeout=3, next_token_timeout=2.5)  # 3.2 s in all
    assert reply.text.endswith("eight") and reply.latency_s > 3
    with pytest.raises(BackendError, match=r"no more words for 0.2 s, in the middle of the answer") as error:
        chat(Act(text="one two three", stall=3600), stream=True, next_token_timeout=0.2)
    assert error.value.kind == "timeout"
    with pytest.raises(BackendError, match=r"no answer within 0.2 s|not a word within 0.2 s") as error:
        chat(Act(delay=5), stream=True, first_token_timeout=0.2)
    assert error.value.kind == "timeout"
    with pytest.raises(BackendError, match=r"no answer within 0.3 s; a server that is slow, not dead"):
        chat(Act(delay=5), timeout=0.3)
    with pytest.raises(BackendError, match=r"no answer within 0.3 s"):
        chat(slow, stream=True, timeout=0.3)  # who sets a limit for all has it


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "connection", "ended before the answer did"),
        (b"data: {\n\n", "bad_reply", "no JSON"),
        (b"data: [1]\n\n", "bad_reply", "no object"),
        (b"", "connection", "ended before"),
    ],
)
def test_broken_streams(content, kind, says):
    with pytest.raises(BackendError, match=says) as error:
        whole(content)
    assert error.value.kind == kind


def test_comments_and_other_line_ends_are_no_words():
    events = (
        b': waiting\r\n\r\ndata: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\r\n\r\ndata: [DONE]\r\n\r\n'
    )
    assert json.loads(whole(events))["choices"][0]["message"] == {"role": "assistant", "content": "a"}


def events(*chunks, between="\n\n"):
    return "".join(f"data: {json.dumps(chunk)}{between}" for chunk in chunks).encode() + b"data: [DONE]\n\n"


def test_odd_streams_add_up_all_the_same():
    words = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in ("It ", "is ", "4.")]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"prompt_tokens": 7}}]}
    for between in ("\n\n", "\n"):  # some servers forget the empty line between events
        reply = json.loads(whole(events(*words, last, between=between)))
        choice = reply["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("It is 4.", "stop")
        assert choice["usage"] == {"prompt_tokens": 7}  # Moonshot's place for it
    # Mistral's reasoning comes as a list of parts, the answer as words
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    reply = json.loads(whole(events({"choices": [{"index": 0, "delta": {"content": [thought]}}]}, *words)))
    assert reply["choices"][0]["message"]["content"] == [thought, "It is 4."]
    # the whole message at the end, where nothing came before it; and not twice where the words did
    message = {"choices": [{"index": 0, "message": {"content": "It is 4."}, "finish_reason": "stop"}]}
    for chunks in ([message], [*words, message]):
        assert json.loads(whole(events(*chunks)))["choices"][0]["message"]["content"] == "It is 4."


def test_a_stream_that_is_cut_or_reports_an_error():
    with pytest.raises(BackendError) as error:
        chat(Act(text=TEXT, cut="middle"), stream=True)
    assert error.value.kind == "connection"
    said = json.dumps({"error": {"message": "the context window is full", "code": 400}})
    act = Act(body=f"data: {said}\n\n", headers={"Content-Type": "text/event-stream"})
    with pytest.raises(BackendError) as error:
        chat(act, stream=True)
    assert error.value.kind == "context_length"


def drive(url, out, when, **limits):
    """A run whose runner is told something once two requests are in flight; returns the summary and the seconds."""
    pool = Pool([llm(url, concurrency=2)])
    examples = {"gsm8k": [Example(str(i), f"How many {i}?", ["7"]) for i in range(6)]}

    async def go():
        summary = Summary()
        recorder = Recorder(ShardWriter(out), summary)
        runner = Runner(pool, Limits(**limits), recorder.answer, recorder.error, recorder.drop)
        running = asyncio.create_task(runner.run(make_requests(pool, examples, ("direct",))))
        await asyncio.sleep(0.3)
        began = time.perf_counter()
        when(runner)
        await running
        await runner.close()
        recorder.writer.close()
        return summary, time.perf_counter() - began

    return asyncio.run(go())


def test_what_is_given_up_is_dropped_at_once_and_nothing_of_it_is_written(tmp_path):
    with LoopbackLLM(lambda *_: Act(delay=20)) as server:
        summary, seconds = drive(server.url, tmp_path, Runner.abandon)
    assert seconds < 2 and summary.kept == 0 and set(summary.dropped) == {"interrupted"}
    assert not list(read_rows(tmp_path))


def test_a_server_that_runs_out_of_time_gets_fewer_at_once(tmp_path):
    runners = []
    with LoopbackLLM(lambda prompt, times: Act(delay=0.5 if not times else 0.0)) as server:
        drive(server.url, tmp_path, runners.append, timeout=0.2)
    (endpoint,) = runners[0].endpoints.values()
    assert endpoint.limit._round > 0 and len(list(read_rows(tmp_path))) == 6
    assert runners[0].retried["timeout"] > 0
