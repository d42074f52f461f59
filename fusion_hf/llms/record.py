"""What a run of the collector leaves: a row for each outcome, its figures, and the bar that shows them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from ..logs.select import TRUNCATED
from ..logs.shards import ShardWriter
from ..tasks.modes import candidate_id
from .backends import KINDS, BackendError, Reply, well_formed
from .requests import Request
from .runner import Runner

UNLOGGED = ("messages", "max_tokens")  # fields of a request that are no columns of the log


@dataclass
class Summary:
    """What a run did. ``read == kept + sum(dropped.values())`` always.

    Attributes:
        read: Requests that were read.
        kept: Requests whose answer is in the log now, `resumed` included.
        resumed: Those that an earlier run had answered; they were not asked again.
        dropped: Requests without an answer, by reason: a kind of error (its row says what happened and is asked again
            by the next run), or ``budget``, ``endpoint_down``, ``interrupted``, ``duplicate``.
        retried: Tries that failed and were repeated, by kind of error.
        cut: Answers of this run that ended at their limit of tokens, by ``<task>/<candidate>``.
        usd: What the answers of this run cost; where the server did not count tokens, by an estimate of them.
        usd_total: The same for everything in the folder.
        usd_reported: What the servers said that those of this run cost, where they said it.
        seconds: How long the run took.
        stopped: Endpoints that were left alone, and why.
        interrupted: Whether a signal ended the run; then not all requests may have been read.
    """

    read: int = 0
    kept: int = 0
    resumed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    usd: float = 0.0
    usd_total: float = 0.0
    usd_reported: float = 0.0
    seconds: float = 0.0
    stopped: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {k: dict(v) if isinstance(v, dict) else v for k, v in vars(self).items()}


def outcome(run: Mapping[str, Any]) -> tuple[int, str | None]:
    """(exit code of a command, what to say) by the figures of a `Summary`.

    130 where a signal ended the run, as shells have it; 1 where requests were tried and none got an answer; else 0.
    """
    reasons = ", ".join(f"{reason} {count}" for reason, count in run["dropped"].items() if count)
    if run["interrupted"]:
        return 130, f"interrupted: {run['kept']} answers are kept, the same command goes on"
    if run["kept"] == run["resumed"] and any(run["dropped"].get(kind) for kind in (*KINDS, "endpoint_down")):
        return 1, f"no request got an answer ({reasons}): the same command asks again"
    return 0, None


class Progress:
    """A bar on stderr: rows a second, USD and, where the number of requests is known, the time left."""

    def __init__(self, requests: Iterable[Request], total: int | None, shown: bool):
        total = len(requests) if total is None and isinstance(requests, Sequence) else total
        self._bar = tqdm(total=total, desc="collect", unit="row", disable=None if shown else True, dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def update(self, summary: Summary, rows: int = 1) -> None:
        """So many more requests are done."""
        if self._bar.update(rows):
            self._bar.set_postfix({"usd": f"{summary.usd:.4g}", "dropped": summary.dropped.total()}, refresh=False)


class Recorder:
    """Makes rows of a shard and figures of a summary from the outcomes of a `Runner`."""

    def __init__(self, writer: ShardWriter, summary: Summary, done: Callable[[Summary], None] = lambda summary: None):
        self.writer, self.summary, self.done = writer, summary, done

    def answer(self, request: Request, reply: Reply, usd: float | None) -> None:
        """An answer, and what it cost."""
        self.writer.write(log_row(request, reply, usd, None))
        self.summary.kept += 1
        if (reply.finish_reason or "").lower() in TRUNCATED:
            self.summary.cut[f"{request.task}/{candidate_id(request.llm, request.mode)}"] += 1
        self.summary.usd += usd or 0.0
        self.summary.usd_total += usd or 0.0
        self.summary.usd_reported += reply.reported_cost or 0.0
        self.done(self.summary)

    def error(self, request: Request, error: BackendError) -> None:
        """A request that failed in all its tries."""
        self.writer.write(log_row(request, None, None, error))
        self.drop(request, error.kind)

    def drop(self, request: Request, reason: str) -> None:
        """A request that was not asked."""
        self.summary.dropped[reason] += 1
        self.done(self.summary)

    def finish(self, runner: Runner) -> None:
        """What only the runner knows."""
        self.summary.retried = runner.retried
        self.summary.stopped = {e.name: e.down for e in runner.endpoints.values() if e.down}
        self.summary.interrupted = runner.stop.is_set()


def log_row(request: Request, reply: Reply | None, usd: float | None, error: BackendError | None) -> dict[str, Any]:
    """The log row of an outcome; grades come later."""
    row: dict[str, Any] = {name: _clean(getattr(request, name)) for name in Request.__slots__ if name not in UNLOGGED}
    if reply is None:
        return row | {"response": None, "error": well_formed(f"{error.kind}: {error}"[:500])}
    row |= {
        "response": reply.text,
        "finish_reason": reply.finish_reason,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "reasoning_tokens": reply.reasoning_tokens,
        "usage_source": reply.usage_source,
        "cost": usd,
        "latency_s": round(reply.latency_s, 4),
    }
    names = ("reasoning", "cached_tokens", "served_model", "reported_cost", "mean_logprob")
    more = {name: getattr(reply, name) for name in names}
    return row | {name: value for name, value in more.items() if value is not None}


def _clean(value: Any) -> Any:
    """A field of a request as a file can hold it: sources have halves of surrogate pairs too."""
    if isinstance(value, str):
        return well_formed(value)
    return [_clean(item) for item in value] if isinstance(value, list) else value
