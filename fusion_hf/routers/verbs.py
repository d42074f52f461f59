"""The functions of the commands that make, change and ask routers; see `measuring.verbs` for those that measure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from ..encoders.encoder import DEFAULT_ENCODER, TextEncoder
from ..errors import UserError
from ..made import with_change
from ..outputs import check_folder
from ..results import Result
from .add_llm import add_to_router, remove_from_router
from .base import Router
from .chats import Chat, as_texts
from .decisions import RoutingDecision
from .kind import get_kind
from .sources import LogLike, RouterLike, answers_of, hub_id, open_part, open_router
from .train import fit_router

Path_ = str | PathLike[str]


@dataclass
class RouterResult(Result):
    """A router that was made or changed: the ``router`` itself, and what there is to say about it."""

    kind: str
    candidates: list[str]
    queries: int  # that it was trained on
    out: str | None  # folder that it was saved to
    training: dict | None  # settings, log and versions; see `RouterConfig`
    router: Router = field(repr=False, metadata={"json": False})
    changed: list[str] = field(default_factory=list)  # candidates that joined or left

    @classmethod
    def of(cls, router: Router, out: Path_ | None, overwrite: bool, changed: Sequence[str] = ()) -> Any:
        """Save a router, if wanted, and describe it."""
        if out is not None:
            check_folder(out, "router", overwrite)
            router.save_pretrained(out)
        config = router.config
        kind = config.model_type.removeprefix("fusion_hf-")
        place = None if out is None else str(out)
        return cls(kind, router.candidates, config.trained_on, place, config.training, router, list(changed))

    def __str__(self) -> str:
        text = f"{self.kind} router for {len(self.candidates)} candidates from {self.queries} queries"
        if shared := len(getattr(self.router, "beginnings", ())):
            text += f" (not embedded: {shared} beginning{'s' * (shared > 1)} that many of them share)"
        if self.changed:
            joined = self.changed[0] in self.candidates
            text += f"; {', '.join(self.changed)} {'joined' if joined else 'left'}"
        return text + (f": {self.out}" if self.out else "")


@dataclass
class Routed(Result):
    """A decision for every query."""

    queries: list[str | Chat]
    decisions: list[RoutingDecision]
    explain: bool = False

    def to_dict(self) -> Any:
        """The decisions as plain JSON types, one a query."""
        return [decision.to_dict() for decision in self.decisions]

    def table(self) -> list[dict[str, Any]]:
        """A row a query: the query, the choice, what is expected of it, and the runner-up."""
        names = ("candidate", "performance", "cost", "reward", "runner_up")
        texts = as_texts(self.queries)
        return [{"query": q, **{n: getattr(d, n) for n in names}} for q, d in zip(texts, self.decisions, strict=True)]

    def __str__(self) -> str:
        lines = []
        for query, decision in zip(as_texts(self.queries), self.decisions, strict=True):
            lines.append(f"{decision.candidate}\t{' '.join(query[:80].split())}")
            lines += [decision.explain()] if self.explain else []
        return "\n".join(lines)


def train_router(
    log: LogLike,
    kind: str | type[Router] = "fusion",
    *,
    encoder: str | TextEncoder = DEFAULT_ENCODER,
    split: str = "train",
    task_labels: bool = True,
    seed: int = 0,
    option: Mapping[str, Any] | None = None,
    out: Path_ | None = None,
    overwrite: bool = False,
) -> RouterResult:
    """Train a router on a log.

    Args:
        log: FusionBench folder or Hub id; or rows or arrays of one split, or a dict of these by split.
        kind: A name of `KINDS`, the path of a Python file with a line ``ROUTER = …``, or a class of routers.
        encoder: Text encoder: a Hub id or folder, ``offline``, ``none``, or a loaded one. A causal language model (a
            folder, a Hub id, or a ``.gguf`` file with the extra `gguf`) is read inside: after the layer and with the
            pooling that predict scores best in cross-validation on the training queries, or that its name gives, as in
            ``models/qwen.gguf@layer=12@pooling=last`` (or ``mean``); ``@tokens=128`` limits what is read of a text,
            head and tail. Names between commas stand side by side. Except for one plain encoder, vectors are reduced
            to 384 principal components.
        split: The split that is learned from.
        task_labels: Whether the router may see the log's task names.
        seed: Of every random choice.
        option: Options of the kind, such as ``{"layers": 2}`` for ``encoder``.
        out: Folder to save the router to; None only returns it.
        overwrite: Also write to a folder that holds something else.

    Returns:
        The ``router`` and what there is to say of it. ``config.training["settings"]`` of the router are the arguments
        that make it again.

    Raises:
        UserError: Unknown kind, option or encoder, a log that nothing can be learned from, a folder not to write to.
    """
    if out is not None:
        check_folder(out, "router", overwrite)
    reads_answers = get_kind(kind).needs_answers
    part = open_part(log, split, reads_answers)
    router = fit_router(
        kind, part.data, encoder=encoder, task_labels=task_labels, seed=seed, llms=part.llms,
        answers=answers_of(part) if reads_answers else None, **(option or {}),
    )  # fmt: skip
    router.config.training["settings"]["split"] = split
    router.config.trained_from = hub_id(log)
    return RouterResult.of(router, out, overwrite)


def add_llm(
    router: RouterLike,
    log: LogLike,
    *,
    llm: str,
    split: str = "train",
    out: Path_ | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> RouterResult:
    """Let a router choose one more LLM, from 20 to 50 scored queries, without training again.

    Args:
        router: Folder, Hub id, or a router, which is then changed in place.
        log: Log that holds scored answers of the new LLM; see `train_router`.
        llm: Name of the LLM; both of its modes are added where the log has them.
        split: Split of the log.
        out: Folder of the new router; None only returns it.
        overwrite: Also write to a folder that holds something else.
        trust_remote_code: Whether the code beside the checkpoint may run where its kind is not known here.
    """
    if out is not None:
        check_folder(out, "router", overwrite)
    part, model = open_part(log, split), open_router(router, trust_remote_code)
    before = len(model.candidates)
    add_to_router(model, part.data, llm, part.llms)
    settings = {"llm": llm, "split": split}
    model.config.training = with_change(model.config.training, "add-llm", settings, part.data.fingerprint())
    return RouterResult.of(model, out, overwrite, model.candidates[before:])


def remove_llm(
    router: RouterLike,
    *,
    llm: str,
    out: Path_ | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> RouterResult:
    """Take an LLM away from a router, without training again.

    Args:
        router: Folder, Hub id, or a router, which is then changed in place.
        llm: Name of the LLM; both of its modes are taken away.
        out, overwrite, trust_remote_code: See `add_llm`.
    """
    if out is not None:
        check_folder(out, "router", overwrite)
    model = open_router(router, trust_remote_code)
    before = model.candidates
    remove_from_router(model, llm)
    model.config.training = with_change(model.config.training, "remove-llm", {"llm": llm})
    return RouterResult.of(model, out, overwrite, [c for c in before if c not in model.candidates])


def route(
    router: RouterLike,
    query: str | Chat | Sequence[str | Chat] = (),
    *,
    file: Path_ | None = None,
    scenario: str | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    max_cost: float | None = None,
    candidates: Sequence[str] | None = None,
    explain: bool = False,
    trust_remote_code: bool = False,
) -> Routed:
    """Which candidate should answer each query; nobody is asked.

    Args:
        router: Folder, Hub id, or a router.
        query: A text, or a list of texts and chats (lists of messages with role and content).
        file: Queries in a file instead: one a line, blank lines skipped; in a .jsonl file a JSON string or a chat a
            line.
        scenario: A trade-off that the router knows; None for ``performance``, or for alpha and beta.
        alpha, beta: A trade-off of your own: reward = alpha * performance - beta * cost; one not given is 0.
        max_cost: USD that one answer may be expected to cost.
        candidates: Choose among these only.
        explain: Also look up similar logged queries, and print the best three candidates and why.
        trust_remote_code: Whether the code beside the checkpoint may run where its kind is not known here.

    Raises:
        UserError: No query, an empty one, or queries beside a file; a scenario beside alpha or beta; and as
            `Router.route`.
    """
    queries = [query] if isinstance(query, str) else list(query)
    if file is not None:
        if queries:
            raise UserError("expected queries or a file of queries, found both")
        queries = read_queries(file)
    if not queries:
        raise UserError("expected at least one query, found none")
    for number, text in enumerate(as_texts(queries), 1):
        if not text.strip():
            raise UserError(f"query {number} is empty: expected a text")
    model = open_router(router, trust_remote_code)
    decisions = model.route(
        queries, scenario, alpha=alpha, beta=beta, max_cost=max_cost, candidates=candidates, explain=explain
    )
    return Routed(queries, decisions, explain)


def read_queries(file: Path_) -> list[str | Chat]:
    """Queries of a text file, one a line, or of a .jsonl file, a JSON string or a chat a line; blank lines skipped."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: expected a file with a query a line, found none that can be read: {error}") from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if Path(file).suffix != ".jsonl":
        return [line for _, line in lines]
    queries: list[str | Chat] = []
    for number, line in lines:
        try:
            query = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{file}, line {number}: expected JSON, found {line[:40]!r} ({error})") from error
        if not isinstance(query, str | list):
            found = type(query).__name__
            raise UserError(f"{file}, line {number}: expected a JSON string or a list of messages, found {found}")
        queries.append(query)
    return queries
