"""The choosing half of a fused system: the task that a query comes from, and who should answer it; nobody is asked."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..logs.rewards import SCENARIOS
from ..routers import Router, load_router
from ..routers.chats import Chat, as_texts
from .choice import FusedDecision, decision, from_log
from .config import inside, read_config
from .ranking import Asked, Ranking, rank_by_router


class Chooser:
    """Chooses the configuration that won on a query's task, and by it the candidate.

    Args:
        folder: What `fusion_hf.fused.write_fused` wrote.
    """

    def __init__(self, folder: str | PathLike[str]):
        self.folder = Path(folder)
        self.config = read_config(self.folder)
        self._routers: dict[str, Router] = {}

    @property
    def tasks(self) -> list[str]:
        """The tasks that it knows."""
        return list(self.config["tasks"])

    @property
    def scenarios(self) -> list[str]:
        """Trade-offs that can be asked for."""
        return [name for name, trade in SCENARIOS.items() if trade.score == "performance"]

    @cached_property
    def candidates(self) -> list[str]:
        """All candidates that may answer."""
        return sorted({c for entry in self.config["tasks"].values() for c in entry["candidates"]})

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
        return [options[0] for options in self._options(queries, tasks, scenario, max_cost, candidates)]

    def _options(
        self, queries: Sequence[str | Chat], tasks: Any, scenario: Any, max_cost: Any, candidates: Any
    ) -> list:
        """Who may answer each query, best first; see `plan`."""
        texts = as_texts(queries)
        names = self._tasks(texts, tasks)
        unknown = sorted(set(candidates or ()) - set(self.candidates))
        if unknown:
            raise UserError(f"unknown candidate {unknown[0]!r}: this system knows {', '.join(self.candidates)}")
        pairs = zip(texts, names, strict=True)
        rankings = self.rank([Asked(text, task, scenario, max_cost, candidates) for text, task in pairs])
        options = []
        for ranking in rankings:
            if isinstance(ranking, UserError):
                raise ranking
            options.append(ranking.options)
        return options

    def rank(self, asked: Sequence[Asked], explain: bool = False) -> list[Ranking | UserError]:
        """All candidates of each query in the order in which they should answer; nobody is asked.

        A query that asks for what cannot be has a `UserError` in its place, and the others are not harmed.

        Args:
            asked: The queries and what is asked of the choice.
            explain: Also look up the nearest logged queries, where a router chooses.
        """
        tasks = self._tasks([a.text for a in asked], [a.task for a in asked])
        result: dict[int, Ranking | UserError] = {}
        by_system: dict[str, list[int]] = {}
        for row, task in enumerate(tasks):
            by_system.setdefault(self.config["tasks"][task]["system"], []).append(row)
        for name, rows in by_system.items():
            result |= self._rank_by(name, {row: replace(asked[row], task=tasks[row]) for row in rows}, explain)
        return [result[row] for row in range(len(asked))]

    def _rank_by(self, name: str, asked: dict[int, Asked], explain: bool) -> dict[int, Ranking | UserError]:
        """Rankings by one configuration, for queries of the tasks that it won."""
        spec = self.config["systems"][name]
        result: dict[int, Ranking | UserError] = {}
        if spec["kind"] == "router":
            router = self._router(spec["router"])
            known = {row: replace(one, candidates=kept) for row, one in asked.items() if (kept := _kept(router, one))}
            found = rank_by_router(router, list(known.values()), name, spec["scenario"], explain)
            result = dict(zip(known, found, strict=True))
        for row in asked.keys() - result.keys():
            task = str(asked[row].task)
            try:
                result[row] = Ranking(task, self._of_task(task, name, asked[row]))
            except UserError as error:
                result[row] = error
        return result

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

    def _of_task(self, task: str, name: str, one: Asked) -> list[FusedDecision]:
        """The candidate that a configuration asks, if that keeps to what is asked for, and then by the log."""
        entry, chosen = self.config["tasks"][task], self.config["systems"][name].get("candidate")
        first = []
        if chosen is not None and one.scenario is None and (one.candidates is None or chosen in one.candidates):
            plain = decision(task, name, chosen, entry)
            if one.max_cost is None or (plain.cost is not None and plain.cost <= one.max_cost):
                first = [plain]
        try:
            others = from_log(task, entry, one.scenario, one.max_cost, one.candidates, one.saved)
        except UserError:
            if not first:
                raise
            others = []
        if not first:
            return others
        reward = {d.candidate: d.reward or 0.0 for d in others}
        ahead = [
            d
            for d in others
            if d.candidate in one.saved and d.candidate != chosen and reward[d.candidate] >= reward.get(chosen, np.inf)
        ]
        # An LLM that has the prompt cached goes before an equal one.
        return ahead + first + [d for d in others if d.candidate != chosen and d not in ahead]

    def _router(self, path: str) -> Router:
        if path not in self._routers:
            self._routers[path] = load_router(inside(self.folder, path, "router"))
        return self._routers[path]


def _kept(router: Router, one: Asked) -> list[str]:
    """The candidates that the router knows, of those to choose from."""
    return [c for c in router.candidates if one.candidates is None or c in one.candidates]
