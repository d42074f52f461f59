"""The thought level: templates distilled from the best answers, found by similarity and put before the query."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from .index import Hit, TemplateIndex
from .prompt import PROMPTS, STYLES, build_prompt, load_prompts

if TYPE_CHECKING:  # what `_LATER` loads when it is first used
    from ..logs.select import RULES
    from .answer import Thought, think, think_with, thought_prompts
    from .extract import ExtractiveSummariser
    from .select import select_answers
    from .summarise import LLMSummariser
    from .templates import Templates, build_templates, make_templates

_LATER = {
    "RULES": "..logs.select",
    "ExtractiveSummariser": ".extract",
    "LLMSummariser": ".summarise",
    "Templates": ".templates",
    "build_templates": ".templates",
    "make_templates": ".templates",
    "select_answers": ".select",
    "Thought": ".answer",
    "think": ".answer",
    "think_with": ".answer",
    "thought_prompts": ".answer",
}

# Written out, because type checkers do not run it.
__all__ = [
    "PROMPTS", "RULES", "STYLES", "ExtractiveSummariser", "Hit", "LLMSummariser", "TemplateIndex", "Templates",
    "Thought", "build_prompt", "build_templates", "load_prompts", "make_templates", "select_answers", "think",
    "think_with", "thought_prompts",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(_import_module(_LATER[name], __name__), name)
    raise AttributeError(f"module 'fusion_hf.thoughts' has no attribute {name!r}")
