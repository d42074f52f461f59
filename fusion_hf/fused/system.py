"""A fused system: for every task the configuration that won on validation, as one thing to load, call and push."""

import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..llms.collect import collect
from ..llms.pool import Pool, load_pool
from ..logs.schema import split_candidate
from ..logs.shards import latest_rows
from ..pushable import Pushable
from ..routers import Router, load_router
from ..routers.chats import Chat, as_texts
from ..thoughts.ask import Chat as Asked
from ..thoughts.ask import apart
from .asking import Thoughts, chats
from .choice import FusedDecision, decision, from_log
from .config import POOL_FILE, inside, read_config, snapshot


@dataclass(frozen=True)
class FusedAnswer:
    """An answer of a fused system.

    Attributes:
        text: The reply; empty where there is none.
        decision: Who was asked, and why.
        finish_reason, input_tokens, output_tokens, cost, latency_s: As in a log row; None where not measured.
        error: Why there is no reply, or None.
    """

    text: str
    decision: FusedDecision
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    latency_s: float | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain JSON types."""
        return {**vars(self), "decision": self.decision.to_dict()}


class FusedSystem(Pushable):
    """Routes every query to the configuration that won on its task, and answers it through a pool of LLMs.

    Load one with `from_pretrained`; ``fusion-hf autofuse`` makes one.

    Args:
        folder: What `fusion_hf.fused.write_fused` wrote.
        pool: How its LLMs are reached; None takes the folder's own ``pool.yaml``.
        keys: Whether the folder's own pool may have API keys of the environment sent to its addresses.
    """

    def __init__(self, folder: str | Path, pool: Pool | None = None, keys: bool = True):
        self.folder = Path(folder)
        self.config = read_config(self.folder)
        self.pool = load_pool(self.folder / POOL_FILE) if pool is None else pool
        self.keys = keys or pool is not None
        self._routers: dict[str, Router] = {}

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        pool: Pool | str | Path | None = None,
        *,
        keys: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> "FusedSystem":
        """Load a fused system. Nothing in it is run as code.

        Args:
            path: Folder or Hub id.
            pool: Your own pool, or its file: another way to reach the LLMs that the system names.
            keys: Whether the system's own pool file may have API keys of your environment sent to the addresses in it.
                None: yes for a folder, no for what comes from the Hub, where somebody else wrote those addresses.
            revision, token: As in ``huggingface_hub.snapshot_download``.

        Raises:
            UserError: Nothing is there, or it is no fused system.
        """
        local = Path(path).is_dir()
        folder = Path(path) if local else snapshot(str(path), revision, token)
        pool = load_pool(pool) if isinstance(pool, (str, Path)) else pool
        return cls(folder, pool, local if keys is None else keys)

    @property
    def tasks(self) -> list[str]:
        """The tasks that it knows."""
        return list(self.config["tasks"])

    @cached_property
    def candidates(self) -> list[str]:
        """All candidates that may answer."""
        return sorted({c for entry in self.config["tasks"].values() for c in entry["candidates"]})

    def __repr__(self) -> str:
        return f"FusedSystem({str(self.folder)!r}, {len(self.tasks)} tasks, {len(self.candidates)} candidates)"

    def recognise(self, queries: Sequence[str | Chat]) -> list[str]:
        """The task that each query seems to come from: always one of `tasks`."""
        if not len(queries):
            return []
        found = self._router(self.config["recogniser"]).predict(queries).tasks
        return [next(iter(shares)) for shares in found or []]

    def plan(
        self,
        queries: Sequence[str | Chat],
        tasks: Sequence[str | None] | str | None = None,
        scenario: str | None = None,
        max_cost: float | None = None,
        candidates: Collection[str] | None = None,
    ) -> list[FusedDecision]:
        """Choose who answers each query; nobody is asked.

        Args:
            queries: Texts, as asked in direct mode, or chats.
            tasks: Task of each query, or of all; None has it recognised.
            scenario: A trade-off (performance, balance, cost) in place of the one that each configuration was chosen
                with.
            max_cost: USD that an answer may be expected to cost.
            candidates: Choose among these only, because some cannot be reached, say.

        Raises:
            UserError: Unknown task, scenario or candidate, or no candidate is left.
        """
        texts = as_texts(queries)
        names = self._tasks(texts, tasks)
        unknown = sorted(set(candidates or ()) - set(self.candidates))
        if unknown:
            raise UserError(f"unknown candidate {unknown[0]!r}: this system knows {', '.join(self.candidates)}")
        by_system: dict[str, list[int]] = {}
        for row, task in enumerate(names):
            by_system.setdefault(self.config["tasks"][task]["system"], []).append(row)
        result: dict[int, FusedDecision] = {}
        for system, rows in by_system.items():
            part = [texts[r] for r in rows]
            found = self._decide(system, part, [names[r] for r in rows], scenario, max_cost, candidates)
            result |= dict(zip(rows, found, strict=True))
        return [result[row] for row in range(len(texts))]

    def _tasks(self, texts: list[str], tasks: Sequence[str | None] | str | None) -> list[str]:
        given = [tasks] * len(texts) if tasks is None or isinstance(tasks, str) else list(tasks)
        if len(given) != len(texts):
            raise UserError(f"tasks: expected one a query, {len(texts)}, found {len(given)}")
        unknown = sorted({t for t in given if t is not None} - set(self.config["tasks"]))
        if unknown:
            raise UserError(
                f"unknown task {unknown[0]!r}: expected one of {', '.join(self.tasks)}, or None to have it recognised"
            )
        recognised = iter(self.recognise([text for text, task in zip(texts, given, strict=True) if task is None]))
        return [next(recognised) if task is None else task for task in given]

    def _decide(
        self,
        name: str,
        texts: list[str],
        tasks: list[str],
        scenario: str | None,
        max_cost: float | None,
        candidates: Collection[str] | None,
    ) -> list[FusedDecision]:
        """Decisions of one configuration for queries of the tasks that it won."""
        spec = self.config["systems"][name]
        if spec["kind"] == "router":
            router = self._router(spec["router"])
            allowed = [c for c in router.candidates if candidates is None or c in candidates]
            if allowed:
                chosen = router.route(texts, scenario or spec["scenario"], max_cost=max_cost, candidates=allowed)
                return [
                    FusedDecision(task, name, d.candidate, d.performance, d.cost)
                    for task, d in zip(tasks, chosen, strict=True)
                ]
        by_task = {task: self._of_task(task, name, scenario, max_cost, candidates) for task in set(tasks)}
        return [by_task[task] for task in tasks]

    def _of_task(
        self, task: str, name: str, scenario: str | None, max_cost: float | None, candidates: Collection[str] | None
    ) -> FusedDecision:
        """The candidate that a configuration asks, if that keeps to what is asked for, else by the log."""
        entry, chosen = self.config["tasks"][task], self.config["systems"][name].get("candidate")
        if chosen is not None and scenario is None and (candidates is None or chosen in candidates):
            plain = decision(task, name, chosen, entry)
            if max_cost is None or (plain.cost is not None and plain.cost <= max_cost):
                return plain
        return from_log(task, entry, scenario, max_cost, candidates)

    def _router(self, path: str) -> Router:
        if path not in self._routers:
            self._routers[path] = load_router(inside(self.folder, path, "router"))
        return self._routers[path]

    @cached_property
    def _thoughts(self) -> dict[str, Thoughts]:
        return {
            llm: Thoughts(str(inside(self.folder, t["templates"], "templates")), t["k"], t["asked"])
            for llm, t in self.config["thoughts"].items()
        }

    def __call__(
        self,
        queries: Sequence[str | Chat],
        tasks: Sequence[str | None] | str | None = None,
        *,
        scenario: str | None = None,
        max_cost: float | None = None,
        candidates: Collection[str] | None = None,
        folder: str | Path | None = None,
        **running: Any,
    ) -> list[FusedAnswer]:
        """Answer queries: `plan`, then ask all LLMs that were chosen at the same time.

        LLMs that run in this process are loaded anew by each call: hand over many queries at once.

        Args:
            queries, tasks, scenario, max_cost, candidates: See `plan`.
            folder: Where the answers are kept, so that nothing is asked twice; None keeps nothing.
            **running: Options of the collector (``max_usd``, ``concurrency``, ``retries``, ``progress``, …).

        Returns:
            An answer a query, in order. One that failed for good has its ``error`` set; the others are not lost.
        """
        decisions = self.plan(queries, tasks, scenario, max_cost, candidates)
        pool = self._needed({split_candidate(d.candidate)[0] for d in decisions})
        asked = self._asked(queries, decisions)
        with tempfile.TemporaryDirectory() as temporary:
            out, options = folder or temporary, {"progress": False, **running}
            requests = [chat.request(llm) for chat, llm in asked]
            if requests:
                unique = list({r.key: r for r in requests}.values())
                apart(lambda: collect(pool, unique, out, **options))
            rows = {(row["query_id"], row["llm"]): row for row in latest_rows(out)}
        return [_answer(d, rows.get((chat.key, llm))) for d, (chat, llm) in zip(decisions, asked, strict=True)]

    def _asked(self, queries: Sequence[str | Chat], decisions: list[FusedDecision]) -> list[tuple[Asked, str]]:
        """(chat, LLM) of every query."""
        result: dict[int, tuple[Asked, str]] = {}
        for candidate in dict.fromkeys(d.candidate for d in decisions):
            llm, mode = split_candidate(candidate)
            rows = [i for i, d in enumerate(decisions) if d.candidate == candidate]
            sent = chats([queries[i] for i in rows], mode, self._thoughts.get(llm))
            for row, messages in zip(rows, sent, strict=True):
                result[row] = (Asked(decisions[row].task, "", messages), llm)
        return [result[i] for i in range(len(decisions))]

    def _needed(self, llms: set[str]) -> Pool:
        pool = self.pool.select(sorted(llms))
        for llm in pool.values():
            if llm.api_key_env and not self.keys:
                raise UserError(
                    f"{llm.name}: the pool of this system would have the key in {llm.api_key_env} sent to "
                    f"{llm.base_url or llm.backend}: pass keys=True if you trust whoever wrote it, or your own pool="
                )
        return pool

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Copy the whole system to a folder."""
        target = Path(save_directory)
        if target.resolve() != self.folder.resolve():
            shutil.copytree(self.folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".cache", ".git*"))


def _answer(chosen: FusedDecision, row: dict[str, Any] | None) -> FusedAnswer:
    if row is None or row.get("error") is not None:
        return FusedAnswer("", chosen, error="not asked" if row is None else row["error"])
    measured = ("finish_reason", "input_tokens", "output_tokens", "cost", "latency_s")
    return FusedAnswer(row["response"] or "", chosen, **{name: row[name] for name in measured})
