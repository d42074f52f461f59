"""What is asked: one request for each example, LLM and mode, and what it can cost."""

import itertools
import json
import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..errors import UserError
from ..logs.key_set import KeySet
from ..logs.schema import query_id
from ..tasks import Example, get_task, with_mode
from ..tasks.modes import MODES, PLAIN_MODES, RETRIEVED_MODES
from .backends._usage import chat_text
from .pool import LLM, Pool
from .token_limits import answer_limit

CHARACTERS_PER_TOKEN = 4  # the usual rule of thumb for English; only the estimate of a dry run uses it
TEXT_PARTS = ("text", "input_text", "output_text")  # types of the parts of a content that are text
OVERCHARGE = 100  # times its worst case that an answer may cost without passing a cap
LONGEST_ANSWER = 131_072  # tokens; an LLM that goes on without regard to its limit ends where its context does
TOKENS_PER_PART = 20_000  # of an input token's price set aside for a picture or a file in a chat: their sizes vary
Messages = list[dict[str, Any]]
Prompts = Callable[[list[str], list[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one LLM in one mode.

    Attributes:
        query_id: See `fusion_hf.logs.schema.query_id`.
        query: The prompt in direct mode, as it goes into the log.
        messages: The chat that is sent.
        prompt_version: How the task puts its queries (see `fusion_hf.tasks.PROMPT_VERSIONS`).
        max_tokens: Most tokens of the answer, reasoning included; None leaves it to the LLM's options.
    """

    query_id: str
    task: str
    source_id: str
    query: str
    ground_truth: list[str]
    metric: str
    llm: str
    mode: str
    messages: Messages
    prompt_version: str | None = None
    max_tokens: int | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """The key of its log row."""
        return self.query_id, self.llm, self.mode


def make_requests(
    pool: Pool,
    examples: Mapping[str, Iterable[Example]],
    modes: Sequence[str] = PLAIN_MODES,
    metrics: Mapping[str, str] | None = None,
    prompts: Prompts | Mapping[str, Prompts] | None = None,
) -> Iterator[Request]:
    """A request for each example, LLM and mode.

    Args:
        pool: The LLMs to ask. Those behind an endpoint take turns; local models are asked one after the other.
        examples: Examples of each task.
        modes: Any of `fusion_hf.tasks.modes.MODES`.
        metrics: Grader of a task; the task's own where it is not given.
        prompts: (queries, query ids) -> what is sent for each of them in a retrieved mode; one for each such mode where
            there are several.
    """
    for mode in modes:
        if mode not in MODES:
            raise UserError(f"unknown mode {mode!r}: expected one of {', '.join(MODES)}")
    retrieved = [mode for mode in modes if mode in RETRIEVED_MODES]
    if callable(prompts):
        prompts = dict.fromkeys(retrieved, prompts)
    for mode in retrieved:
        if mode not in (prompts or {}):
            raise UserError(f"mode {mode!r} needs thought templates, found none: give templates, a folder of them")
    examples = {task: list(rows) for task, rows in examples.items()}
    metrics = {task: (metrics or {}).get(task) or get_task(task).metric for task in examples}
    ids = {task: [query_id(task, row.source_id, row.query) for row in rows] for task, rows in examples.items()}
    found = {
        (mode, task): dict(zip(ids[task], prompts[mode]([row.query for row in rows], ids[task]), strict=True))
        for mode, (task, rows) in itertools.product(retrieved, examples.items())
    }
    local = [[llm] for llm in pool if pool[llm].local]
    remote = [llm for llm in pool if not pool[llm].local]
    for llms in (remote, *local):
        for task, rows in examples.items():
            for (row, identity), llm, mode in itertools.product(zip(rows, ids[task], strict=True), llms, modes):
                chat = messages_of(found[mode, task][identity] if mode in retrieved else row.query, mode)
                yield Request(
                    identity, task, row.source_id, row.query, row.ground_truth, metrics[task], llm, mode, chat,
                    row.prompt_version, answer_limit(pool[llm], task, mode),
                )  # fmt: skip


def messages_of(query: str, mode: str) -> Messages:
    """The chat that asks `query` in `mode`."""
    return [{"role": "user", "content": with_mode(query, mode)}]


def with_defaults(llm: LLM, defaults: Mapping[str, Any]) -> LLM:
    """The LLM with these options where it has none of its own."""
    if "max_completion_tokens" in llm.options:
        defaults = {k: v for k, v in defaults.items() if k != "max_tokens"}  # two names of one limit
    return replace(llm, options={**defaults, **llm.options})


def worst_case(llm: LLM, messages: Messages, estimate: int | None = None, limit: int | None = None) -> float:
    """The most USD that one try of a request can cost; an LLM whose output has a price needs an `answer_limit`.

    `limit` is that of the request, where it has one (see `Request.max_tokens`).

    A price that is not known counts as zero: `collect_async` refuses a cap for such an LLM.

    No tokenizer makes more tokens of a chat than it has bytes; there is some room for the chat template, and more for
    what is no text. `estimate`: an estimate of its tokens, where the chat that was sent may have been longer than
    `messages`.
    """
    tokens = sum(map(_bytes, messages)) + _option_bytes(llm.options)
    tokens = max(tokens, (estimate or 0) * CHARACTERS_PER_TOKEN) + 16 * len(messages) + 32
    sent, cached, got, reasoning = (price or 0 for price in llm.prices)
    return (tokens * max(sent, cached) + (limit or answer_limit(llm) or 0) * max(got, reasoning)) / 1e6


def overcharge(llm: LLM, most: float) -> float:
    """USD that an answer may cost beyond its worst case, `most`, without passing a cap.

    A server may be honest for a thousand answers, and charge the next one for more tokens than it was asked for.
    """
    return min((OVERCHARGE - 1) * most, LONGEST_ANSWER * max(price or 0 for price in llm.prices) / 1e6)


def _bytes(message: Mapping[str, Any]) -> int:
    """Bytes of a message, and `TOKENS_PER_PART` for each of its parts that is no text."""
    content = message.get("content")
    if isinstance(content, str) and len(message) == 2:
        return len(content.encode("utf-8", "replace"))
    parts = content if isinstance(content, list) else []
    others = sum(isinstance(part, dict) and part.get("type", "text") not in TEXT_PARTS for part in parts)
    return (
        len(json.dumps(message, default=str, ensure_ascii=False).encode("utf-8", "replace")) + others * TOKENS_PER_PART
    )


def _option_bytes(llm_options: Mapping[str, Any]) -> int:
    """Bytes of the options whose text a server may put before the model: tools, schemas, arguments of a template."""
    sent = {**llm_options, **(llm_options.get("extra_body") or {})}
    texts = [v for k, v in sent.items() if isinstance(v, dict | list) and k not in ("extra_body", "stop")]
    return len(json.dumps(texts, default=str)) if texts else 0


@dataclass
class Plan:
    """What a run would ask, and its price. Input is estimated as characters / 4; output as the longest answers allowed.

    Attributes:
        read: Requests that were read.
        resumed: Those that are answered already.
        usd_input: Estimated price of the prompts; None if the price of an LLM is not known.
        usd_most: The same with every answer as long as it may be; None also where an answer has no limit.
        by_llm: The figures of each LLM: requests, input_tokens, usd_input, usd_most.
        by_mode: Requests in each mode.
    """

    read: int = 0
    resumed: int = 0
    usd_input: float | None = 0.0
    usd_most: float | None = 0.0
    by_llm: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_mode: dict[str, int] = field(default_factory=dict)
    estimate: str = f"input: characters / {CHARACTERS_PER_TOKEN}; output: at most max_tokens an answer"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def make_plan(pool: Pool, requests: Iterable[Request], done: Container[tuple[str, str, str]]) -> Plan:
    """The price of asking those requests whose key is not in `done`."""
    result, seen = Plan(), KeySet()
    for request in requests:
        llm = pool.get_llm(request.llm)
        result.read += 1
        if request.key in done:
            result.resumed += 1
        elif seen.add(request.key):
            entry = result.by_llm.setdefault(llm.name, {"requests": 0, "input_tokens": 0, "output_limit": 0})
            entry["requests"] += 1
            limit = request.max_tokens or answer_limit(llm)
            entry["output_limit"] = None if None in (limit, entry["output_limit"]) else entry["output_limit"] + limit
            result.by_mode[request.mode] = result.by_mode.get(request.mode, 0) + 1
            entry["input_tokens"] += math.ceil(len(chat_text(request.messages)) / CHARACTERS_PER_TOKEN)
    for name, entry in result.by_llm.items():
        llm, most = pool[name], entry.pop("output_limit")
        if None in (llm.input_price, llm.output_price):
            entry |= {"usd_input": None, "usd_most": None}
            continue
        entry["usd_input"] = entry["input_tokens"] * llm.input_price / 1e6
        known = most is not None or not llm.output_price
        output = (most or 0) * max(llm.prices[2:]) / 1e6
        entry["usd_most"] = entry["usd_input"] + output if known else None
    result.usd_input, result.usd_most = (
        _sum([e[k] for e in result.by_llm.values()]) for k in ("usd_input", "usd_most")
    )
    return result


def _sum(values: list[float | None]) -> float | None:
    return None if None in values else float(sum(values))
