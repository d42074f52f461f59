"""`fusion_hf.templates` and `fusion_hf.think`: the functions of the commands of the thought level."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from ..checks import check_amount, check_choice, check_count, check_share
from ..encoders.encoder import DEFAULT_ENCODER
from ..llms.choose import choose_llms
from ..llms.pool import Pool
from ..logs.select import RULES
from ..outputs import check_folder
from ..results import Result, jsonable
from .answer import Thought, think_with
from .prompt import STYLES
from .summarise import RESPONSE_TOKENS
from .templates import build_templates

Place = str | PathLike[str]


@dataclass
class TemplatesMade(Result):
    """Thought templates that were written to a folder, or the price of making them.

    Attributes:
        counts: ``{"read", "kept", "dropped": {reason: n}, "unchecked", "retried"}`` and what asking took; of a dry run
            ``read``, ``dropped`` and ``plan``. This is what `to_dict` gives.
    """

    out: str
    counts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The counts."""
        return jsonable(self.counts)


@dataclass
class ThoughtAnswers(Result):
    """Answers to queries that had thought templates before them.

    Attributes:
        answers: One for each query, with its prompt, the templates, and tokens and cost where they were measured.
        show_prompt: Whether prompts are part of the text.
    """

    answers: list[Thought]
    show_prompt: bool = field(default=False, metadata={"json": False})

    def to_dict(self) -> Any:
        """A list with a dict for each query."""
        return [jsonable(_plain(answer)) for answer in self.answers]

    def table(self) -> list[dict[str, Any]]:
        """A row a query."""
        return [_plain(answer) for answer in self.answers]

    def __str__(self) -> str:
        texts = [a.text if a.error is None else f"[error] {a.error}" for a in self.answers]
        if self.show_prompt:
            texts = [f"{a.prompt}\n---\n{text}" for a, text in zip(self.answers, texts, strict=True)]
        return "\n".join(texts)


def templates(
    bench: Place,
    out: Place,
    model: str = "extractive",
    pool: Pool | Place | None = None,
    select: str = "perf",
    top_k: int = 3,
    threshold: float = 0.5,
    small: bool = False,
    llms: Collection[str] | None = None,
    split: str = "train",
    response_tokens: int = RESPONSE_TOKENS,
    encoder: str = DEFAULT_ENCODER,
    max_usd: float | None = None,
    concurrency: int | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
) -> TemplatesMade:
    """Make thought templates from the best answers of a log, embed them, and save them with their index.

    Args:
        bench: FusionBench folder or Hub id, with responses.
        out: Folder of the templates and their index; replies of an LLM are kept in ``<out>.replies``.
        model: LLM of `pool` that summarises, or ``extractive`` (needs no LLM).
        pool: Pool that names `model`; and the sizes, for `small`.
        select: Which right answers: ``perf``, ``judge`` or ``hybrid``.
        top_k: Best answers shown to the summariser.
        threshold: An answer is right from this score on.
        small, llms: Learn from the small LLMs of the pool only, or from these only.
        split: What to learn from.
        response_tokens: Tokens shown of each answer, head and tail.
        encoder: Text encoder: a Hub id or folder, or ``offline``.
        max_usd: Stop before this much is spent; the same call goes on.
        concurrency: Requests at once; default: what the backend says.
        dry_run: Only price it.
        overwrite: Write into `out` though it holds something else; see `fusion_hf.outputs`.
    """
    check_folder(out, "templates", overwrite)
    check_choice("select", select, RULES)
    check_count("top_k", top_k)
    check_count("response_tokens", response_tokens)
    check_count("concurrency", concurrency, optional=True)
    check_amount("max_usd", max_usd)
    counts = build_templates(
        bench, out, model=model, pool=pool, select=select, top_k=top_k, encoder=encoder, split=split,
        threshold=threshold, llms=choose_llms(bench, llms, small, pool), response_tokens=response_tokens,
        dry_run=dry_run, overwrite=overwrite, max_usd=max_usd, concurrency=concurrency,
    )  # fmt: skip
    return TemplatesMade(str(out), counts)


def think(
    templates: Place,
    queries: Sequence[str] | str,
    model: str,
    pool: Pool | Place | None = None,
    k: int = 3,
    style: str = "thought",
    max_tokens: int = 256,
    prompts: Place | Mapping[str, Any] | None = None,
    min_similarity: float = 0.0,
    diversity: float = 0.0,
    filter_tasks: bool = False,
    max_usd: float | None = None,
    show_prompt: bool = False,
) -> ThoughtAnswers:
    """Answer queries with retrieved templates.

    Args:
        templates: Folder of `templates` or Hub id.
        queries: Texts.
        model: A model folder or Hub id, or an LLM of `pool`.
        pool: Pool that names `model`.
        k: Templates before a query.
        style: ``thought``, ``few-shot`` or ``zero-shot``.
        max_tokens: Of an answer.
        prompts: Other wording: a JSON file, or a mapping such as `fusion_hf.thoughts.PROMPTS`.
        min_similarity: No template below this cosine.
        diversity: 0 to 1: how much likeness to other templates counts against one.
        filter_tasks: Only templates of the task that a query seems to belong to.
        max_usd: What the answers may cost; needed for an LLM that is not free of charge.
        show_prompt: The text of the result shows the prompts too.

    Raises:
        UserError: No query got an answer.
    """
    check_choice("style", style, STYLES)
    check_count("k", k, least=0 if style == "zero-shot" else 1)
    check_count("max_tokens", max_tokens)
    check_share("diversity", diversity)
    check_amount("max_usd", max_usd)
    queries = [queries] if isinstance(queries, str) else list(queries)
    answers = think_with(
        templates, queries, model, pool=pool, k=k, style=style, max_tokens=max_tokens, prompts=prompts,
        min_similarity=min_similarity, diversity=diversity, filter_tasks=filter_tasks, max_usd=max_usd,
    )  # fmt: skip
    return ThoughtAnswers(answers, show_prompt)


def _plain(answer: Thought) -> dict[str, Any]:
    hits = [hit if isinstance(hit, dict) else hit.as_dict() for hit in answer.hits]
    return {**vars(answer), "hits": hits}
