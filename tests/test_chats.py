"""Chats in OpenAI's forms are read alike by routers, the pipeline, fused systems and backends, and nothing is dropped
in silence."""

import warnings

import pytest
from backend_contract import answer
from loopback_llm import LoopbackLLM
from tgi_double import TGI
from tiny_llm import make_tiny_llm

from fusion_hf.errors import UserError
from fusion_hf.fused.asking import chats
from fusion_hf.llms.backends import BackendError, open_backend
from fusion_hf.llms.backends._chat import plain_chat
from fusion_hf.llms.pool import LLM
from fusion_hf.messages import message_text
from fusion_hf.routers.chats import as_texts
from fusion_hf.thoughts.ask import AskedChat
from fusion_hf.thoughts.last_message import query_of, whole, with_query

CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}


def user(content="hi"):
    return {"role": "user", "content": content}


def part(text, kind="text"):
    return {"type": kind, "text": text}


class Dumped:
    """A message as the openai package gives it."""

    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self, exclude_none=False):
        return {k: v for k, v in self.fields.items() if v is not None or not exclude_none}


CHATS = [  # chat, its text, what is named as no text
    # UKGovernmentBEIS/inspect_ai PR #3478; InternLM/lmdeploy #4035
    ([user(), {"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "tool", "content": "5"}],
     "hi\n\n5", "tool_calls"),
    ([user(), {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "1",
      "content": [part("5")]}], "hi\n\n5", "tool_calls"),
    ([user(), {"role": "assistant", "content": "", "tool_calls": []}, {"role": "tool", "content": "5"}],
     "hi\n\n5", None),
    ([user(), {"role": "assistant", "content": "I add.", "tool_calls": [CALL]}, user("So?")],
     "hi\n\nI add.\n\nSo?", "tool_calls"),
    ([user(), {"role": "assistant", "function_call": {"name": "f"}}, {"role": "function", "name": "f", "content": "5"}],
     "hi\n\n5", "function_call"),
    ([{"role": "system", "content": "Be brief."}, user()], "Be brief.\n\nhi", None),
    ([{"role": "developer", "content": "Be brief."}, user()], "Be brief.\n\nhi", None),
    ([{"role": "developer", "content": [part("Be"), part("brief.")]}, user([part("hi")])], "Be\nbrief.\n\nhi", None),
    ([user([part("a", "input_text"), part("b", "output_text"), "c", {"text": "d"}])], "a\nb\nc\nd", None),
    ([user([part("What is it?"), PICTURE])], "What is it?", "image_url"),
    ([user([PICTURE])], "", "image_url"),
    ([user([part("Listen"), SOUND, {"type": "file", "file": {}}])], "Listen", "input_audio, file"),
    ([user(), {"role": "assistant", "content": None, "refusal": "I will not."}, user("Why?")],
     "hi\n\nI will not.\n\nWhy?", None),
    ([user(), {"role": "assistant", "refusal": "No."}, user("Why?")], "hi\n\nNo.\n\nWhy?", None),
    ([user(), {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, user("Why?")],
     "hi\n\nNo.\n\nWhy?", None),
    ([user(), {"role": "assistant", "content": None, "audio": {"id": "x"}}, user("And?")], "hi\n\nAnd?", "audio"),
    ([user(None), user("x")], "x", None),
    ([user([part(None), part("x")])], "x", None),
    ([user([]), user("x")], "x", None),
    ([user((part("x"),))], "x", None),
    ([Dumped(role="user", content="hi"), Dumped(role="assistant", content=None, tool_calls=[CALL]),
      Dumped(role="tool", content="5")], "hi\n\n5", "tool_calls"),
    ([user("a\ud800b")], "a?b", None),
    # items of OpenAI's other interface
    ([user(), {"type": "function_call", "call_id": "1", "name": "add", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "1", "output": "5"}], "hi\n\n5", "function_call"),
    ([user(), {"type": "reasoning", "id": "r", "summary": []}, user("So?")], "hi\n\nSo?", None),
    ([{"type": "message", "role": "user", "content": [part("hi", "input_text")]}], "hi", None),
    ([{"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {}}]}, user()],
     "Be brief.\n\nhi", None),
    ([{"role": "assistant", "content": "a", "reasoning_content": "hm"}, user("u")], "a\n\nu", None),
    ([user([part("v"), {"type": "video_url", "video_url": {}}])], "v", "video_url"),
]  # fmt: skip


@pytest.mark.parametrize(("chat", "text", "named"), CHATS)
def test_a_router_reads_the_text_and_names_the_rest(chat, text, named):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert as_texts(["q", chat]) == ["q", text]
    assert [str(w.message) for w in said] == (
        [] if named is None else [f"query 1: only its text is read, without {named}"]
    )


@pytest.mark.parametrize(
    "wrong",
    [
        [["hi"]], [{"role": "user"}], [{"role": "assistant"}], [7], [None], [{}], 7, None, b"hi", {"role": "user"},
        [user(5)], [user({"text": "x"} | {"type": 5})], [user([5])], [user([None])], [user([part(5)])],
        [user([{"a": 1}])],
        [user([{"type": "refusal", "refusal": 5}])], [user(True)], [user(), "x"],
    ],
)  # fmt: skip
def test_what_is_no_chat_is_refused_and_says_which(wrong):
    with pytest.raises(UserError, match="query 1: expected a text or a list of messages with role and content"):
        as_texts(["q", wrong])


def test_pipeline_and_fused_system_read_the_same_query():
    for chat, *_ in CHATS:
        messages = whole(list(chat))
        assert all("content" in message for message in messages)
        last = next(message for message in reversed(messages) if message["role"] == "user")
        assert query_of(messages) == message_text(last)[0]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            sent = with_query(messages, "PROMPT")
        named = {kind for message in messages for kind in message_text(message)[1]} - {"tool_calls"}
        assert all(isinstance(message["content"], str) for message in sent)
        assert len(said) == bool(named) and all(kind in str(said[0].message) for kind in named)
        assert [m["content"] for m in sent if m["role"] == "user"][-1] == "PROMPT"
        if messages[-1]["role"] in ("user", "tool", "function"):
            (direct,) = chats([chat], "direct")
            assert [m.get("content") for m in direct] == [m.get("content") for m in messages]
            (think,) = chats([chat], "think")
            assert "step by step" in message_text([m for m in think if m["role"] == "user"][-1])[0]


def test_a_fused_system_keeps_what_is_no_text_and_asks_behind_tools():
    chat = [{"role": "developer", "content": "Be brief."}, user([part("What is it?"), PICTURE])]
    (asked,) = chats([chat], "think")
    assert asked[0] == chat[0]
    assert asked[1]["content"] == [part("What is it?\nLet's think step by step."), PICTURE]
    assert chats([chat], "direct") == [chat] and chat[1]["content"][0] == part("What is it?")
    tools = [user("2+3?"), {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "5"}]
    assert chats([tools], "direct") == [tools]
    (asked,) = chats([tools], "think")
    assert asked[0]["content"].startswith("2+3?\n") and asked[1:] == tools[1:]
    for wrong in ([], [{"role": "system", "content": "x"}], [user(), {"role": "assistant", "content": "x"}]):
        with pytest.raises(UserError, match="query 0: expected a chat that ends with a user message"):
            chats([wrong], "direct")


def test_a_chat_to_a_summariser_has_a_key_whatever_its_form():
    plain = AskedChat("t", "a", [user("hi")])
    others = [AskedChat("t", "a", list(chat)) for chat, *_ in CHATS if isinstance(chat[0], dict)]
    assert len({chat.key for chat in (plain, *others)}) == len(others) + 1
    assert plain.key == AskedChat("t", "b", [user("hi")]).key and others[0].request("m").query == "hi\n\n\n\n5"


def test_backends_of_servers_send_a_chat_as_it_is():
    chat = [user([part("What is it?"), PICTURE]), {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": "!"}]  # fmt: skip

    async def go(url):
        backend = open_backend(LLM("far", "small", 0, 0, base_url=url))
        try:
            return await backend.chat(chat)
        finally:
            await backend.close()

    import asyncio

    with LoopbackLLM() as server:
        assert asyncio.run(go(server.url)).text == "It is 42."
    assert server.seen[0].body["messages"] == chat


def test_backends_that_read_text_only_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    tiny = make_tiny_llm(tmp_path / "tiny")
    local = LLM("near", "small", 0, 0, backend="transformers", model=str(tiny), options={"max_tokens": 4})
    with TGI() as server:
        remote = LLM("tgi", "small", 0, 0, backend="inference_client", base_url=server.url,
                     options={"api": "text_generation", "max_tokens": 8})  # fmt: skip
        for llm in (local, remote):
            assert answer(llm, "How many?").text == answer(llm, [part("How many?")]).text
            with pytest.raises(BackendError, match=f"message 0 has image_url, and {llm.name} reads text only") as error:
                answer(llm, [part("What is it?"), PICTURE])
            assert error.value.kind == "bad_request"
    with pytest.raises(BackendError, match="message 1: expected the content"):
        plain_chat([user(), user(5)], "near")
    called = plain_chat([user(), {"role": "assistant", "tool_calls": [CALL]}], "near")[1]
    assert called == {"role": "assistant", "tool_calls": [CALL], "content": ""}
