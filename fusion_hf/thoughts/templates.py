"""Thought templates: a short reusable plan for every query of a log that some LLM solved (arXiv 2507.10540)."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ..errors import UserError
from .aio import bounded, run_async
from .files import COLUMNS
from .select import candidates_of, select_answers
from .summarise import Draft, ExtractiveSummariser, Solved, Summariser


class Templates(NamedTuple):
    """What `make_templates` returns.

    Attributes:
        dataset: `datasets.Dataset` with `COLUMNS`, a row a template.
        counts: ``{"read", "kept", "dropped": {reason: n}, "unchecked", "retried", "from_cache", "input_tokens",
            "output_tokens"}``; read = kept + all dropped. ``unchecked`` templates come from queries without a gold
            answer, so no leak could be looked for.
    """

    dataset: Any
    counts: dict[str, Any]


def make_templates(
    table: pa.Table,
    summariser: Summariser | str = "extractive",
    select: str = "perf",
    top_k: int = 3,
    *,
    threshold: float = 0.5,
    llms: Sequence[str] | None = None,
    cache: str | Path | None = None,
    concurrency: int = 16,
    progress: bool = True,
) -> Templates:
    """Make a thought template from the right answers to every query of a log.

    Pass the train split: a template of a test query would give the test away.

    Args:
        table: A log with responses.
        summariser: ``extractive`` (needs no LLM) or a `Summariser` such as `LLMSummariser`.
        select: Which answers: ``perf``, ``judge`` or ``hybrid``; see `select_answers`.
        top_k: How many answers the summariser is shown.
        threshold: An answer counts as right above this performance (0..1).
        llms: Learn from these LLMs only.
        cache: A JSON-lines file that every paid reply is appended to; a second run asks only for what is missing.
        concurrency: Calls at a time, unless the backend names its own number.

    Returns:
        The templates and the counts. Queries that nobody solved get no template.

    Raises:
        UserError: The log cannot give templates, or no query got one.
    """
    if isinstance(summariser, str):
        if summariser != "extractive":
            raise UserError(f"summariser: expected 'extractive' or a Summariser, found {summariser!r}")
        summariser = ExtractiveSummariser()
    selection = select_answers(table, select, None if summariser.sees_all else top_k, threshold, llms)
    rule = select if summariser.sees_all else f"{select}:{top_k}"
    solved = _solved(table, selection.answers, rule)
    memory = ReplyCache(cache, summariser)
    outcomes = run_async(_summarise_all(solved, summariser, memory, concurrency, progress))

    dropped, seen, rows, unchecked = Counter(selection.dropped), set(), [], 0
    for item, outcome in zip(solved, outcomes, strict=True):
        same = (item.task, " ".join(outcome.text.split()).casefold()) if outcome.text else None
        if same is None or same in seen:
            dropped[outcome.reason if same is None else "duplicate in its task"] += 1
            continue
        seen.add(same)
        rows.append(_row(item, outcome, summariser))
        unchecked += not any(gold.strip() for gold in item.ground_truth)
    counts = {"read": selection.read, "kept": len(rows), "dropped": dict(dropped), "unchecked": unchecked}
    counts |= _usage(outcomes, memory)
    if not rows:
        raise UserError(f"no template could be made of {selection.read} queries: {_in_words(dropped, memory.failure)}")
    return Templates(_dataset(rows), counts)


async def _summarise_all(
    solved: Sequence[Solved], summariser: Summariser, memory: "ReplyCache", concurrency: int, progress: bool
) -> list[Draft]:
    from ..llms.backends import BackendError

    async def one(item: Solved) -> Draft:
        known = memory.get(item)
        try:
            draft = await summariser.summarise(item, known)
        except BackendError as error:
            memory.failure = memory.failure or str(error)
            return Draft(None, f"no reply ({error.kind})")
        if len(draft.replies) > len(known):
            memory.add(item, draft.replies)
        return draft

    try:
        limit = getattr(getattr(summariser, "backend", None), "concurrency", None) or concurrency
        return await bounded(one, solved, limit, "templates", progress)
    finally:
        await summariser.close()


def _solved(table: pa.Table, answers: dict[str, list[int]], rule: str) -> list[Solved]:
    first = table.select(["task", "query", "ground_truth", "metric"])
    first = first.take(pa.array([rows[0] for rows in answers.values()], pa.int64())).to_pylist()
    result = []
    for (key, rows), row in zip(answers.items(), first, strict=True):
        texts = table["response"].take(pa.array(rows, pa.int64())).to_pylist()
        result.append(Solved(key, answers=texts, candidates=candidates_of(table, rows), rule=rule, **row))
    return result


def _row(item: Solved, draft: Draft, summariser: Summariser) -> dict[str, Any]:
    used = [item.candidates[draft.answer]] if summariser.sees_all else item.candidates
    return {
        "query_id": item.key,
        "task": item.task,
        "query": item.query,
        "template": draft.text,
        "answer": item.answers[draft.answer],
        "candidates": used,
        "rule": item.rule,
        "summariser": summariser.name,
        "prompt_version": summariser.prompt_version,
    }


def _usage(outcomes: Sequence[Draft], memory: "ReplyCache") -> dict[str, int]:
    replies = [reply for outcome in outcomes for reply in outcome.replies]
    return {
        "retried": sum(len(outcome.replies) > 1 for outcome in outcomes),
        "from_cache": memory.used,
        "input_tokens": sum(reply["input_tokens"] or 0 for reply in replies),
        "output_tokens": sum(reply["output_tokens"] or 0 for reply in replies),
    }


def _in_words(dropped: Counter, failure: str | None) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in dropped.most_common())
    return f"{reasons}; first failure: {failure}" if failure else reasons


def _dataset(rows: list[dict[str, Any]]):
    from datasets import Dataset, Features, List, Value

    features = {name: Value("string") for name in COLUMNS} | {
        "query": Value("large_string"),
        "answer": Value("large_string"),
        "candidates": List(Value("string")),
    }
    return Dataset.from_list(rows, features=Features(features))


def build_templates(
    bench: str | Path,
    out: str | Path,
    model: str = "extractive",
    pool: str | Path | None = None,
    select: str = "perf",
    top_k: int = 3,
    encoder: str = "sentence-transformers/all-MiniLM-L6-v2",
    split: str = "train",
) -> dict[str, Any]:
    """Make the templates of a FusionBench, embed them, and save them with their index to `out`.

    `model` is ``extractive`` or an LLM of the pool file `pool`, whose replies are kept in ``<out>.replies.jsonl`` so
    that the same command resumes. Returns the counts of `make_templates`.
    """
    from ..bench.store import read_log
    from .index import TemplateIndex, check_encoder

    check_encoder(encoder)
    table = read_log(bench, split)
    if model == "extractive":
        made = make_templates(table, select=select, top_k=top_k)
    else:
        made = _with_llm(table, model, pool, select, top_k, Path(f"{Path(out)}.replies.jsonl"))
    TemplateIndex.build(made.dataset, encoder).save_pretrained(out)
    return made.counts


def _with_llm(table: pa.Table, model: str, pool: str | Path | None, select: str, top_k: int, cache: Path) -> Templates:
    from ..llms.backends import open_backend
    from ..llms.pool import load_pool
    from .summarise import LLMSummariser

    if pool is None:
        raise UserError(f"model {model!r}: expected a pool file that names it: pass --pool FILE, or use extractive")
    llm = load_pool(pool).get_llm(model)
    summariser = LLMSummariser(open_backend(llm), llm.name, close=True)
    return make_templates(table, summariser, select, top_k, cache=cache)


class ReplyCache:
    """Replies that were paid for, in an append-only file of JSON lines; None keeps them in memory only.

    A reply belongs to (query, rule, summariser, prompt version) and to the answers that were shown: when the log
    changes, it is asked for again.
    """

    def __init__(self, path: str | Path | None, summariser: Summariser):
        self.path = Path(path) if path is not None else None
        self.summariser = summariser
        self.used = 0
        self.failure: str | None = None
        self._known: dict[str, list[dict[str, Any]]] = {}
        if self.path is not None and self.path.exists():
            self._load()

    def get(self, item: Solved) -> list[dict[str, Any]]:
        """Replies to this item that an earlier run paid for."""
        replies = self._known.get(self._key(item), [])
        self.used += bool(replies)
        return replies

    def add(self, item: Solved, replies: list[dict[str, Any]]) -> None:
        """Keep the replies to an item, at once and on disk."""
        if self.path is None:
            return
        line = {
            "key": self._key(item),
            "query_id": item.key,
            "rule": item.rule,
            "summariser": self.summariser.name,
            "prompt_version": self.summariser.prompt_version,
            "replies": replies,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _key(self, item: Solved) -> str:
        parts = (item.key, item.rule, self.summariser.name, self.summariser.prompt_version, item.query, *item.answers)
        return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]

    def _load(self) -> None:
        data = self.path.read_bytes()
        if data and not data.endswith(b"\n"):
            # A run was killed within its last write: that line is unfinished and would swallow the next one.
            data = data[: data.rfind(b"\n") + 1]
            with open(self.path, "r+b") as file:
                file.truncate(len(data))
        for number, line in enumerate(data.decode("utf-8").split("\n")[:-1], 1):
            try:
                record = json.loads(line)
                self._known[record["key"]] = record["replies"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise UserError(f"{self.path}, line {number}: expected a cached reply, found {line:.60}") from None
