"""The log-probabilities of an answer's tokens, as servers say them, and their mean, which the log keeps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

LEAST = -20.0  # nats; OpenAI writes -9999 for a token that is very unlikely, and a mean would tell of nothing else


def token_logprobs(said: Any) -> list[float]:
    """The log-probabilities in the field ``logprobs`` of a choice, in nats, from `LEAST` to 0; [] without any.

    Chat completions have ``content`` (a list of tokens with ``logprob``), text completions ``token_logprobs`` (a list
    of numbers, or null for the first token of a prompt). A list of either is read too.
    """
    if isinstance(said, Mapping):
        said = said.get("content") or said.get("token_logprobs")
    values = (t.get("logprob") if isinstance(t, Mapping) else t for t in (said if isinstance(said, list) else ()))
    return [min(0.0, max(LEAST, float(v))) for v in values if _is_number(v)]


def mean_logprob(logprobs: Sequence[float]) -> float | None:
    """The mean, in nats; None without tokens."""
    return sum(logprobs) / len(logprobs) if logprobs else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
