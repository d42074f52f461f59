"""A plan for one query: whom to ask first, when the answers are enough, and whom to ask otherwise.

This file is copied beside checkpoints (see `remote_code`), so it uses numpy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...errors import UserError
from .chains import (
    OFFSET,
    PATTERNS,
    Rules,
    answer_codes,
    best_answer,
    first_equal,
    is_enough,
    pattern_code,
    pattern_name,
)
from .replies import apply_replies, reply_features, uses_logprob

FAILED = 30.0  # log-odds against an answer that never came


@dataclass(frozen=True)
class CascadeStep:
    """What to do next.

    Attributes:
        ask: The candidate to ask now; None where the answers are enough.
        answer: The final answer; None while there is somebody to ask, and where nobody answered.
        candidate: Whose answer that is.
        confidence: Expected performance of the best answer so far; None where there is none yet.
        logprobs: Whether to ask for the log-probabilities of the answer's tokens too: the plan looks at their mean.
    """

    ask: str | None
    answer: str | None = None
    candidate: str | None = None
    confidence: float | None = None
    logprobs: bool = False


@dataclass(frozen=True)
class CascadePlan:
    """Candidates to ask in order, with the rules for stopping. See `next`.

    Attributes:
        chain: Candidates in the order in which they are asked; one alone is an ordinary routing decision.
        performance: Expected performance, 0..1.
        cost: Expected cost in USD of all calls together; None where the training log had no costs.
        reward: Expected reward under the trade-off.
        asks: Chance that each member is asked.
        cost_weight: Performance that a USD is worth to this plan.
        rules: What was learned of each pattern of agreement; None for one candidate.
        query_shift: What the query says about each member being right, in log-odds, [k].
        reply_tables: What each member's answer alone says (see `cascade_replies`), [k, 3, COLUMNS]; None for nothing.
    """

    chain: list[str]
    performance: float
    cost: float | None
    reward: float
    asks: list[float]
    cost_weight: float = 0.0
    rules: Rules | None = field(default=None, repr=False)
    query_shift: np.ndarray | None = field(default=None, repr=False)
    reply_tables: np.ndarray | None = field(default=None, repr=False)

    def next(self, answers: Mapping[str, str | None]) -> CascadeStep:
        """The next step, given the final answers that the first members of the chain gave.

        Args:
            answers: Final answer by candidate, as strings that are equal where answers agree (in fusion_hf:
                `routers.answers.read_answer`). Empty where the response could not be read; None where the call failed,
                which counts as disagreement and is never returned.

        Raises:
            UserError: An answer of a candidate that is not in the plan, or whose turn has not come.
        """
        given = [name in answers for name in self.chain]
        k = sum(given)
        if set(answers) - set(self.chain) or any(given[k:]):
            raise UserError(f"expected answers of the first members of {self.chain}, found {sorted(answers)}")
        if not k:
            return self._ask(0)
        said = [answers[name] for name in self.chain[:k]]
        member, confidence, enough = self._judge(said)
        if k < len(self.chain) and (not enough or said[member] is None):
            return self._ask(k, confidence)
        if said[member] is None:
            member = max((i for i in range(k) if said[i] is not None), default=member)
        return CascadeStep(None, said[member], self.chain[member] if said[member] is not None else None, confidence)

    def _ask(self, k: int, confidence: float | None = None) -> CascadeStep:
        wanted = self.reply_tables is not None and uses_logprob(self.reply_tables[k])
        return CascadeStep(self.chain[k], confidence=confidence, logprobs=wanted)

    def _judge(self, said: list[str | None]) -> tuple[int, float, bool]:
        """(place of the best answer, its expected performance, whether it is enough)."""
        if self.rules is None:
            return 0, self.performance, True
        k = len(said)
        codes = answer_codes(np.array([said], object))
        slot = OFFSET[k - 1] + int(pattern_code(first_equal(codes))[0])
        known = self.query_shift[:k].astype(float)
        if self.reply_tables is not None:
            known = known + apply_replies(self.reply_tables[:k], reply_features(said))
        known = np.where([a is None for a in said], -FAILED, known)
        member, stop = (found[0] for found in best_answer(self.rules, np.array([slot]), known[None]))
        enough = k == len(self.chain) or is_enough(self.rules, self.cost_weight, slot, stop, self.query_shift[-1])
        return int(member), float(stop), bool(enough)

    def describe(self) -> list[str]:
        """The plan in words: after each pattern of agreement that can come up, whose answer is taken or who is asked.

        What a member's answer alone says (`reply_tables`) may still turn a step.
        """
        lines, going = [f"ask {self.chain[0]}"], {0}
        for k in range(1, len(self.chain) + (self.rules is not None)):
            reached = [c for c in range(PATTERNS[k - 1]) if c % PATTERNS[max(k - 2, 0)] in going and _occurs(c, k)]
            going = set()
            for code in reached:
                slot = OFFSET[k - 1] + code
                member, stop = (v[0] for v in best_answer(self.rules, np.array([slot]), self.query_shift[None, :k]))
                last = k == len(self.chain)
                if last or is_enough(self.rules, self.cost_weight, slot, stop, self.query_shift[-1]):
                    right = self.rules.right[member, slot]
                    then = f"take the answer of {self.chain[member]} ({right:.2f} right)"
                else:
                    then = f"ask {self.chain[k]}"
                    going.add(code)
                if k > 1 or code not in going:
                    lines.append(f"after {pattern_name(code, k)}: {then}")
                else:
                    lines[-1] += f", {self.chain[k]}"
        return lines

    def to_dict(self) -> dict:
        """The plan as plain JSON types, for a person."""
        return {
            "chain": list(self.chain), "performance": self.performance, "cost": self.cost, "reward": self.reward,
            "asks": list(self.asks), "rules": self.describe() if self.rules is not None else [],
        }  # fmt: skip


def _occurs(code: int, k: int) -> bool:
    """Whether a pattern goes by this number: some numbers say in a roundabout way what another one says."""
    letters = np.array([[ord(letter) for letter in pattern_name(code, k)]])
    return code == int(pattern_code(first_equal(letters))[0])
