"""Small real logs and models, built on the spot; no test uses the network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Programs of the tests do no harm, so they may run as root in a container without namespaces.
os.environ.setdefault("FUSION_HF_SANDBOX_ROOT", "1")

import pytest
from hub_client import endpoint, reader, writer  # noqa: F401  fixtures
from thought_toys import index, rng  # noqa: F401  fixtures

from fusion_hf.logs.schema import query_id, rows_to_table, validate


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Caches of the tests live in a folder of their own."""
    os.environ["FUSION_HF_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def make_rows(n=12, llms=("ant", "bee", "cow"), tasks=("gsm8k", "squad"), split="train"):
    """Log rows of n queries: "ant" is right on gsm8k, "bee" on squad, "cow" on every third query and dear."""
    rows = []
    for i in range(n):
        task = tasks[i % len(tasks)]
        query = f"{split} {i}: how many apples are {i} and {i + 1}?" if task == "gsm8k" else f"{split} {i}: who is it?"
        for k, llm in enumerate(llms):
            right = {"ant": task == "gsm8k", "bee": task == "squad"}.get(llm, i % 3 == 0)
            rows.append(
                {
                    "query_id": query_id(task, str(i), query),
                    "task": task,
                    "source_id": str(i),
                    "query": query,
                    "ground_truth": [str(2 * i + 1)],
                    "metric": "gsm8k" if task == "gsm8k" else "cem",
                    "llm": llm,
                    "mode": "direct",
                    "response": f"#### {2 * i + 1}" if right else "no idea",
                    "finish_reason": "stop",
                    "performance": float(right),
                    "cost": 1e-4 * (k + 1) * (1 + i % 4),
                }
            )
    return rows


@pytest.fixture
def log_rows():
    return make_rows()


@pytest.fixture
def log_table(log_rows):
    return validate(rows_to_table(log_rows))
