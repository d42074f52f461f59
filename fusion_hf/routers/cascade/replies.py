"""What one answer says by itself about being right: what it is, how it is written, and how sure its LLM was of it.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

import re
from collections.abc import Sequence

import numpy as np

LABELS = ("A", "B", "C", "D", "E", "True", "False")
_HEDGE = re.compile(
    r"(?i)\b(?:however|not sure|unclear|unsure|assum\w+|perhaps|ambiguous|since .{1,60} (?:can't|cannot))\b"
)
_REFUSAL = re.compile(r"(?i)\b(?:sorry|as an ai|i cannot|i can't|i do not|i don't|unable to|apologi[sz]e)\b")
_MARKED = re.compile(r"####|\\boxed|\[DONE\]|(?i:\banswer is\b)")
SIGNS = 16
COLUMNS = 1 + SIGNS + len(LABELS) + 1
LOGPROB = COLUMNS - 1  # the last one: checkpoints from before it was there know the others
LEAST_KNOWN = 20  # answers of a candidate with a log-probability, below which none is looked at
PENALTY = 20.0  # of the logistic regression on standardised signs
STEPS = 6  # of Newton's method


class Answer(str):
    """A final answer, as `.answers.read_answer` finds it; empty where the response could not be read.

    Two answers agree if they are equal and not empty.

    Attributes:
        signs: How the response is written (see `signs`); None where only the answer is known.
        mean_logprob: Mean log-probability of its tokens, in nats; None where it was not measured.
    """

    signs: tuple[float, ...] | None = None
    mean_logprob: float | None = None

    @classmethod
    def of(cls, answer: str | None, response: str, mean_logprob: float | None = None) -> "Answer":
        """The answer that was read in `response`, with its signs."""
        result = cls(answer or "")
        result.signs, result.mean_logprob = signs(answer or "", response), mean_logprob
        return result


def signs(answer: str, response: str) -> tuple[float, ...]:
    """The `SIGNS`: of the response length, hedges, refusal, a marked answer, a proper end and lines; how the answer is
    written (a number, a literal with quotes or brackets, LaTeX, words)."""
    text = response.strip()
    return (
        float(np.log1p(len(text))), float(bool(_HEDGE.search(text))), float(bool(_REFUSAL.search(text[:400]))),
        float(bool(_MARKED.search(text))), float(text[-1:].isalnum()), float("/" in answer or "." in answer),
        float(np.log1p(text.count("\n"))), float(np.log1p(len(answer))), float('"' in answer), float("'" in answer),
        float(answer[:1] in tuple("[({")), float("{" in answer), float(answer.lstrip("-").isdigit()),
        float(" " in answer), float("\\" in answer), float(answer[:1].isalpha()),
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
        row[1 + SIGNS : LOGPROB] = [answer == label for label in LABELS]
        logprob = getattr(answer, "mean_logprob", None)
        if logprob is not None:
            row[LOGPROB] = np.exp(logprob)  # a probability: of very unlikely answers all are alike
    return rows


def fit_replies(features: np.ndarray, score: np.ndarray, odds: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Maps from `reply_features` to a shift of the log-odds of being right: float32 [m, 3, COLUMNS].

    What is written says much the same whoever wrote it, so one logistic regression learns from all candidates, and a
    second one for each candidate what is its own. A map is (mean, 1 / spread, weight) of every feature. Mean and spread
    are those of all candidates, but of log-probabilities each candidate has its own: some LLMs are surer than others.

    Args:
        features: float64 [n, m, COLUMNS].
        score: 0..1, float64 [n, m], NaN where not measured.
        odds: Log-odds that were expected of each candidate, float64 [n, m].
        weight: Of the rows, float64 [n].
    """
    weight = np.where(np.isnan(score) | np.isnan(features[..., 0]), 0.0, weight[:, None])  # [n, m]
    score, known = np.nan_to_num(score), ~np.isnan(features)
    counts = known * weight[..., None]
    total = np.maximum(counts.sum((0, 1)), 1e-9)
    mean = (np.nan_to_num(features) * counts).sum((0, 1)) / total
    spread = np.sqrt((np.where(known, (features - mean) ** 2, 0) * counts).sum((0, 1)) / total)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
    mean, scale = (np.tile(v, (features.shape[1], 1)) for v in (mean, scale))  # [m, COLUMNS]
    mean[:, LOGPROB], scale[:, LOGPROB] = _by_candidate(features[..., LOGPROB], counts[..., LOGPROB])
    z = np.where(known, (features - mean) * scale, 0.0)
    shared = _logistic(z.reshape(-1, z.shape[2]), score.ravel(), odds.ravel(), weight.ravel())
    columns = range(z.shape[1])
    own = [_logistic(z[:, c], score[:, c], odds[:, c] + z[:, c] @ shared, weight[:, c]) for c in columns]
    return np.stack([mean, scale, shared + np.array(own)], 1).astype(np.float32)


def _by_candidate(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, 1 / spread) of each column of values [n, m]; a spread of 0 / 1 where too few are known."""
    values, total = np.nan_to_num(values), np.maximum(counts.sum(0), 1e-9)
    mean = (values * counts).sum(0) / total
    spread = np.sqrt(((values - mean) ** 2 * counts).sum(0) / total)
    enough = ((counts > 0).sum(0) >= LEAST_KNOWN) & (spread > 1e-6)
    return mean, np.where(enough, 1 / np.maximum(spread, 1e-6), 0.0)


def uses_logprob(table: np.ndarray) -> bool:
    """Whether a map [3, COLUMNS] looks at log-probabilities."""
    return table.shape[-1] > LOGPROB and bool(table[1, LOGPROB] * table[2, LOGPROB])


def _logistic(z: np.ndarray, score: np.ndarray, odds: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights [d] of a logistic regression with given log-odds and an L2 penalty, by Newton's method."""
    found, penalty = np.zeros(z.shape[1]), PENALTY * np.eye(z.shape[1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(odds + z @ found, -30, 30)))
        slope = z.T @ (weight * (score - chance)) - PENALTY * found
        curve = z.T @ ((weight * chance * (1 - chance))[:, None] * z) + penalty
        found = found + np.linalg.solve(curve, slope)
    return found


def apply_replies(table: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What the maps [..., 3, COLUMNS] of `fit_replies` say of features [..., COLUMNS]; nothing of what is not known."""
    z = (features[..., : table.shape[-1]] - table[..., 0, :]) * table[..., 1, :]
    return (np.where(np.isnan(z), 0.0, z) * table[..., 2, :]).sum(-1)
