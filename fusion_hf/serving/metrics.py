"""Figures of a running server: for Prometheus, and as JSON for the page."""

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..fused.choice import FusedDecision

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
ROUTING = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
KEPT = 500
"""Latest latencies of each LLM, from which the page tells quantiles."""


class Metrics:
    """Counters and histograms by LLM. A registry of its own, so that two servers in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_llm = {"labelnames": ("llm",), "registry": self.registry}
        self.requests = Counter(
            "fusion_requests", "Requests by the LLM that answered (none) and the HTTP status", ("llm", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter("fusion_tokens", "Tokens", ("llm", "direction"), registry=self.registry)
        self.usd = Counter("fusion_usd", "USD that answers cost", **by_llm)
        self.failures = Counter("fusion_failures", "Calls that failed", ("llm", "kind"), registry=self.registry)
        self.fallbacks = Counter("fusion_fallbacks", "Requests that went on from this LLM to another", **by_llm)
        self.latency = Histogram("fusion_latency_seconds", "Whole answers", buckets=SECONDS, **by_llm)
        self.first = Histogram("fusion_first_token_seconds", "Time to first token", buckets=SECONDS, **by_llm)
        self.routing = Histogram("fusion_routing_seconds", "Choosing", buckets=ROUTING, registry=self.registry)
        self.in_flight = Gauge("fusion_in_flight", "Requests in flight", registry=self.registry)
        self._began = time.time()
        self._llms: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(("calls", "errors", "usd"), 0.0))
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._expected: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        self._routed = 0
        self._usd_routed = 0.0

    def answered(self, llm: str, usd: float | None, sent: int | None, got: int | None, seconds: float) -> None:
        """An LLM answered."""
        self.usd.labels(llm).inc(usd or 0.0)
        self.tokens.labels(llm, "input").inc(sent or 0)
        self.tokens.labels(llm, "output").inc(got or 0)
        self.latency.labels(llm).observe(seconds)
        entry = self._llms[llm]
        entry["calls"] += 1
        entry["usd"] += usd or 0.0
        self._recent[llm].append(seconds)

    def failed(self, llm: str, kind: str) -> None:
        """A call failed."""
        self.failures.labels(llm, kind).inc()
        self._llms[llm]["errors"] += 1

    def routed(self, options: Sequence[FusedDecision], usd: float | None) -> None:
        """A request was answered whose candidate was chosen among `options`, for `usd` in all."""
        self._routed += 1
        self._usd_routed += usd or 0.0
        for option in options:
            sums = self._expected[option.candidate]
            sums[0] += option.performance
            sums[1] += option.cost or 0.0
            sums[2] += 1

    def text(self) -> bytes:
        """The figures as Prometheus reads them."""
        return generate_latest(self.registry)

    def stats(self) -> dict[str, Any]:
        """The figures for the page.

        ``best_single`` is the candidate with the highest expected score over all requests that were routed, and what
        always asking it would have been expected to cost.
        """
        llms = {}
        for name, entry in self._llms.items():
            recent = list(self._recent[name])
            p50, p95 = np.quantile(recent, [0.5, 0.95]).tolist() if recent else (None, None)
            llms[name] = {**entry, "latency_p50_s": p50, "latency_p95_s": p95}
        everywhere = {c: s for c, s in self._expected.items() if s[2] == self._routed}
        best = max(everywhere, key=lambda c: everywhere[c][0], default=None)
        return {
            "seconds": time.time() - self._began,
            "llms": llms,
            "routed": self._routed,
            "usd_routed": self._usd_routed,
            "best_single": None if best is None else {"candidate": best, "usd_expected": everywhere[best][1]},
        }
