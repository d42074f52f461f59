"""The traffic as a log: a row for every call of an LLM, in append-only shards, before the client has the whole answer.

So an exchange that a client saw to its end is in the log, whenever the process is killed. The rows of one request have
its id; the last of them is the answer that the client got. Feedback comes later, in files of its own (see `.feedback`).
"""

import datetime
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..fused.choice import FusedDecision
from ..llms.backends import BackendError, Reply, well_formed
from ..logs.schema import query_id, split_candidate
from ..logs.shards import ShardWriter, repair
from .request import ChatRequest

logger = logging.getLogger(__name__)
LEVELS = ("full", "metadata", "none")
"""``full``: with the query and the response; ``metadata``: everything else; ``none``: no rows."""
SHARD_ROWS = 50_000
GONE = "client_gone"
REMEMBERED = 20_000


@dataclass(frozen=True)
class Call:
    """One call of an LLM within a request.

    Attributes:
        request_id, client, task: Of the request.
        decision: Who was asked.
        attempt: 1 for the first call of the request.
        propensity: Probability with which the candidate was chosen; None for those that stand in for others.
        explored: Whether it was drawn at random.
    """

    request_id: str
    client: str
    task: str
    decision: FusedDecision
    attempt: int
    propensity: float | None = None
    explored: bool = False


class TrafficLog:
    """Writes rows to shards in a folder.

    Rows for which the disk has no room wait, the latest `REMEMBERED` of them, and are written before the next ones:
    who asks gets an answer all the same.

    Args:
        folder: Where; None writes nothing.
        level: See `LEVELS`.

    Attributes:
        recent: The latest requests: id -> client.
    """

    def __init__(self, folder: str | Path | None, level: str):
        check_level(level)
        self.folder = None if folder is None or level == "none" else Path(folder)
        self.level = level
        self.rows = 0
        self.recent: OrderedDict[str, str] = OrderedDict()
        self._writer: ShardWriter | None = None
        self._waiting: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._lost = 0
        self._told = False
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            repair(self.folder)

    def write(
        self, call: Call, request: ChatRequest, reply: Reply | None, usd: float | None, error: str | None = None
    ) -> None:
        """Append the row of a call; when it returns, the row survives the death of the process (a full disk apart)."""
        if self.folder is None:
            return
        self._lost += len(self._waiting) == REMEMBERED
        self._waiting.append(self._row(call, request, reply, usd, error))
        self.recent[call.request_id] = call.client
        if len(self.recent) > REMEMBERED:
            self.recent.popitem(last=False)
        self._write_waiting()

    def close(self) -> None:
        """Write what waits, and end the shard; the next row begins a new one."""
        self._write_waiting()
        if self._lost or self._waiting:
            logger.error("%s: %d rows of the log are lost", self.folder, self._lost + len(self._waiting))
        self._end_shard()

    def _write_waiting(self) -> None:
        try:
            while self._waiting:
                if self._writer is None:
                    self._writer = ShardWriter(self.folder, "served")
                self._writer.write(self._waiting[0])
                self._waiting.popleft()
                self.rows += 1
                if self.rows % SHARD_ROWS == 0:
                    self._end_shard()
        except (OSError, UserError) as error:
            if not self._told:
                self._told = True
                logger.error(
                    "the log cannot be written: requests are answered all the same, and up to %d rows wait until it "
                    "can; %s", REMEMBERED, error,
                )  # fmt: skip
        else:
            self._told = False

    def _end_shard(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _row(
        self, call: Call, request: ChatRequest, reply: Reply | None, usd: float | None, error: str | None
    ) -> dict[str, Any]:
        full = self.level == "full"
        query = well_formed(request.text) if full else ""
        llm, mode = split_candidate(call.decision.candidate)
        row: dict[str, Any] = {
            "query_id": query_id(call.task, call.request_id, query),
            "task": call.task,
            "source_id": call.request_id,
            "query": query,
            "ground_truth": [],
            "metric": "",
            "llm": llm,
            "mode": mode,
        }
        if reply is not None:
            row |= {
                "response": reply.text if full else None,
                "reasoning": reply.reasoning if full else None,
                "finish_reason": reply.finish_reason,
                "input_tokens": reply.input_tokens,
                "output_tokens": reply.output_tokens,
                "reasoning_tokens": reply.reasoning_tokens,
                "cached_tokens": reply.cached_tokens,
                "usage_source": reply.usage_source,
                "cost": usd,
                "reported_cost": reply.reported_cost,
                "served_model": reply.served_model,
                "latency_s": round(reply.latency_s, 4),
                "mean_logprob": reply.mean_logprob,
            }
        row |= {
            "error": None if error is None else well_formed(error[:500]),
            "request_id": call.request_id,
            "session": request.session,
            "client": call.client,
            "served_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "attempt": call.attempt,
            "propensity": call.propensity,
            "explored": call.explored,
        }
        return {name: value for name, value in row.items() if value is not None}


def check_level(level: str) -> None:
    """Raise `UserError` for what is none of `LEVELS`."""
    if level not in LEVELS:
        raise UserError(f"log: expected one of {', '.join(LEVELS)}, found {level!r}")


def error_text(error: BackendError) -> str:
    """An error as rows have it."""
    return f"{error.kind}: {error}"
