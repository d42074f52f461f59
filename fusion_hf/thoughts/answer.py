"""Ask any LLM with the templates of similar queries before the query: the thought level for remote endpoints."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..gguf import load_causal_lm, load_tokenizer, split_gguf
from ..llms.pool import LLM, Pool, load_pool
from ..llms.prepare import check_paid
from .ask import AskedChat, ask
from .index import Hit, TemplateIndex
from .prompt import Prompts, check_style, fit_prompt, load_prompts


@dataclass
class Thought:
    """A query, what was put before it, and what the LLM made of it.

    Attributes:
        query: The query as given.
        prompt: The user message that was sent.
        hits: The templates in the prompt, the most similar first.
        text: The reply; empty where there is none.
        finish_reason, input_tokens, output_tokens, reasoning_tokens, cost, latency_s: As in a log row.
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
    cost: float | None = None
    latency_s: float | None = None
    error: str | None = None


def thought_prompts(
    queries: Sequence[str],
    index: TemplateIndex | None,
    k: int = 3,
    style: str = "thought",
    *,
    max_words: int | None = None,
    prompts: Prompts | str | Path | None = None,
    **search: Any,
) -> list[Thought]:
    """The prompts of the thought level, with the hits in them and no reply yet.

    Args:
        queries: The queries as they would be asked without templates.
        index: The templates; None only for ``zero-shot``.
        k: At most so many templates before a query.
        style: ``zero-shot``, ``few-shot`` or ``thought``.
        max_words: A rough limit where no tokenizer is at hand: the least similar templates are dropped first.
        prompts: See `fusion_hf.thoughts.prompt.load_prompts`.
        **search: Other arguments of `TemplateIndex.search` (``embeddings``, ``exclude_query_ids``, …).
    """
    check_style(style, index)
    wording = load_prompts(prompts)
    if style == "zero-shot":
        return [Thought(query, query) for query in queries]
    found = index.search(queries, k=k, **search)

    def fits(prompt: str) -> bool:
        return max_words is None or len(prompt.split()) <= max_words

    return [
        Thought(query, *fit_prompt(query, hits, style, fits, wording))
        for query, hits in zip(queries, found, strict=True)
    ]


def think(
    queries: Sequence[str],
    index: TemplateIndex | None,
    llm: LLM,
    k: int = 3,
    style: str = "thought",
    *,
    search: dict[str, Any] | None = None,
    **running: Any,
) -> list[Thought]:
    """Answer queries with retrieved templates, many at once, through any backend of `fusion_hf.llms`.

    A prompt that is too long for the LLM is asked again without its least similar template, until it fits.

    Args:
        queries: The queries as they would be asked without templates.
        index: The templates; None only for ``zero-shot``.
        llm: An LLM of a pool, with the options that it is asked with.
        k: At most so many templates before a query.
        style: ``zero-shot``, ``few-shot`` or ``thought``.
        search: Passed to `thought_prompts` (``min_similarity``, ``exclude_query_ids``, ``tasks``, ``max_words``, …).
        **running: Options of the collector (``max_usd``, ``concurrency``, ``progress``, …).

    Returns:
        A `Thought` a query, in order. A request that failed for good has its ``error`` set; the others are not lost.
    """
    search = search or {}
    thoughts = thought_prompts(queries, index, k, style, **search)
    prompts = load_prompts(search.get("prompts"))
    todo = thoughts
    with tempfile.TemporaryDirectory() as temporary:
        while todo:
            chats = [AskedChat("", t.query, [{"role": "user", "content": t.prompt}]) for t in todo]
            rows, _ = ask(llm, chats, temporary, **running)
            for thought, chat in zip(todo, chats, strict=True):
                _fill(thought, rows.get(chat.key))
            todo = [t for t in todo if t.error and t.error.startswith("context_length") and t.hits]
            for thought in todo:
                hits = thought.hits[:-1]
                thought.prompt, thought.hits = fit_prompt(thought.query, hits, style, lambda _: True, prompts)
    return thoughts


def _fill(thought: Thought, row: dict[str, Any] | None) -> None:
    if row is None or row.get("error") is not None:
        thought.error = "not asked" if row is None else row["error"]
        return
    thought.error, thought.text = None, row["response"] or ""
    for name in ("finish_reason", "input_tokens", "output_tokens", "reasoning_tokens", "cost", "latency_s"):
        setattr(thought, name, row[name])


def think_with(
    templates: str | Path,
    queries: Sequence[str],
    model: str,
    pool: Pool | str | Path | None = None,
    k: int = 3,
    style: str = "thought",
    max_tokens: int = 256,
    prompts: str | Path | None = None,
    max_usd: float | None = None,
    **search: Any,
) -> list[Thought]:
    """Answer queries by an LLM of the pool file, or without one by a local model (folder or Hub id), greedily.

    Raises:
        UserError: A model or folder is missing; no query got a reply; or the LLM is not free of charge, and `max_usd`
            does not say what its answers may cost.
    """
    if pool is not None:
        llm = (pool if isinstance(pool, Pool) else load_pool(pool)).get_llm(model)
        check_paid(llm, max_usd)
    index = None if style == "zero-shot" else TemplateIndex.from_pretrained(templates)
    search["prompts"] = load_prompts(prompts)
    if pool is None:
        return _by_pipeline(queries, index, model, k, style, max_tokens, search)
    limit = "max_completion_tokens" if "max_completion_tokens" in llm.options else "max_tokens"
    llm = replace(llm, options=llm.options | {limit: max_tokens, "temperature": 0.0})
    thoughts = think(queries, index, llm, k, style, search=search, max_usd=max_usd)
    if all(thought.error for thought in thoughts):
        raise UserError(f"{model} answered none of {len(thoughts)} queries: {thoughts[0].error}")
    return thoughts


def _by_pipeline(queries, index, model, k, style, max_tokens, search) -> list[Thought]:
    from transformers import GenerationConfig, pipeline

    from .pipeline import register

    task = register()
    if not Path(model).exists() and (model.count("/") != 1 or model.startswith((".", "/", "~"))):
        raise UserError(f"{model}: expected a model folder or a Hub id, found neither; an LLM of a pool needs the pool")
    settings = GenerationConfig(do_sample=False, max_new_tokens=max_tokens)
    given: dict[str, Any] = {"model": model}
    if split_gguf(model)[1]:
        given = {"model": load_causal_lm(model), "tokenizer": load_tokenizer(model)}
    pipe = pipeline(task, **given, templates=index, style=style, k=k, generation_config=settings, **search)
    replies = pipe(list(queries), return_prompt=True)
    return [
        Thought(query, reply["prompt"], reply["templates"], reply["generated_text"])
        for query, (reply,) in zip(queries, replies, strict=True)
    ]
