"""What one answer says by itself about being right: which option it is, whether it could be read, how it is written.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

import re
from collections.abc import Sequence

import numpy as np

from ..learning.ridge import Ridge

LABELS = ("A", "B", "C", "D", "E", "True", "False")
_HEDGE = re.compile(
    r"(?i)\b(?:however|not sure|unclear|unsure|assum\w+|perhaps|ambiguous|since .{1,60} (?:can't|cannot))\b"
)
_REFUSAL = re.compile(r"(?i)\b(?:sorry|as an ai|i cannot|i can't|i do not|i don't|unable to|apologi[sz]e)\b")
_MARKED = re.compile(r"####|\\boxed|\[DONE\]|(?i:\banswer is\b)")
SIGNS = 7
COLUMNS = 1 + SIGNS + len(LABELS)
PENALTY = 20.0  # of the ridge on standardised signs, in queries


class Answer(str):
    """A final answer, as `.answers.read_answer` finds it; empty where the response could not be read.

    Two answers agree if they are equal and not empty.

    Attributes:
        signs: How the response is written (see `signs`); None where only the answer is known.
    """

    signs: tuple[float, ...] | None = None

    @classmethod
    def of(cls, answer: str | None, response: str) -> "Answer":
        """The answer that was read in `response`, with its signs."""
        result = cls(answer or "")
        result.signs = signs(answer or "", response)
        return result


def signs(answer: str, response: str) -> tuple[float, ...]:
    """The `SIGNS`: length, hedges, refusal, a marked answer, a proper end, an answer that is no whole number, lines."""
    text = response.strip()
    return (
        float(np.log1p(len(text))), float(bool(_HEDGE.search(text))), float(bool(_REFUSAL.search(text[:400]))),
        float(bool(_MARKED.search(text))), float(text[-1:].isalnum()), float("/" in answer or "." in answer),
        float(np.log1p(text.count("\n"))),
    )  # fmt: skip


def reply_features(answers: Sequence[str | None]) -> np.ndarray:
    """Features of answers of one candidate: float64 [n, COLUMNS]; NaN for unknown signs and for missing answers."""
    rows = np.full((len(answers), COLUMNS), np.nan)
    for row, answer in zip(rows, answers, strict=True):
        if answer is None:
            continue
        row[0] = answer == ""
        known = getattr(answer, "signs", None)
        if known is not None:
            row[1 : 1 + SIGNS] = known
        row[1 + SIGNS :] = [answer == label for label in LABELS]
    return rows


def fit_replies(features: np.ndarray, rest: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Linear map from `reply_features` to what is left of a score: float32 [3, COLUMNS] (mean, 1 / spread, weight).

    Args:
        features: float64 [n, COLUMNS].
        rest: Score minus what was expected of the candidate, float64 [n], NaN where not measured.
        weight: Of the rows, float64 [n].
    """
    seen = ~np.isnan(rest) & ~np.isnan(features[:, 0]) & (weight > 0)
    if seen.sum() < 2:
        return np.zeros((3, COLUMNS), np.float32)
    features, rest, weight = features[seen], rest[seen], weight[seen]
    known = ~np.isnan(features)
    total = np.maximum((known * weight[:, None]).sum(0), 1e-9)
    mean = (np.where(known, features, 0) * weight[:, None]).sum(0) / total
    spread = np.sqrt((np.where(known, (features - mean) ** 2, 0) * weight[:, None]).sum(0) / total)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
    z = np.where(known, (features - mean) * scale, 0.0) * np.sqrt(weight)[:, None]
    solved, _ = Ridge(z).solve((rest * np.sqrt(weight))[:, None], PENALTY)
    return np.stack([mean, scale, solved[:, 0]]).astype(np.float32)


def apply_replies(table: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What the maps [..., 3, COLUMNS] of `fit_replies` say of features [..., COLUMNS]; nothing of what is not known."""
    z = (features - table[..., 0, :]) * table[..., 1, :]
    return (np.where(np.isnan(z), 0.0, z) * table[..., 2, :]).sum(-1)
