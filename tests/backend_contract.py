"""What every backend keeps, checked with the same lines whatever answers."""

import asyncio

from fusion_hf.llms.backends import BackendError, Reply, open_backend

# A third of all tokens end an answer, so that the rows of a batch end at different times.
MANY_ENDS = tuple(range(1, 258, 3))


def ask(text):
    return [{"role": "user", "content": text}]


def chat_all(backend, prompts, **options):
    """Ask all prompts at once; errors come back as values."""

    async def go():
        try:
            chats = (backend.chat(ask(p), **options) for p in prompts)
            return await asyncio.gather(*chats, return_exceptions=True)
        finally:
            await backend.close()

    return asyncio.run(go())


def answer(llm, text="How many?", **options):
    (result,) = chat_all(open_backend(llm), [text], **options)
    if isinstance(result, Exception):
        raise result
    return result


def check_answers(together, alone, most):
    """Every chat got its own answer, the one that it gets alone, with its reason and its counts."""
    for reply in together:
        assert isinstance(reply, Reply), reply
        assert isinstance(reply.text, str) and reply.finish_reason in ("stop", "length")
        assert reply.input_tokens > 0 and 0 < reply.output_tokens <= most and reply.latency_s > 0
        assert reply.usage_source.partition("/")[0] in ("server", "estimated")
    assert [r.text for r in together] == [r.text for r in alone] and len({r.text for r in alone}) > 6
    assert [r.input_tokens for r in together] == [r.input_tokens for r in alone]


def check_long_and_short(replies):
    """A prompt that does not fit is an error of its own kind, and harms no other."""
    long, short = replies
    assert isinstance(long, BackendError) and long.kind == "context_length" and not long.may_retry, repr(long)
    assert isinstance(short, Reply), repr(short)
