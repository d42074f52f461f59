"""The thought level: templates distilled from the best answers, found by similarity and put before the query."""

from .index import Hit, TemplateIndex
from .prompt import STYLES, build_prompt
from .select import RULES, select_answers
from .summarise import ExtractiveSummariser, LLMSummariser
from .templates import Templates, build_templates, make_templates
from .think import Thought, athink, think, think_with, thought_prompts

__all__ = [
    "RULES", "STYLES", "ExtractiveSummariser", "Hit", "LLMSummariser", "TemplateIndex", "Templates", "Thought",
    "athink", "build_prompt", "build_templates", "make_templates", "select_answers", "think", "think_with",
    "thought_prompts",
]  # fmt: skip
