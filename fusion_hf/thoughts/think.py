"""Ask any LLM with the templates of similar queries before the query: the thought level for remote endpoints."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .aio import bounded, chat, run_async
from .index import Hit, TemplateIndex
from .prompt import STYLES, build_prompt


@dataclass
class Thought:
    """A query, what was put before it, and what the LLM made of it.

    Attributes:
        query: The query as given.
        prompt: The user message that was sent.
        hits: The templates in the prompt, the most similar first.
        text: The reply; empty where there is none.
        finish_reason, input_tokens, output_tokens, reasoning_tokens, latency_s: As the backend measured them.
        error: Why there is no reply, or None.
    """

    query: str
    prompt: str
    hits: list[Hit] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    latency_s: float | None = None
    error: str | None = None


def example_of(hit: Hit, style: str) -> tuple[str, str]:
    """(question, text) of a hit for `build_prompt`: its answer for ``few-shot``, its template for ``thought``."""
    return hit.query, hit.answer if style == "few-shot" else hit.template


def fit_prompt(query: str, hits: Sequence[Hit], style: str, fits: Callable[[str], bool]) -> tuple[str, list[Hit]]:
    """The prompt with as many hits as fit, and those hits; the least similar is dropped first, never the query.

    Args:
        hits: The most similar first.
        fits: Whether a prompt is short enough. It is not asked about the query alone.
    """
    hits = list(hits)
    while hits and style != "zero-shot":
        # The most similar comes last, next to the query.
        prompt = build_prompt(query, [example_of(hit, style) for hit in reversed(hits)], style)
        if fits(prompt):
            return prompt, hits
        hits.pop()
    return build_prompt(query, [], style), []


def thought_prompts(
    queries: Sequence[str],
    index: TemplateIndex | None,
    k: int = 3,
    style: str = "thought",
    *,
    min_similarity: float = 0.0,
    embeddings: np.ndarray | None = None,
    tasks: str | Sequence[str | None] | None = None,
    exclude_query_ids: Sequence[str | Collection[str] | None] | None = None,
    leak_exclusion: bool = True,
    max_words: int | None = None,
) -> list[Thought]:
    """The prompts of the thought level, with the hits in them and no reply yet.

    `index` may be None for ``zero-shot``. `max_words` is a rough limit where no tokenizer is at hand: the least similar
    templates are dropped first. The other arguments are those of `TemplateIndex.search`.
    """
    check_style(style, index)
    if style == "zero-shot":
        return [Thought(query, query) for query in queries]
    found = index.search(
        queries,
        embeddings,
        k=k,
        tasks=tasks,
        exclude_query_ids=exclude_query_ids,
        leak_exclusion=leak_exclusion,
        min_similarity=min_similarity,
    )

    def fits(prompt: str) -> bool:
        return max_words is None or len(prompt.split()) <= max_words

    return [Thought(query, *fit_prompt(query, hits, style, fits)) for query, hits in zip(queries, found, strict=True)]


def check_style(style: str, index: TemplateIndex | None) -> None:
    """Raise `UserError` for an unknown style, and for a style that needs templates where there are none."""
    if style not in STYLES:
        raise UserError(f"unknown style {style!r}: expected one of {', '.join(STYLES)}")
    if style != "zero-shot" and index is None:
        raise UserError(f"style {style!r} needs templates, found none: pass templates=FOLDER, or style='zero-shot'")


async def athink(
    queries: Sequence[str],
    index: TemplateIndex | None,
    backend: Any,
    k: int = 3,
    style: str = "thought",
    *,
    concurrency: int = 16,
    progress: bool = True,
    options: dict[str, Any] | None = None,
    **search: Any,
) -> list[Thought]:
    """Answer queries with retrieved templates, many at once, through any backend of `fusion_hf.llms`.

    Args:
        queries: The queries as they would be asked without templates.
        index: The templates; None only for ``zero-shot``.
        backend: ``async chat(messages, **options)``.
        k: At most so many templates before a query.
        style: ``zero-shot``, ``few-shot`` or ``thought``.
        concurrency: Requests at a time, unless the backend names its own number.
        options: Passed to ``chat`` (``max_tokens``, ``temperature``, …).
        search: Passed to `thought_prompts` (``min_similarity``, ``exclude_query_ids``, ``tasks``, ``max_words``, …).

    Returns:
        A `Thought` a query, in order. A request that failed for good has its ``error`` set; the others are not lost.
    """
    from ..llms.backends import BackendError

    thoughts = thought_prompts(queries, index, k, style, **search)

    async def ask(thought: Thought) -> None:
        try:
            reply = await chat(backend, [{"role": "user", "content": thought.prompt}], **(options or {}))
        except BackendError as error:
            thought.error = f"{error.kind}: {error}"
            return
        for name in ("text", "finish_reason", "input_tokens", "output_tokens", "reasoning_tokens", "latency_s"):
            setattr(thought, name, getattr(reply, name))

    await bounded(ask, thoughts, getattr(backend, "concurrency", None) or concurrency, "think", progress)
    return thoughts


def think(
    queries: Sequence[str],
    index: TemplateIndex | None,
    backend: Any,
    k: int = 3,
    style: str = "thought",
    *,
    close: bool = False,
    **arguments: Any,
) -> list[Thought]:
    """`athink` from ordinary code; with `close` the backend is closed afterwards, in the loop that it worked in."""

    async def run() -> list[Thought]:
        try:
            return await athink(queries, index, backend, k, style, **arguments)
        finally:
            if close:
                await backend.close()

    return run_async(run())


def think_with(
    templates: str | Path,
    queries: Sequence[str],
    model: str,
    pool: str | Path | None = None,
    k: int = 3,
    style: str = "thought",
    max_tokens: int = 256,
) -> list[Thought]:
    """Answer queries by an LLM of the pool file, or without one by a local model (folder or Hub id), greedily.

    Raises:
        UserError: A model or folder is missing, or no query got a reply.
    """
    index = None if style == "zero-shot" else TemplateIndex.from_pretrained(templates)
    if pool is None:
        return _by_pipeline(queries, index, model, k, style, max_tokens)
    from ..llms.backends import open_backend
    from ..llms.pool import load_pool

    backend = open_backend(load_pool(pool).get_llm(model))
    options = {"max_tokens": max_tokens, "temperature": 0.0}
    thoughts = think(queries, index, backend, k, style, options=options, close=True)
    if all(thought.error for thought in thoughts):
        raise UserError(f"{model} answered none of {len(thoughts)} queries: {thoughts[0].error}")
    return thoughts


def _by_pipeline(queries, index, model, k, style, max_tokens) -> list[Thought]:
    from transformers import GenerationConfig, pipeline

    from .pipeline import register

    task = register()
    if not Path(model).exists() and (model.count("/") != 1 or model.startswith((".", "/", "~"))):
        raise UserError(f"{model}: expected a model folder or a Hub id, found neither; an LLM of a pool needs --pool")
    settings = GenerationConfig(do_sample=False, max_new_tokens=max_tokens)
    pipe = pipeline(task, model=model, templates=index, style=style, k=k, generation_config=settings)
    replies = pipe(list(queries), return_prompt=True)
    return [
        Thought(query, reply["prompt"], reply["templates"], reply["generated_text"])
        for query, (reply,) in zip(queries, replies, strict=True)
    ]
