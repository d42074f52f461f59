"""A log that a router can learn: which LLM is right depends on the kind of query, and cost on its length."""

import numpy as np

from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.schema import query_id

CANDIDATES = ["bee", "cat", "dog"]
FORMS = {
    "sums": "What is {a} + {b} * {c}? Answer with a number.",
    "code": "def f_{a}(x):\n    return x + {b}\n\nassert f_{a}({c}) == ?\nWrite the missing value.",
    "capitals": "Which city is the capital of country number {a}?\nA. city {b}\nB. city {c}\nC. none\nAnswer:",
}
GOOD = {"sums": 0, "code": 1, "capitals": 2}


def toy_data(n=90, seed=0, costs=True, judge=False, missing=0.0, split="train") -> RoutingData:
    """n queries of three tasks; on each, one candidate is right nine times out of ten and the others one in five."""
    rng = np.random.default_rng([seed, split == "train"])
    tasks = [list(FORMS)[i % 3] for i in range(n)]
    queries = [FORMS[t].format(a=rng.integers(999), b=rng.integers(999), c=rng.integers(999)) for t in tasks]
    right = np.full((n, 3), 0.2)
    right[np.arange(n), [GOOD[t] for t in tasks]] = 0.9
    performance = (rng.random((n, 3)) < right).astype(float)
    cost = np.array([[len(q) * 1e-6 * price for price in (1, 2, 10)] for q in queries])
    nothing = np.full((n, 3), np.nan)
    performance[rng.random((n, 3)) < missing] = np.nan
    return RoutingData(
        [query_id(t, f"{split}-{i}", q) for i, (t, q) in enumerate(zip(tasks, queries, strict=True))],
        queries, tasks, list(CANDIDATES), performance,
        cost if costs else nothing, 0.5 * performance + 0.25 if judge else nothing,
    )  # fmt: skip
