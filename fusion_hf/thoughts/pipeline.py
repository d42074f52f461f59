"""``pipeline("thought-fusion")``: text generation with the templates of similar queries put before the query."""

from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, GenerationConfig, TextGenerationPipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.text_generation import ReturnType
from transformers.utils.chat_template_utils import Chat

from ..errors import UserError
from .files import find_index
from .index import Hit, TemplateIndex
from .think import athink, check_style, fit_prompt, think

TASK = "thought-fusion"
# Keys that ride along with the tensors from preprocess to postprocess.
_RIDERS = ("fusion_prompt", "fusion_hits", "fusion_input")
# A tokenizer without a limit says 1e30.
_NO_LIMIT = 10**9

__all__ = ["TASK", "ThoughtFusionPipeline", "athink", "register", "think"]


class ThoughtFusionPipeline(TextGenerationPipeline):
    """Text generation in which the most similar thought templates stand before the query.

    ``pipeline("thought-fusion", model=…, templates=…)`` takes what ``text-generation`` takes: strings, chats (the
    templates go before the last user message), lists, datasets (`KeyDataset`), generators, ``batch_size``, a
    ``streamer`` and every argument of ``generate``. A string becomes a user message where the tokenizer has a chat
    template, and stays plain text where it has none.

    Args:
        templates: A `TemplateIndex`, or a folder or Hub dataset id of one. Without it the index that `save_pretrained`
            put beside the model is used; with neither only ``style="zero-shot"`` works.

    Arguments of the construction or of a call:
        k: At most so many templates (default 3). When the prompt and `max_new_tokens` do not fit the model's context,
            the least similar template is dropped first; a query that is too long by itself is an error.
        style: ``thought`` (default), ``few-shot`` (question and answer instead of template) or ``zero-shot``.
        min_similarity: Cosine below which no template is used (default 0).
        leak_exclusion: Never use the template of the very same query (default True).
        return_prompt: Add ``prompt`` (the user message that was sent) and ``templates`` (list of `Hit`, the most
            similar first) to each result.
        return_full_text: ``generated_text`` is the reply alone (default False); True gives the caller's own text or
            chat with the reply added, without the templates.
    """

    # Greedy unless the model's own configuration or the caller says otherwise: an answer can be repeated.
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def __init__(self, *args, templates: TemplateIndex | str | Path | None = None, **kwargs):
        self.index: TemplateIndex | None = None
        self._hits: dict[tuple, list[Hit]] = {}
        super().__init__(*args, **kwargs)
        if self.generation_config.max_new_tokens is not None:
            # The parent fills in a default of 20 and warns about it at every call.
            self.generation_config.max_length = None
        style = self._preprocess_params.get("style", "thought")
        if isinstance(templates, TemplateIndex):
            self.index = templates
        elif templates is not None:
            self.index = TemplateIndex.from_pretrained(templates)
        elif style != "zero-shot":
            self.index = _beside(self.model)
        check_style(style, self.index)

    def save_pretrained(self, save_directory: str | Path, **kwargs):
        """Save model, tokenizer and, beside them, the index: ``pipeline("thought-fusion", model=folder)`` finds it."""
        if kwargs.get("push_to_hub"):
            raise UserError("push_to_hub=True would leave the index behind: save, then  fusion-hf push DIR REPO_ID")
        # The parent would also copy this module as remote code and name it in the config, and then transformers asks
        # for trust_remote_code even where fusion_hf is imported.
        self.model.save_pretrained(save_directory, **kwargs)
        self.tokenizer.save_pretrained(save_directory, **kwargs)
        if self.index is not None:
            self.index.save_pretrained(save_directory, card=False)

    def _sanitize_parameters(
        self,
        k: int | None = None,
        style: str | None = None,
        min_similarity: float | None = None,
        leak_exclusion: bool | None = None,
        return_prompt: bool | None = None,
        **kwargs,
    ):
        if k is not None and k < 1:
            raise UserError(f"k: expected at least 1, found {k}; for no templates use style='zero-shot'")
        before, forward, after = super()._sanitize_parameters(**kwargs)
        own = {"k": k, "style": style, "min_similarity": min_similarity, "leak_exclusion": leak_exclusion}
        before |= {name: value for name, value in own.items() if value is not None}
        if return_prompt is not None:
            after["return_prompt"] = return_prompt
        return before, forward, after

    def __call__(self, text_inputs, **kwargs):
        """Generate; see the class for the arguments."""
        style = kwargs.get("style") or self._preprocess_params.get("style", "thought")
        check_style(style, self.index)
        self._hits = {}
        if isinstance(text_inputs, list) and text_inputs and style != "zero-shot":
            self._search_ahead(text_inputs, kwargs)
        return super().__call__(text_inputs, **kwargs)

    def preprocess(self, prompt_text, k=3, style="thought", min_similarity=0.0, leak_exclusion=True, **generate_kwargs):
        chat = isinstance(prompt_text, Chat)
        query = _query_of(prompt_text.messages) if chat else prompt_text
        hits = []
        if style != "zero-shot":
            hits = self._search([query], k, min_similarity, leak_exclusion)[0]

        def encode(prompt: str):
            return super(ThoughtFusionPipeline, self).preprocess(self._input(prompt_text, prompt), **generate_kwargs)

        room = self._room(generate_kwargs)
        prompt, hits = fit_prompt(query, hits, style, lambda p: room is None or _length(encode(p)) <= room)
        inputs = encode(prompt)
        if room is not None and not hits and _length(inputs) > room:
            raise UserError(
                f"the query alone takes {_length(inputs)} tokens and the model's context leaves {room} (the reply may "
                f"take the rest): shorten the query, or lower max_new_tokens; it begins {query[:60]!r}"
            )
        inputs.update(fusion_prompt=prompt, fusion_hits=hits, fusion_input=prompt_text)
        return inputs

    def _forward(self, model_inputs, **generate_kwargs):
        riders = {name: model_inputs.pop(name) for name in _RIDERS}
        return super()._forward(model_inputs, **generate_kwargs) | riders

    def postprocess(
        self,
        model_outputs,
        return_type=ReturnType.NEW_TEXT,
        return_prompt=False,
        clean_up_tokenization_spaces=False,
        **kwargs,
    ):
        prompt, hits, given = (model_outputs.pop(name) for name in _RIDERS)
        records = super().postprocess(
            model_outputs | {"prompt_text": given},
            return_type=return_type,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            **kwargs,
        )
        if return_prompt:
            for record in records:
                record |= {"prompt": prompt, "templates": hits}
        return records

    def _input(self, given: Any, prompt: str) -> Any:
        """What the parent tokenizes: a chat where there is a chat template, else the text."""
        if isinstance(given, Chat):
            return Chat(_with_query(given.messages, prompt))
        if getattr(self.tokenizer, "chat_template", None):
            return Chat([{"role": "user", "content": prompt}])
        return prompt

    def _search(self, queries: list[str], k: int, min_similarity: float, leak_exclusion: bool) -> list[list[Hit]]:
        keys = [(query, k, min_similarity, leak_exclusion) for query in queries]
        if not all(key in self._hits for key in keys):
            return self.index.search(queries, k=k, min_similarity=min_similarity, leak_exclusion=leak_exclusion)
        return [self._hits[key] for key in keys]

    def _search_ahead(self, inputs: list, kwargs: dict[str, Any]) -> None:
        """Retrieve for a whole list at once: the encoder is far quicker in batches than one text at a time."""
        if isinstance(inputs[0], str):
            queries = inputs
        elif isinstance(inputs[0], list | tuple):
            queries = [_query_of(chat) for chat in inputs]
        else:
            return  # one chat
        wanted = self._preprocess_params | {n: v for n, v in kwargs.items() if v is not None}
        settings = (wanted.get("k", 3), wanted.get("min_similarity", 0.0), wanted.get("leak_exclusion", True))
        found = self._search(queries, *settings)
        self._hits = {(query, *settings): hits for query, hits in zip(queries, found, strict=True)}

    def _room(self, generate_kwargs: dict[str, Any]) -> int | None:
        """Tokens that the prompt may take: the context without the reply; None where no limit is known."""
        config = self.model.config.get_text_config()
        limits = [getattr(config, "max_position_embeddings", None), self.tokenizer.model_max_length]
        limits = [limit for limit in limits if isinstance(limit, int) and 0 < limit < _NO_LIMIT]
        if not limits:
            return None
        settings = generate_kwargs.get("generation_config") or self.generation_config
        if generate_kwargs.get("max_new_tokens") is None and generate_kwargs.get("max_length") is not None:
            return min(*limits, generate_kwargs["max_length"] - 1)
        new = generate_kwargs.get("max_new_tokens") or settings.max_new_tokens or 1
        return min(limits) - new


