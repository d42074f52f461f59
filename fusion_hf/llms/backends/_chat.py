"""Chats for models that read text only."""

from ...errors import UserError
from ...messages import plain_message
from . import BackendError


def plain_chat(messages: list[dict], name: str) -> list[dict]:
    """The messages with texts as contents.

    Raises `BackendError` (kind ``bad_request``) that names what is no text: it is not left out in silence.
    """
    if all(isinstance(message.get("content"), str) for message in messages):
        return messages
    result = []
    for number, message in enumerate(messages):
        try:
            plain, others = plain_message(message)
        except UserError as error:
            raise BackendError("bad_request", f"message {number}: {error}") from None
        others = [kind for kind in others if kind != "tool_calls"]  # chat templates write them
        if others:
            raise BackendError("bad_request", f"message {number} has {', '.join(others)}, and {name} reads text only")
        result.append(plain)
    return result
