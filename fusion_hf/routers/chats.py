"""Queries as they come: a text, or a chat as a list of messages.

This file is copied beside checkpoints (see `remote_code`).
"""

import warnings
from collections.abc import Sequence

from ..errors import UserError
from ..messages import message_text

Chat = Sequence[dict]


def as_texts(queries: Sequence[str | Chat]) -> list[str]:
    """One text a query. A chat becomes the texts of its messages, in order, between blank lines.

    Chats have OpenAI's forms (see `fusion_hf.messages`), whoever speaks: system, developer, user, assistant, tool. What
    is not text (pictures, calls of tools) is left out, and a warning names it.

    Raises:
        UserError: A lone string in place of a list, or a query that is neither a text nor a chat.
    """
    if isinstance(queries, str):
        raise UserError("expected a list of queries, found one string: put it in a list")
    if len(queries) and isinstance(queries[0], dict):
        raise UserError("expected a list of queries, found one chat: put it in a list")
    return [_sound(query if isinstance(query, str) else _told(query, i)) for i, query in enumerate(queries)]


def chat_text(chat: Chat) -> str:
    """The same of one chat, and no warning of what is left out: for who hands the whole chat on."""
    return _sound(_chat_text(chat, 0)[0])


def _sound(text: str) -> str:
    """The text with ? for halves of surrogate pairs, which tokenizers refuse."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _told(chat: Chat, number: int) -> str:
    text, others = _chat_text(chat, number)
    if others:
        names = ", ".join(dict.fromkeys(others))
        warnings.warn(f"query {number}: only its text is read, without {names}", stacklevel=4)
    return text


def _chat_text(chat: Chat, number: int) -> tuple[str, list[str]]:
    if not isinstance(chat, (list, tuple)):
        raise UserError(
            f"query {number}: expected a text or a list of messages with role and content, found {type(chat).__name__}"
        )
    texts, others = [], []
    for message in chat:
        try:
            text, more = message_text(message)
        except UserError as error:
            raise UserError(
                f"query {number}: expected a text or a list of messages with role and content: {error}"
            ) from None
        texts.append(text)
        others += more
    return "\n\n".join(text for text in texts if text), others
