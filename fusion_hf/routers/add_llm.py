"""A new LLM for a trained router from a few dozen scored queries, and the removal of one; nothing is trained again.

What a candidate will do on a query is first guessed as the mean of what the router expects of candidates like it: of
its mode and about its cost and, where a cost is guessed, of its size class and price. The scored queries correct that
guess: scores as `added_score` says. For costs, which are known well, it is an offset and a ridge, as far as leaving one
query out shows that they pay.
"""

from collections.abc import Sequence

import numpy as np
import torch

from ..errors import UserError
from ..logs.arrays import RoutingData
from ..logs.rewards import Scaling
from ..logs.schema import split_candidate
from .added import LOGARITHMIC, QUANTITIES, linear_columns
from .added_score import difficulty, posterior
from .base import Router

FEWEST = 5  # scored queries below which nothing can be said
PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 1e6)  # of the ridge, in queries
PSEUDO = (0.0, 2.0, 5.0, 10.0, 20.0)  # queries that the guess counts as, against the offset
OTHER_MODE, OTHER_SIZE = 0.2, 0.5  # weight of a candidate of the other mode, of another size class
PRICE_WIDTH = np.log(3.0)  # a price three times as high halves the likeness, more or less


def add_to_router(router: Router, data: RoutingData, llm: str, llms: Sequence[dict] | None = None) -> Router:
    """Let a router choose among the candidates of one more LLM, in place.

    Args:
        router: A trained router.
        data: Log arrays that hold the new candidates (``llm``, ``llm_think``). 20 to 50 scored queries are enough; they
            should look like the queries to come. Where they hold scores of the known candidates too, these tell how
            hard the queries were.
        llm: Name of the new LLM.
        llms: Rows of the pool (the config ``llms`` of a FusionBench): size class and prices, for the first guess of
            costs; without them the measured costs say which candidates are like it.

    Returns:
        The same router.

    Raises:
        UserError: The log does not hold the LLM, or too few scored queries; or the router knows it already.
    """
    new = [c for c in data.candidates if split_candidate(c)[0] == llm]
    if not new:
        raise UserError(f"the log holds no answers of {llm}: expected one of {', '.join(data.candidates)}")
    known = [c for c in new if c in router.candidates]
    if known:
        raise UserError(f"the router knows {known[0]} already: remove it first to measure it anew (remove-llm)")
    for name in new:
        _add(router, data, name, llms or [])
    return router


def remove_from_router(router: Router, llm: str) -> Router:
    """Take all candidates of an LLM away from a router, in place; its last candidate cannot be taken."""
    left = [i for i, c in enumerate(router.candidates) if split_candidate(c)[0] != llm]
    if len(left) == len(router.candidates):
        raise UserError(f"the router does not know {llm}: expected an LLM of {', '.join(router.candidates)}")
    if not left:
        raise UserError(f"{llm} is the only LLM of the router: a router needs at least one")
    config = router.config
    names, columns = router.candidates, config.columns or list(range(len(router.candidates)))
    config.learned = router.learned_candidates
    config.candidates, config.columns = [names[i] for i in left], [columns[i] for i in left]
    return router


def _add(router: Router, data: RoutingData, name: str, llms: Sequence[dict]) -> None:
    seen = ~np.isnan(data.performance[:, data.candidates.index(name)])
    if seen.sum() < FEWEST:
        raise UserError(f"{name}: expected at least {FEWEST} scored queries (better 20 to 50), found {seen.sum()}")
    data = data.subset(seen)
    output = _heads(router, data.queries)
    mine = data.select([name])
    # A size and a price say little of how good an LLM is: scores are guessed from what was measured alone.
    alike = {"cost": _likeness(router, name, mine, output, llms), "score": _likeness(router, name, mine, output, [])}
    found = {}
    for quantity in [q for q in QUANTITIES if q in output]:
        columns = linear_columns(quantity, torch.from_numpy(output[quantity])).numpy()
        y = _measured(router, mine, quantity)[:, 0]
        if quantity.startswith("cost"):
            found[quantity] = _fit(columns, y, alike["cost"])
        else:
            hard = difficulty(_known(router, data, quantity) - columns)
            found[quantity] = posterior(columns, y, alike["score"], hard)
    _write(router, name, found)


def _known(router: Router, data: RoutingData, quantity: str) -> np.ndarray:
    """`_measured` of the learned candidates, float64 [n, m]; NaN for those that the log does not have."""
    measured = np.full((len(data), len(router.learned_candidates)), np.nan)
    there = [(i, c) for i, c in enumerate(router.learned_candidates) if c in data.candidates]
    if there:
        measured[:, [i for i, _ in there]] = _measured(router, data.select([c for _, c in there]), quantity)
    return measured


