"""Messages of a chat in OpenAI's forms, and the text in them.

This file is copied beside checkpoints (see `remote_code`).
"""

from typing import Any

from .errors import UserError

TEXT_PARTS = ("text", "input_text", "output_text")
_CALLS = ("tool_calls", "function_call", "audio")  # what a message may have in place of a content


def as_message(message: Any) -> dict:
    """A message as a dict; the objects of the openai package become one. Raises `UserError` for anything else."""
    if not isinstance(message, dict) and hasattr(message, "model_dump"):
        message = message.model_dump(exclude_none=True)
    if not isinstance(message, dict):
        raise UserError(f"expected a message with role and content, found {type(message).__name__}")
    kind = message.get("type") if "role" not in message else None
    if kind == "function_call_output":  # items of OpenAI's other interface
        message = {"role": "tool", "tool_call_id": message.get("call_id"), "content": message.get("output")}
    elif kind in ("function_call", "reasoning"):
        message = {"role": "assistant", "content": None, "function_call" if kind == "function_call" else kind: message}
    if "content" not in message and not any(name in message for name in (*_CALLS, "refusal")):
        raise UserError(
            f"expected a message with role and content, found only {', '.join(map(str, message)) or 'nothing'}"
        )
    return message


def message_text(message: Any) -> tuple[str, list[str]]:
    """(text, what else is there) of a message.

    The content is a text, null, or a list of parts, of which those of type ``text`` (``input_text``, ``output_text``)
    and ``refusal`` are text; an assistant message may have a ``refusal`` or tool calls in place of it.

    Returns:
        The text, and the names of what is not text: types of parts, ``tool_calls``.

    Raises:
        UserError: A content of another kind.
    """
    message = as_message(message)
    content = message.get("content")
    if content is None:
        content = message.get("refusal") or ""
    texts, others = [], [name for name in _CALLS if message.get(name)]
    for part in content if isinstance(content, (list, tuple)) else [content]:
        kind = part.get("type", "text" if "text" in part else None) if isinstance(part, dict) else None
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else part
        if isinstance(part, str) or (kind in (*TEXT_PARTS, "refusal") and isinstance(text, (str, type(None)))):
            texts.append(text or "")
        elif isinstance(part, dict) and isinstance(kind, str) and kind not in (*TEXT_PARTS, "refusal"):
            others.append(kind)
        else:
            raise UserError(f"expected the content of a message to be a text or a list of parts, found {part!r:.60}")
    return "\n".join(text for text in texts if text), others


def plain_message(message: Any) -> tuple[dict, list[str]]:
    """(the message with its text as content, what else was there), for models that read text only."""
    message = as_message(message)
    text, others = message_text(message)
    return {**message, "content": text}, others
