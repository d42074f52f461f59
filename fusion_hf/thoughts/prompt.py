"""The prompt of the thought level: what was retrieved, then the query, unchanged (arXiv 2507.10540).

The query comes last and keeps its own answer format, so the same graders read the answer. This file is copied beside
pipelines (see `fusion_hf.remote_code`).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError

STYLES = ("zero-shot", "few-shot", "thought")
_FOOTER = "Now answer this question:\n{query}"
PROMPTS: dict[str, dict[str, str]] = {
    "few-shot": {
        "header": "Here are similar questions with their answers:",
        "example": "Question: {question}\nAnswer: {text}",
        "footer": _FOOTER,
    },
    "thought": {
        "header": "Here are similar questions with guidelines on how to solve them:",
        "example": "Question: {question}\nGuideline: {text}",
        "footer": _FOOTER,
    },
}
"""The wording of each style: parts that are joined by blank lines, the example once for each retrieved template."""
_FIELDS = {"header": (), "example": ("question", "text"), "footer": ("query",)}
Prompts = Mapping[str, Mapping[str, str]]


def load_prompts(prompts: Prompts | str | Path | None) -> dict[str, dict[str, str]]:
    """Prompts of one's own, as a mapping or a JSON file in the form of `PROMPTS`; styles left out keep theirs.

    Raises `UserError` for an unknown style or part, and for a part that lacks a field (the footer needs the query).
    """
    if prompts is None:
        return PROMPTS
    if isinstance(prompts, str | Path):
        try:
            prompts = json.loads(Path(prompts).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{prompts}: expected a JSON file of prompts, found none to read: {error}") from None
    if not isinstance(prompts, Mapping):
        raise UserError(f"prompts: expected a mapping of styles, found {type(prompts).__name__}")
    merged = dict(PROMPTS)
    for style, parts in prompts.items():
        if style not in PROMPTS:
            raise UserError(f"prompts: unknown style {style!r}: expected {' or '.join(PROMPTS)}")
        merged[style] = {**PROMPTS[style], **parts}
        for part, text in merged[style].items():
            if part not in _FIELDS or not isinstance(text, str):
                raise UserError(f"prompts.{style}: expected texts {', '.join(_FIELDS)}; found {part} = {text!r:.60}")
            missing = [f for f in _FIELDS[part] if text.count(f"{{{f}}}") != 1]
            if missing:
                raise UserError(f"prompts.{style}.{part}: expected {{{missing[0]}}} once, found {text!r:.60}")
    return merged


def build_prompt(
    query: str, examples: Sequence[tuple[str, str]], style: str = "thought", prompts: Prompts | None = None
) -> str:
    """Put retrieved examples before a query.

    Args:
        query: The query as it is asked without examples; it is never changed.
        examples: (question, text) pairs, the most similar last; the text is an answer for ``few-shot`` and a thought
            template for ``thought``.
        style: ``zero-shot`` (the query alone), ``few-shot`` or ``thought``.
        prompts: The wording, as `load_prompts` gives it (default: `PROMPTS`).

    Returns:
        The text of the user message. Without examples it is the query.
    """
    if style not in STYLES:
        raise UserError(f"unknown style {style!r}: expected one of {', '.join(STYLES)}")
    if style == "zero-shot" or not examples:
        return query
    parts = (prompts or PROMPTS)[style]
    shown = [_fill(parts["example"], question=question.strip(), text=text.strip()) for question, text in examples]
    header = [parts["header"]] if parts["header"] else []
    return "\n\n".join([*header, *shown, _fill(parts["footer"], query=query)])


def _fill(part: str, **values: str) -> str:
    # In one pass, so that braces in what is filled in stay as they are.
    return re.sub(r"\{(query|question|text)\}", lambda m: values.get(m[1], m[0]), part)


def fit_prompt(
    query: str,
    hits: Sequence[Any],
    style: str,
    fits: Callable[[str], bool],
    prompts: Prompts | None = None,
) -> tuple[str, list[Any]]:
    """The prompt with as many hits as fit, and those hits; the least similar is dropped first, never the query.

    Args:
        hits: `Hit`s, the most similar first.
        fits: Whether a prompt is short enough. It is not asked about the query alone.
    """
    hits = list(hits)
    while hits and style != "zero-shot":
        # The most similar comes last, next to the query.
        examples = [(hit.query, hit.answer if style == "few-shot" else hit.template) for hit in reversed(hits)]
        prompt = build_prompt(query, examples, style, prompts)
        if fits(prompt):
            return prompt, hits
        hits.pop()
    return build_prompt(query, [], style), []


def check_style(style: str, index: Any) -> None:
    """Raise `UserError` for an unknown style, and for a style that needs templates where there are none."""
    if style not in STYLES:
        raise UserError(f"unknown style {style!r}: expected one of {', '.join(STYLES)}")
    if style != "zero-shot" and index is None:
        raise UserError(f"style {style!r} needs templates, found none: pass templates=FOLDER, or style='zero-shot'")