@torch.inference_mode()
def _heads(router: Router, queries: list[str]) -> dict[str, np.ndarray]:
    """The head's output for the learned candidates: float64 [n, m] a quantity."""
    embeddings = None
    if router.encoder is not None:
        from ..encoders.cache import embed_cached

        embeddings = embed_cached(router.text_encoder, router.bare(queries))
    output = router.head(router.features(queries, embeddings))
    return {name: output[name].double().cpu().numpy() for name in QUANTITIES if name in output}


def _measured(router: Router, data: RoutingData, quantity: str) -> np.ndarray:
    """What the log says of its candidates on the scale of a head's output: float64 [n, k], NaN where not measured."""
    name = quantity.removesuffix("_scaled")
    values = getattr(data, name)
    if name != quantity:
        tasks = ["all"] * len(data) if router.config.tasks is None else data.tasks
        low, span = Scaling(**router.config.scaling).units(name, tasks)
        values = (values - low[:, None]) / span[:, None]
    if quantity in LOGARITHMIC:
        values = np.log(np.where(values > 0, values, np.nan))
    return values


def _likeness(
    router: Router, name: str, data: RoutingData, output: dict[str, np.ndarray], llms: Sequence[dict]
) -> np.ndarray:
    """Weights of the learned candidates in the first guess: float64 [m], sum 1."""
    pool = {row["name"]: row for row in llms}
    llm, mode = split_candidate(name)
    mine, cost = pool.get(llm, {}), np.nanmean(data.cost[:, 0]) if not np.isnan(data.cost).all() else np.nan
    weights = []
    for column, other in enumerate(router.learned_candidates):
        other_llm, other_mode = split_candidate(other)
        theirs = pool.get(other_llm, {})
        weight = 1.0 if mode == other_mode else OTHER_MODE
        if mine.get("size") and theirs.get("size") and mine["size"] != theirs["size"]:
            weight *= OTHER_SIZE
        prices = [row.get("output_price") for row in (mine, theirs)]
        if not all(prices):
            prices = [cost, output["cost"][:, column].mean()] if "cost" in output else [np.nan, np.nan]
        ratio = np.log(prices[0] / prices[1]) if min(prices) > 0 else np.nan
        weights.append(weight * (1.0 if np.isnan(ratio) else np.exp(-0.5 * (ratio / PRICE_WIDTH) ** 2) + 1e-3))
    return np.array(weights) / np.sum(weights)


def _fit(columns: np.ndarray, y: np.ndarray, likeness: np.ndarray) -> dict[str, np.ndarray]:
    """``weight`` [m] and ``bias`` of the new column, from predictions [n, m] and what was measured [n].

    Offset and ridge are chosen by the squared error of leaving one query out (closed form).
    """
    seen = ~np.isnan(y)
    if not seen.any():
        return {"weight": likeness, "bias": np.zeros(())}
    columns, y = columns[seen], y[seen]
    rest, centre, n = y - columns @ likeness, columns.mean(0), len(y)
    z = columns - centre
    eigenvalues, vectors = np.linalg.eigh(z.T @ z / max(z.var() * n, 1e-12))
    scale = max(z.std(), 1e-6)
    found = []
    for pseudo in PSEUDO:
        for penalty in PENALTIES:
            inverse = (vectors / (eigenvalues * n + penalty)) @ vectors.T / scale**2
            hat = 1.0 / (n + pseudo) + np.einsum("ij,jk,ik->i", z, inverse, z)
            offset = rest.sum() / (n + pseudo)
            slope = inverse @ (z.T @ (rest - offset))
            off = (rest - offset - z @ slope) / np.maximum(1 - hat, 1e-3)
            found.append((float(np.mean(off**2)), -penalty, -pseudo, slope, offset))
    *_, slope, offset = min(found, key=lambda f: f[:3])
    return {"weight": likeness + slope, "bias": offset - centre @ slope}


def _write(router: Router, name: str, found: dict[str, dict[str, np.ndarray]]) -> None:
    config = router.config
    learned, added = router.learned_candidates, list(config.added or [])
    buffers = dict(config.buffers)
    for quantity, parts in found.items():
        for part, array in parts.items():
            key, value = f"added_{quantity}_{part}", torch.from_numpy(np.float32(array)[..., None])
            if added:
                # A router to which candidates were added before scores had a spread knows none of theirs.
                before = getattr(router, key, torch.zeros(*value.shape[:-1], len(added))).cpu()
                value = torch.cat([before, value], -1)
            router.register_buffer(key, value.to(router.placeholder.device))
            buffers[key] = ["float32", list(value.shape)]
    columns = config.columns or list(range(len(router.candidates)))
    config.candidates = [*router.candidates, name]
    config.columns = [*columns, len(learned) + len(added)]
    config.learned, config.added, config.buffers = learned, [*added, name], buffers