def register() -> str:
    """Make ``pipeline("thought-fusion")`` known to transformers, once; returns the task's name."""
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK, pipeline_class=ThoughtFusionPipeline, pt_model=AutoModelForCausalLM, type="text"
        )
    return TASK


def _beside(model: Any) -> TemplateIndex | None:
    """The index that `save_pretrained` put beside a model, in its folder or its Hub repository."""
    name = getattr(model, "name_or_path", "")
    if not name:
        return None
    folder = find_index(name, getattr(model.config, "_commit_hash", None), repo_type="model")
    return TemplateIndex.from_pretrained(folder) if folder else None


def _length(inputs: Any) -> int:
    return inputs["input_ids"].shape[-1]


def _last_user(messages: list[dict[str, Any]]) -> int:
    for i in range(len(messages) - 1, -1, -1):
        if messages[i]["role"] == "user":
            return i
    raise UserError("expected a chat with a user message, found none")


def _query_of(messages: list[dict[str, Any]]) -> str:
    content = messages[_last_user(messages)]["content"]
    if not isinstance(content, str):
        raise UserError(f"expected the content of a user message to be a text, found {type(content).__name__}")
    return content


def _with_query(messages: list[dict[str, Any]], prompt: str) -> list[dict[str, Any]]:
    """The chat with another text in its last user message."""
    place = _last_user(messages)
    return [{**m, "content": prompt} if i == place else m for i, m in enumerate(messages)]
