"""Queries, tasks and LLMs as the nodes of a graph, what LLMs scored as its edges: GraphRouter (arXiv 2410.03834)."""

import numpy as np
import torch
from torch.nn.functional import gelu, normalize

from ..base import Router
from ..config import RouterConfig
from ..learning.clusters import kmeans
from ..learning.gradient import Parameters, Whitened, descend, drop, uniform
from ..learning.ridge import Ridge
from ..targets import Targets
from ._costs import cost_outputs, learn_costs
from ._score_table import score_outputs, score_table
from .kmeans import block_weights
from .mlp import score_loss

HIDDEN, DROPOUT = 32, 0.7
STEPS, RATE, DECAY = 300, 3e-3, 0.1
HIDDEN_SHARE, CONTEXT = 0.25, 6000  # of the queries that a step predicts; queries that a step sees, at most
PSEUDO_TASKS = 32
TASK_PENALTY, POWER, FOLDS = 0.3, 3, 4


class GraphRouterConfig(RouterConfig):
    """Configuration of a `GraphRouter`; ``options`` holds the place of each quantity and the names of the tasks."""

    model_type = "fusion_hf-graph"


class GraphRouter(Router):
    """Message passing between queries, tasks and LLMs; what an LLM will score on a query is an edge to predict.

    Edges between queries and LLMs carry scores and scaled cost; a query has an edge to each task, as heavy as it seems
    to come from there (GraphRouter knows the task; here a new query has no label, so training queries use their
    cross-fitted shares too). LLM nodes start from the embedding of the pool's description, where there is one, and a
    free vector. Each step hides all edges of some queries and predicts them from the others, so that new queries are
    what is trained for. The nodes of tasks and LLMs see all training queries once, at the end, and are what the
    checkpoint keeps. The loss is that of `mlp`; GraphRouter's own is the cross-entropy of a winner label. Costs are
    predicted apart (see `costs`).
    """

    config_class = GraphRouterConfig

    @classmethod
    def learn(
        cls, x: np.ndarray, targets: Targets, seed: int = 0, hidden: int = HIDDEN, dropout: float = DROPOUT,
        steps: int = STEPS, rate: float = RATE, decay: float = DECAY, policy: float = 1.0,
    ):  # fmt: skip
        """See `Router.learn`.

        Args:
            x: Features.
            targets: Of the log.
            seed: Of initial values, of what is hidden, and of pseudo-tasks where the log has no task labels.
            hidden: Size of a node.
            dropout: Share of a query's node that is left out of a step.
            steps: Number of steps.
            rate: Largest step size.
            decay: Weight decay.
            policy: Weight of the expected reward against the cross-entropy.
        """
        names, onehot = _tasks(x, targets, seed)
        share, (task_weight, task_bias) = _shares(x, onehot, seed)
        places, y = score_table(targets)
        graph = _Graph(x, share, y, targets)
        generator = torch.Generator().manual_seed(seed)

        def loss(p: Parameters, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            seen = graph.others(rows, generator)
            inner = drop(gelu(graph.x @ p["query"] + p["query_bias"]), dropout, generator)
            llm, task = graph.nodes(p, inner[seen], seen)
            return score_loss(_edges(p, inner[rows], graph.share[rows], llm, task), graph.y[rows], places, policy)

        first = _initial(generator, x.shape[1], hidden, graph)
        batch = max(1, round(HIDDEN_SHARE * min(len(x), CONTEXT)))
        found = descend(
            first, loss, len(x), steps=steps, generator=generator, rate=rate, decay=decay, batch=batch, label="graph"
        )
        with torch.no_grad():
            inner = gelu(graph.x @ found["query"] + found["query_bias"])
            llm, task = graph.nodes(found, inner, torch.arange(len(x)))
        options, buffers = learn_costs(x, targets, seed)
        buffers["query"], buffers["query_bias"] = graph.inputs.unfold(found["query"], found["query_bias"])
        never = torch.from_numpy(np.isnan(y).all(0))
        found["edge_bias"] = torch.where(never, torch.nan, found["edge_bias"])
        buffers |= {name: found[name].contiguous() for name in ("own", "from_task", "joint_bias", "read", "edge_bias")}
        buffers |= {"llm": llm, "task": task}
        buffers["task_weight"] = torch.from_numpy(task_weight.astype(np.float32))
        buffers["task_bias"] = torch.from_numpy(task_bias.astype(np.float32))
        return options | {"places": places, "groups": names}, buffers

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `Router.head`; also ``tasks`` [n, groups], the weights of the edges to the tasks."""
        share = (x @ self.task_weight + self.task_bias).clamp(min=0) ** POWER + 1e-9
        share = share / share.sum(1, keepdim=True)
        inner = gelu(x @ self.query + self.query_bias)
        table = _edges(dict(self.named_buffers(recurse=False)), inner, share, self.llm, self.task).sigmoid()
        return score_outputs(self.config.options["places"], table) | cost_outputs(self, x) | {"tasks": share}


class _Graph:
    """The training graph: features x [n, d], shares of tasks [n, t], scores [n, blocks * m]."""

    def __init__(self, x: np.ndarray, share: np.ndarray, y: np.ndarray, targets: Targets):
        self.inputs = Whitened(x)
        self.x = self.inputs.x
        self.share, self.y = torch.from_numpy(share).float(), torch.from_numpy(y).float()
        n, self.m = targets.raw["performance"].shape
        edges = self.y.view(n, -1, self.m)
        if "cost" in targets.scaled:
            edges = torch.cat([edges, torch.from_numpy(targets.scaled["cost"]).float()[:, None]], 1)
        self.measured = (~edges.isnan().all(1)).float()  # [n, m]
        middle = edges.nanmean((0, 2), keepdim=True).nan_to_num(0)
        # What an edge says, the first of which is that it is there: [values, n, m], 0 where nothing was measured.
        said = (edges - middle).nan_to_num(0).transpose(0, 1)
        self.edges = torch.cat([self.measured[None], said * self.measured])
        self.described = _descriptions(targets)

    def others(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Indices of the queries that a step sees: all but `rows`, at most `CONTEXT` of them."""
        seen = torch.ones(len(self.x), dtype=torch.bool)
        seen[rows] = len(rows) == len(self.x)
        seen = seen.nonzero()[:, 0]
        if len(seen) <= CONTEXT:
            return seen
        return seen[torch.randperm(len(seen), generator=generator)[:CONTEXT]]

    def nodes(self, p: Parameters, inner: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """LLM nodes [m, hidden] and task nodes [t, hidden] that know the queries `seen`, of nodes `inner`."""
        edges, share = self.edges[:, seen], self.share[seen]
        weight = edges[0].sum(0).clamp(min=1)[:, None]
        llm = p["llm"] if self.described is None else p["llm"] + self.described @ p["describe"]
        sent = inner @ p["send"]
        for value, gate in zip(edges, p["gate"], strict=True):
            llm = llm + gate * (value.T @ sent) / weight
        weight = share.sum(0).clamp(min=1e-6)[:, None]
        task = (share.T @ inner) / weight @ p["gather"] + p["task_bias"]
        for value, gate in zip(edges, p["task_gate"], strict=True):
            task = task + gate * ((share.T @ value) / weight @ llm) / self.m
        return llm, gelu(task)


def _edges(p: Parameters, inner: torch.Tensor, share: torch.Tensor, llm: torch.Tensor, task: torch.Tensor):
    """Logits [n, blocks * m] of the edges between queries with nodes `inner` [n, hidden] and LLMs."""
    joint = gelu(inner @ p["own"] + share @ task @ p["from_task"] + p["joint_bias"])
    read = (joint @ p["read"]).unflatten(1, (-1, llm.shape[1]))  # one reading a quantity
    return (read @ llm.T).flatten(1) + p["edge_bias"]


def _initial(generator: torch.Generator, d: int, hidden: int, graph: _Graph) -> Parameters:
    blocks, values = graph.y.shape[1] // graph.m, len(graph.edges)
    first = {
        "query": uniform(generator, d, d, hidden), "query_bias": uniform(generator, d, hidden),
        "send": uniform(generator, hidden, hidden, hidden), "gate": torch.ones(values, hidden),
        "task_gate": torch.ones(values, hidden), "llm": uniform(generator, hidden, graph.m, hidden),
        "gather": uniform(generator, hidden, hidden, hidden), "task_bias": torch.zeros(hidden),
        "own": uniform(generator, hidden, hidden, hidden), "from_task": uniform(generator, hidden, hidden, hidden),
        "joint_bias": torch.zeros(hidden), "read": uniform(generator, hidden, hidden, blocks * hidden),
        "edge_bias": torch.zeros(graph.y.shape[1]),
    }  # fmt: skip
    if graph.described is not None:
        first["describe"] = uniform(generator, graph.described.shape[1], graph.described.shape[1], hidden)
    return first


def _descriptions(targets: Targets) -> torch.Tensor | None:
    """Embedding of what the pool says of each LLM, less what it says of all: float32 [m, e]; None without."""
    texts = [str(row.get("description") or "") for row in targets.llms or ()]
    if targets.text_encoder is None or not any(texts):
        return None
    vectors = torch.from_numpy(targets.text_encoder.encode(texts))
    return normalize(vectors - vectors.mean(0), dim=1)


def _tasks(x: np.ndarray, targets: Targets, seed: int) -> tuple[list[str], np.ndarray]:
    """Names of the tasks, or of clusters of queries where the log has none, and who is of which: float64 [n, t]."""
    if targets.tasks is not None:
        names, group = np.unique(targets.tasks, return_inverse=True)
    else:
        k = max(1, min(PSEUDO_TASKS, len(x) // 4))
        group = kmeans(x * block_weights(x.shape[1], targets.embedding), k, seed)
        names = np.array([f"group {i}" for i in range(group.max() + 1)])
    return [str(n) for n in names], np.eye(len(names))[group]


def _shares(x: np.ndarray, onehot: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Cross-fitted weights of the edges between queries and tasks, [n, t], and the ridge for new queries."""
    fold = np.random.RandomState(seed).randint(0, FOLDS, len(x))
    guess = onehot.copy()
    for f in range(FOLDS):
        if (fold == f).any() and (fold != f).any():
            weight, bias = Ridge(x[fold != f]).solve(onehot[fold != f], TASK_PENALTY)
            guess[fold == f] = x[fold == f] @ weight + bias
    share = np.clip(guess, 0, None) ** POWER + 1e-9
    return share / share.sum(1, keepdims=True), Ridge(x).solve(onehot, TASK_PENALTY)


ROUTER = GraphRouter
