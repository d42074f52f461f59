"""A chat request as it comes: what it asks of the choice, what it needs of an LLM, and what goes to the LLM."""

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..routers.chats import chat_text
from .errors import ServeError

AUTO = "auto"
OPTIONS = ("scenario", "max_cost", "candidates", "session", "task")
LONGEST_NAME = 200
BYTES_PER_TOKEN = 4  # of the estimate of a prompt's length; UTF-8, as everywhere where nobody counted


@dataclass(frozen=True)
class ChatRequest:
    """A request for a chat completion.

    Attributes:
        body: Every field that goes to the LLM: all but ``model`` and ``fusion``.
        text: The query as routers read it.
        scenario: Trade-off by name; None leaves it to the system.
        candidates: Candidates among which to choose; None for all.
        fixed: Whether `model` names who is to answer.
        stream: Whether the answer is to come chunk by chunk.
        wants_usage: Whether the last chunk is to tell the usage.
        needs: Abilities that an LLM must have (see `fusion_hf.llms.llm.ABILITIES`).
        tokens: Estimate of the prompt and the answer that is asked for.
        plain_end: Whether the chat ends with a user message, so that it can be asked in another mode.
    """

    body: dict[str, Any]
    text: str
    scenario: str | None = None
    max_cost: float | None = None
    candidates: tuple[str, ...] | None = None
    fixed: bool = False
    session: str | None = None
    task: str | None = None
    stream: bool = False
    wants_usage: bool = False
    needs: frozenset[str] = field(default_factory=frozenset)
    tokens: int = 0
    plain_end: bool = True

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat."""
        return self.body["messages"]


def read_request(content: bytes, candidates: Sequence[str], scenarios: Collection[str]) -> ChatRequest:
    """A request from its body.

    Args:
        content: JSON.
        candidates: Candidates that the system knows, and LLMs of the pool.
        scenarios: Trade-offs that it knows.

    Raises:
        ServeError: Status 400, or 404 for an unknown model; the message names the field.
    """
    try:
        body = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ServeError(400, f"expected a JSON body, found something else: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        raise ServeError(400, f"expected a JSON object, found {type(body).__name__}")
    return request_of(body, candidates, scenarios)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def request_of(body: dict[str, Any], candidates: Sequence[str], scenarios: Collection[str]) -> ChatRequest:
    """The same from a body that has been read; ``model`` and ``fusion`` are taken out of it."""
    model, fusion, messages = body.pop("model", None) or AUTO, body.pop("fusion", None) or {}, body.get("messages")
    text = _text(messages)
    if not isinstance(fusion, dict):
        raise ServeError(400, f"fusion: expected an object, found {type(fusion).__name__}")
    unknown = sorted(set(fusion) - set(OPTIONS))
    if unknown:
        raise ServeError(400, f"fusion: unknown option {unknown[0]!r}: options are {', '.join(OPTIONS)}")
    scenario, fixed = _model(model, candidates, scenarios)
    scenario = _name(fusion, "scenario") or scenario
    if scenario is not None and scenario not in scenarios:
        raise ServeError(400, f"fusion.scenario: expected one of {', '.join(scenarios)}, found {scenario!r}")
    stream = body.get("stream") is True
    usage = body.get("stream_options")
    return ChatRequest(
        body=body,
        text=text,
        scenario=scenario,
        max_cost=_max_cost(fusion.get("max_cost")),
        candidates=(fixed,) if fixed else _candidates(fusion.get("candidates"), candidates),
        fixed=fixed is not None,
        session=_name(fusion, "session"),
        task=_name(fusion, "task"),
        stream=stream,
        wants_usage=isinstance(usage, dict) and usage.get("include_usage") is True,
        needs=_needs(body, messages),
        tokens=_tokens(body, text),
        plain_end=messages[-1].get("role") == "user",
    )


def _text(messages: Any) -> str:
    good = isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages)
    if not good:
        raise ServeError(400, "messages: expected a list of messages with role and content, found none")
    for number, message in enumerate(messages):
        content = message.get("content")
        parts = isinstance(content, list) and all(isinstance(part, dict) for part in content)
        if not isinstance(message.get("role"), str) or not (content is None or isinstance(content, str) or parts):
            raise ServeError(400, f"messages[{number}]: expected a role and, as content, a text or a list of parts")
    try:
        return chat_text([{"content": None, **m} for m in messages])
    except (UserError, TypeError, AttributeError):
        raise ServeError(400, "messages: expected parts of type text with a text") from None


def _model(model: Any, candidates: Sequence[str], scenarios: Collection[str]) -> tuple[str | None, str | None]:
    """(trade-off, candidate) of the field ``model``."""
    if model == AUTO:
        return None, None
    if isinstance(model, str) and model.startswith(f"{AUTO}:") and model.removeprefix(f"{AUTO}:") in scenarios:
        return model.removeprefix(f"{AUTO}:"), None
    if isinstance(model, str) and model in candidates:
        return None, model
    known = [AUTO, *(f"{AUTO}:{s}" for s in scenarios), *candidates]
    raise ServeError(404, f"unknown model {model!r:.100}: expected one of {', '.join(known)}", code="model_not_found")


def _name(fusion: dict, name: str) -> str | None:
    value = fusion.get(name)
    if value is not None and not (isinstance(value, str) and 0 < len(value) <= LONGEST_NAME):
        raise ServeError(400, f"fusion.{name}: expected a text of at most {LONGEST_NAME} characters")
    return value


def _max_cost(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not (number and value >= 0):
        raise ServeError(400, f"fusion.max_cost: expected USD as a number, found {value!r:.40}")
    return value


def _candidates(value: Any, known: Sequence[str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ServeError(400, "fusion.candidates: expected a list of candidates")
    for name in value:
        if not isinstance(name, str) or name not in known:
            raise ServeError(400, f"fusion.candidates: unknown {name!r:.100}: expected one of {', '.join(known)}")
    return tuple(value)


def _needs(body: dict[str, Any], messages: list[dict]) -> frozenset[str]:
    parts = (part for m in messages if isinstance(m.get("content"), list) for part in m["content"])
    form = body.get("response_format")
    asked = {
        "tools": bool(body.get("tools") or body.get("functions")),
        "images": any(part.get("type") in ("image_url", "image", "input_image") for part in parts),
        "json": isinstance(form, dict) and form.get("type") not in (None, "text"),
    }
    return frozenset(name for name, needed in asked.items() if needed)


def _tokens(body: dict[str, Any], text: str) -> int:
    limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
    answer = max((n for n in limits if isinstance(n, int) and not isinstance(n, bool)), default=0)
    tools = len(json.dumps(body["tools"])) if body.get("tools") else 0
    return (len(text.encode("utf-8", "replace")) + tools) // BYTES_PER_TOKEN + max(0, answer)
