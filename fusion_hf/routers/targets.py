"""What the log says of the training queries, as every kind of router learns from it.

This file is copied beside checkpoints (see `remote_code`).
"""

from dataclasses import dataclass, field, replace

import numpy as np

from ..encoders.encoder import TextEncoder


@dataclass
class Targets:
    """What `Router.learn` learns from. Arrays are float64 [n, m], NaN where not measured.

    Attributes:
        tasks: n task names, or None to learn without them.
        raw: ``performance`` (0..1), and where the log has them ``cost`` (USD) and ``judge`` (0..1).
        scaled: The same in units of the task's minimum and span, in which rewards are computed.
        texts: n query texts as they are embedded, without the beginnings that `Router.bare` takes off.
        embedding: Number of leading columns of the features that are the text embedding; 0 without an encoder.
        llms: What the pool says of each candidate's LLM, in column order (``name``, ``size``, ``input_price``,
            ``output_price``, ``description``; {} where nothing is known); None without a pool.
        candidates: Ids, in column order.
        text_encoder: The router's encoder; None without one. `Router.learn` leaves it as it is.
        tuned: An encoder that `Router.learn` trained for this router to hold instead, and its vectors of `texts`.
        answers: Final answer that the graders' extractors read in each response: object [n, m], None where there is
            none; None as a whole where the log was read without responses.
        scenarios: The trade-offs that the log can be measured on, by name: alpha, beta and score.
    """

    tasks: list[str] | None
    raw: dict[str, np.ndarray]
    scaled: dict[str, np.ndarray]
    texts: list[str]
    embedding: int = 0
    llms: list[dict] | None = None
    candidates: list[str] | None = None
    text_encoder: TextEncoder | None = None
    tuned: tuple[TextEncoder, np.ndarray] | None = None
    answers: np.ndarray | None = None
    scenarios: dict[str, dict] = field(default_factory=dict)

    def subset(self, rows: np.ndarray) -> "Targets":
        """The same for some of the queries, without answers."""
        return replace(
            self, tasks=None if self.tasks is None else [self.tasks[i] for i in rows],
            raw={n: v[rows] for n, v in self.raw.items()}, scaled={n: v[rows] for n, v in self.scaled.items()},
            texts=[self.texts[i] for i in rows], answers=None,
        )  # fmt: skip
