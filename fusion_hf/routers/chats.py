"""Queries as they come: a text, or a chat as a list of messages.

This file is copied beside checkpoints (see `remote_code`).
"""

from collections.abc import Sequence

from ..errors import UserError

Chat = Sequence[dict]


def as_texts(queries: Sequence[str | Chat]) -> list[str]:
    """One text a query. A chat becomes the contents of its messages, in order, between blank lines.

    A message is ``{"role", "content"}`` as chat templates read it; of a content in parts, those of type ``text`` count.

    Raises:
        UserError: A lone string in place of a list, or a query that is neither a text nor a chat.
    """
    if isinstance(queries, str):
        raise UserError("expected a list of queries, found one string: put it in a list")
    if len(queries) and isinstance(queries[0], dict):
        raise UserError("expected a list of queries, found one chat: put it in a list")
    return [_sound(query if isinstance(query, str) else _chat_text(query, i)) for i, query in enumerate(queries)]


def _sound(text: str) -> str:
    """The text with ? for halves of surrogate pairs, which tokenizers refuse."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _chat_text(chat: Chat, number: int) -> str:
    if not isinstance(chat, (list, tuple)) or not all(isinstance(m, dict) and "content" in m for m in chat):
        raise UserError(
            f"query {number}: expected a text or a list of messages with role and content, found {type(chat).__name__}"
        )
    contents = []
    for message in chat:
        content = message["content"]
        if isinstance(content, (list, tuple)):
            content = "\n".join(part.get("text") or "" for part in content if part.get("type") == "text")
        contents.append(content or "")  # an assistant message that only calls a tool has no content
    return "\n\n".join(text for text in contents if text)
