"""The thought level: templates distilled from the best answers, found by similarity and put before the query."""

from importlib import import_module as _import_module

from .index import Hit, TemplateIndex
from .prompt import PROMPTS, STYLES, build_prompt, load_prompts

_LATER = {
    "RULES": "select",
    "ExtractiveSummariser": "extract",
    "LLMSummariser": "summarise",
    "Templates": "templates",
    "build_templates": "templates",
    "make_templates": "templates",
    "select_answers": "select",
    "Thought": "answer",
    "think": "answer",
    "think_with": "answer",
    "thought_prompts": "answer",
}

__all__ = ["PROMPTS", "STYLES", "Hit", "TemplateIndex", "build_prompt", "load_prompts", *_LATER]


def __getattr__(name: str):
    if name in _LATER:
        return getattr(_import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module 'fusion_hf.thoughts' has no attribute {name!r}")
