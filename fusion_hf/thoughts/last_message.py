"""The last user message of a chat: the query that is read from it, and another text in its place.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

import warnings
from typing import Any

from ..errors import UserError
from ..messages import as_message, message_text, plain_message


def _last_user(messages: list[dict[str, Any]]) -> int:
    for i in range(len(messages) - 1, -1, -1):
        if messages[i]["role"] == "user":
            return i
    raise UserError("expected a chat with a user message, found none")


def query_of(messages: list[dict[str, Any]]) -> str:
    """The text of the last user message."""
    return message_text(messages[_last_user(messages)])[0]


def whole(text_inputs: Any) -> Any:
    """Chats of OpenAI's forms as transformers takes them: every message has a content, null where a tool is called."""
    if not isinstance(text_inputs, list) or not text_inputs or isinstance(text_inputs[0], str):
        return text_inputs
    if isinstance(text_inputs[0], list | tuple):
        return [whole(list(chat)) for chat in text_inputs]
    return [{**as_message(message), "content": as_message(message).get("content")} for message in text_inputs]


def with_query(messages: list[dict[str, Any]], prompt: str) -> list[dict[str, Any]]:
    """The chat with another text in its last user message, and texts in place of parts; what is no text is named."""
    place = _last_user(messages)
    plain, others = [], []
    for message in messages:
        text, more = plain_message(message)
        plain.append(text)
        others += [kind for kind in more if kind != "tool_calls"]  # chat templates write them
    if others:
        warnings.warn(f"only the text of a chat is read, without {', '.join(dict.fromkeys(others))}", stacklevel=2)
    return [{**m, "content": prompt} if i == place else m for i, m in enumerate(plain)]
