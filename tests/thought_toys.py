"""Small logs, template tables and scripted endpoints, and fixtures over them, for tests of the thought level."""

import asyncio

import numpy as np
import pyarrow as pa
import pytest
from loopback_llm import Act, LoopbackLLM

from fusion_hf.llms.pool import LLM
from fusion_hf.logs.schema import query_id, rows_to_table, validate
from fusion_hf.thoughts import (
    TemplateIndex,
)
from fusion_hf.thoughts.solved import Solved

WORKED = "First add {a} and {b}. That is {a} + {b} = {c}. #### {c}"


def answer(key, llm, performance, cost=1e-4, mode="direct", response="Add both.", judge=None, task="gsm8k", **more):
    """One log row."""
    query = f"How many are {key}?"
    row = {
        "query_id": query_id(task, key, query), "task": task, "source_id": key, "query": query, "metric": "gsm8k",
        "ground_truth": ["77"], "llm": llm, "mode": mode, "response": response, "performance": performance,
        "cost": cost, "judge": judge,
    }  # fmt: skip
    return row | more


def table_of(*rows):
    return validate(rows_to_table(rows))


def solved(answers, gold="77", query="What are 70 and 7?", metric="gsm8k"):
    return Solved("q1", "gsm8k", query, [gold], metric, list(answers), ["a"] * len(answers), "perf:3")


class ByChat(LoopbackLLM):
    """The endpoint with behaviour by the whole body of a request, since the last message of every retry is the same."""

    def __init__(self, behave):
        super().__init__()
        self.by_chat = behave

    async def _act(self, request, act, body):
        act = self.by_chat(body)
        await asyncio.sleep(act.delay)
        return await super()._act(request, act, body)


def far(url, **options):
    return LLM("far", "small", 1.0, 2.0, base_url=url, options=options)


def scripted(script):
    """(loopback server, chats it saw): the reply to a chat about a query depends on how long the chat is."""
    chats = []

    def behave(body):
        messages = body["messages"]
        chats.append(messages)
        key = next(key for key in script if f"How many are {key}?" in messages[0]["content"])
        reply = script[key][len(messages) // 2]
        return reply if isinstance(reply, Act) else Act(reply, delay=0.01)

    return ByChat(behave), chats


def unit(rng, n, d=16):
    x = rng.standard_normal((n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def template_table(n, tasks=("sum", "story", "fact")):
    rows = [
        {
            "query_id": f"id{i}", "task": tasks[i % len(tasks)], "query": f"Template question number {i}?",
            "template": f"plan {i}", "answer": f"answer {i}", "candidates": ["a"], "rule": "perf:3",
            "summariser": "scripted", "prompt_version": "1",
        }
        for i in range(n)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows)


@pytest.fixture
def index(rng):
    return TemplateIndex(template_table(300), unit(rng, 300), "offline")


def found(hits):
    return [[(h.row, h.similarity) for h in row] for row in hits]
