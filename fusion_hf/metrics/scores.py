"""What the metrics return, from plain lists: the same graders, rewards and areas that everything else here uses."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..errors import UserError
from ..logs.arrays import COLUMNS, RoutingData
from ..logs.grade_table import grade_table
from ..logs.log import read_log
from ..logs.rewards import Scaling, Scenario, get_scenario
from ..logs.stats import aiq, bootstrap_ci, hull, mean, number
from ..routers.measuring.anchors import choices, figures, outcome, shared
from ..tasks import TASKS
from ..tasks.graders import GRADERS, VERSIONS


def graded(
    metric: str,
    predictions: Sequence[str | None],
    references: Sequence[Sequence[str]],
    queries: Sequence[str] | None = None,
    version: str = "strict",
) -> dict:
    """Grade responses.

    Args:
        metric: A grader (``gsm8k``, ``math``, ``em_mc``, ``cem``, ``code_eval``) or a task that uses one.
        predictions: Responses of an LLM; None means that none was given, and it is left out of the mean.
        references: For each, the reference answers that count.
        queries: As asked; multiple choice reads the labels and options from them.
        version: ``strict`` or ``paper``.

    Returns:
        ``fusion_grade`` (mean score, 0..1; None without any response), ``scores`` and ``extracted``, one a response.

    Raises:
        UserError: Unknown metric or version, lists of different lengths, or no reference answer.
    """
    name = TASKS[metric].metric if metric in TASKS else metric
    if name not in GRADERS:
        known = ", ".join([*GRADERS, *TASKS])
        raise UserError(f"unknown grader or task {metric!r}: expected a config such as gsm8k, one of {known}")
    if version not in VERSIONS:
        raise UserError(f"unknown grader version {version!r}: expected one of {', '.join(VERSIONS)}")
    queries = [""] * len(predictions) if queries is None else list(queries)
    if not len(predictions) == len(references) == len(queries):
        raise UserError(
            f"expected as many references and queries as predictions ({len(predictions)}), found {len(references)} "
            f"and {len(queries)}"
        )
    if any(isinstance(each, str) or not len(each) for each in references):
        raise UserError("references: expected a list of reference answers for each prediction, with at least one in it")
    columns = {
        "metric": [name] * len(predictions),
        "response": list(predictions),
        "ground_truth": [list(each) for each in references],
        "query": queries,
    }
    kinds = {"ground_truth": pa.list_(pa.string())}
    table = pa.table({key: pa.array(value, kinds.get(key, pa.string())) for key, value in columns.items()})
    table = grade_table(table, version)
    scores = table["performance"].to_pylist()
    given = [score for score in scores if score is not None]
    average = sum(given) / len(given) if given else None
    return {"fusion_grade": average, "scores": scores, "extracted": table["extracted"].to_pylist()}


def rewarded(
    picks: Sequence[str],
    query_ids: Sequence[str],
    bench: str | Path,
    split: str = "test",
    scenario: str = "balance",
    alpha: float | None = None,
    beta: float | None = None,
) -> dict:
    """Reward of choices that any router made: alpha * performance - beta * cost, scaled a task on the train split.

    Args:
        picks: Candidate that was chosen for each query.
        query_ids: The queries, by the log's ``query_id``.
        bench: FusionBench folder or Hub id that holds `split` and ``train``.
        split: The split of the queries.
        scenario: Trade-off by name; `alpha` and `beta` (0 where not given) take its place.

    Returns:
        ``routing_reward``, ``performance`` (0..1), ``cost_usd`` (a query), ``ci95`` of the reward, ``best_single`` (the
        reward of the candidate that is best on train), ``oracle``, the ``queries`` that all of these stand on, and
        ``missing`` (choices that were not measured; they are left out, as is a query without the best single one).

    Raises:
        UserError: A query or candidate that the split does not have, or lists of different lengths.
    """
    trade = get_scenario(scenario)
    if alpha is not None or beta is not None:
        trade = Scenario(alpha or 0.0, beta or 0.0)
    data = {s: RoutingData.from_table(read_log(bench, s, columns=COLUMNS)) for s in ("train", split)}
    names = [c for c in data[split].candidates if c in data["train"].candidates]
    rows, columns = _places(data[split], names, picks, query_ids)
    test, train = data[split].select(names).subset(rows), data["train"].select(names)
    anchors, rewards = choices(test, train, trade, Scaling.fit(train))
    got = outcome(rewards, columns)
    both = shared(got, outcome(rewards, anchors["best-single"]))
    found = figures(rewards, test, columns, both)
    return {
        "routing_reward": found["reward"],
        "performance": found["performance"],
        "cost_usd": found["cost_usd"],
        "ci95": [number(v) for v in bootstrap_ci(got[both])[1:]],
        "best_single": number(mean(outcome(rewards, anchors["best-single"])[both])),
        "oracle": number(mean(outcome(rewards, anchors["oracle"])[both])),
        "queries": int(both.sum()),
        "missing": int(np.isnan(got).sum()),
    }


def _places(
    data: RoutingData, names: list[str], picks: Sequence[str], query_ids: Sequence[str]
) -> tuple[list[int], np.ndarray]:
    """Row of each query and column of each pick."""
    if len(picks) != len(query_ids) or not len(picks):
        raise UserError(f"expected a pick for each of at least one query, found {len(picks)} for {len(query_ids)}")
    at = {query: i for i, query in enumerate(data.query_ids)}
    for query in query_ids:
        if query not in at:
            raise UserError(f"the log has no query {query!r} in that split: references are the log's query_id")
    for pick in picks:
        if pick not in names:
            raise UserError(f"unknown candidate {pick!r}: expected one of {', '.join(names)}")
    return [at[query] for query in query_ids], np.array([names.index(pick) for pick in picks])


def frontier(quality: Sequence[float], cost: Sequence[float], max_cost: float | None = None) -> dict:
    """AIQ of operating points (see `fusion_hf.logs.stats.aiq`), and the points on the hull.

    Args:
        quality: Mean quality of each operating point, 0..1.
        cost: Its mean cost, in any unit.
        max_cost: Largest cost of everything that is compared; None takes the largest one given.
    """
    if len(quality) != len(cost) or not len(cost):
        raise UserError(f"expected a cost for each of at least one quality, found {len(cost)} for {len(quality)}")
    if not np.isfinite([*quality, *cost]).all() or min(cost) < 0:
        raise UserError("expected finite qualities and costs of at least 0")
    at, best = hull(np.asarray(cost, float), np.asarray(quality, float))
    points = [{"cost": float(c), "quality": float(q)} for c, q in zip(at, best, strict=True)]
    return {"routing_frontier": aiq(np.asarray(cost, float), np.asarray(quality, float), max_cost), "hull": points}
