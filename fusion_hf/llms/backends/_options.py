"""Options of an LLM in the pool: which there are, and how a local model generates."""

import difflib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import UserError
from ..pool import LLM

LONGEST_KEY = 4096  # characters; a header of more is refused by most servers


@dataclass(frozen=True)
class Settings:
    """How to generate. Greedy unless `temperature` is above zero.

    Attributes:
        max_tokens: Most tokens of an answer.
        temperature: 0 takes the likeliest token; above 0 samples.
        top_p: Sample among the likeliest tokens that hold this share of probability.
        top_k: Sample among this many tokens; 0 means all.
        seed: Sampling repeats for the same seed and the same batch.
        stop: Texts that end an answer; they are cut off.
        logprobs: Whether to measure the mean log-probability of the answer's tokens.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: bool = False

    def __post_init__(self):
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        object.__setattr__(self, "stop", stop)
        if not isinstance(self.max_tokens, int) or isinstance(self.max_tokens, bool) or self.max_tokens < 1:
            raise UserError(f"expected max_tokens to be a whole number of at least 1, found {self.max_tokens!r}")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"expected temperature >= 0, found {self.temperature}")


def known_options(options: Iterable[str], known: tuple[str, ...], name: str) -> None:
    """Refuse an option that is not `known`; the `UserError` names the LLM, the option and the nearest one."""
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise UserError(f"{name}: unknown option {key!r}{hint}; options are {', '.join(known)}")


def read_key(llm: LLM) -> str | None:
    """The key in the environment variable that the LLM names; None if it names none, a `UserError` if it is empty."""
    if not llm.api_key_env:
        return None
    key = os.environ.get(llm.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"{llm.name}: expected its key in the environment variable {llm.api_key_env}, found none: "
            f"export {llm.api_key_env}=…"
        )
    if not (key.isascii() and key.isprintable()) or len(key) > LONGEST_KEY:
        raise UserError(
            f"{llm.name}: expected the environment variable {llm.api_key_env} to hold one line of at most "
            f"{LONGEST_KEY} ASCII characters, as keys are, found something else"
        )
    return key
