"""``pipeline("thought-fusion")``: text generation with the templates of similar queries put before the query.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

import copy
import json
from os import PathLike
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, GenerationConfig, TextGenerationPipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.pipelines.text_generation import ReturnType
from transformers.utils.chat_template_utils import Chat

from ..errors import UserError
from ..pushable import Pushable
from ..remote_code import save_code
from .files import FOLDER, find_index
from .index import Hit, TemplateIndex
from .last_message import query_of, whole, with_query
from .prompt import PROMPTS, Prompts, check_style, fit_prompt, load_prompts
from .remote_config import name_pipeline
from .router_choice import Worth

TASK = "thought-fusion"
PROMPTS_FILE = "prompts.json"
# Keys that ride along with the tensors from preprocess to postprocess.
_RIDERS = ("fusion_prompt", "fusion_hits", "fusion_input")
# A tokenizer without a limit says 1e30.
_NO_LIMIT = 10**9
# Arguments of `TemplateIndex.search` that may be given to the pipeline, and their defaults.
_SEARCH = {"k": 3, "min_similarity": 0.0, "leak_exclusion": True, "diversity": 0.0, "filter_tasks": False}


class ThoughtFusionPipeline(Pushable, TextGenerationPipeline):
    """Text generation in which the most similar thought templates stand before the query.

    ``pipeline("thought-fusion", model=…, templates=…)`` takes what ``text-generation`` takes: strings, chats (the
    templates go before the last user message), lists, datasets (`KeyDataset`), generators, ``batch_size``, a
    ``streamer`` and every argument of ``generate``. A string becomes a user message where the tokenizer has a chat
    template, and stays plain text where it has none.

    Args:
        templates: A `TemplateIndex`, or a folder or Hub dataset id of one. Without it the index that `save_pretrained`
            put beside the model is used; with neither only ``style="zero-shot"`` works.
        prompts: Other wording than `fusion_hf.thoughts.prompt.PROMPTS`: a mapping or JSON file of that form. Saved
            with the pipeline.
        router: A router whose log has the model in direct and in thought mode. It decides for each query whether
            templates are worth their tokens: where it chooses direct mode, none are put before the query. A folder or
            Hub id needs fusion_hf. Not saved with the pipeline.
        scenario: The trade-off that the router is asked for: ``balance`` by default, ``performance`` if its log has no
            costs.
        candidate: The model's name in the router's log, where that has several in thought mode.

    Arguments of the construction or of a call:
        k: At most so many templates (default 3). When the prompt and `max_new_tokens` do not fit the model's context,
            the least similar template is dropped first; a query that is too long by itself is an error.
        style: ``thought`` (default), ``few-shot`` (question and answer instead of template) or ``zero-shot``.
        min_similarity: Cosine below which no template is used (default 0).
        leak_exclusion: Never use the template of the same query or of a near-duplicate of it (default True).
        diversity, filter_tasks: See `TemplateIndex.search` (default 0 and False).
        return_prompt: Add ``prompt`` (the user message that was sent) and ``templates`` (list of `Hit`, the most
            similar first) to each result. The list is empty where the router chose direct mode.
        return_full_text: ``generated_text`` is the reply alone (default False); True gives the caller's own text or
            chat with the reply added, without the templates.
    """

    # Greedy unless the model's own configuration or the caller says otherwise: an answer can be repeated.
    _default_generation_config = GenerationConfig(max_new_tokens=256)

    def __init__(
        self,
        *args: Any,
        templates: TemplateIndex | str | Path | None = None,
        prompts: Prompts | str | Path | None = None,
        router: Any = None,
        scenario: str | None = None,
        candidate: str | None = None,
        **kwargs: Any,
    ):
        self.index: TemplateIndex | None = None
        self._hits: dict[tuple, list[Hit]] = {}
        super().__init__(*args, **kwargs)
        # What led here, under trust_remote_code; it holds classes by now, which no config.json can.
        vars(self.model.config).pop("custom_pipelines", None)
        if self.generation_config.max_new_tokens is not None:
            # The parent fills in a default of 20 and warns about it at every call.
            self.generation_config.max_length = None
        style = self._preprocess_params.get("style", "thought")
        if isinstance(templates, TemplateIndex):
            self.index = templates
        elif templates is not None:
            self.index = TemplateIndex.from_pretrained(templates)
        elif style != "zero-shot":
            self.index, beside = _beside(self.model)
            prompts = prompts or beside
        check_style(style, self.index)
        self.prompts = load_prompts(prompts)
        self.worth = None if router is None else Worth(router, scenario, candidate)

    def save_pretrained(self, save_directory: str | PathLike, **kwargs: Any) -> None:
        """Save model, tokenizer and, beside them, index with its text encoder, prompts and code.

        ``pipeline("thought-fusion", model=folder)`` finds them after ``import fusion_hf``, and with
        ``trust_remote_code=True`` where fusion_hf is missing: torch, transformers and their tokenizers are enough,
        without the Hub.
        """
        if kwargs.get("push_to_hub"):
            raise UserError("push_to_hub=True would leave the index behind: call push_to_hub(ID), or  fusion-hf push")
        folder = Path(save_directory)
        if self.index is not None:  # first: where its encoder cannot be had, nothing is written
            self.index.save_pretrained(folder, card=False, self_contained=True)
            if self.prompts != PROMPTS:
                (folder / FOLDER / PROMPTS_FILE).write_text(json.dumps(self.prompts, indent=2), encoding="utf-8")
        self.model.save_pretrained(save_directory, **kwargs)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(save_directory, **kwargs)
        save_code(type(self), folder)
        name_pipeline(folder)

    def _sanitize_parameters(
        self, style: str | None = None, return_prompt: bool | None = None, **kwargs: Any
    ) -> tuple[dict, dict, dict]:
        own = {name: kwargs.pop(name, None) for name in _SEARCH} | {"style": style}
        if own["k"] is not None and own["k"] < 1:
            raise UserError(f"k: expected at least 1, found {own['k']}; for no templates use style='zero-shot'")
        before, forward, after = super()._sanitize_parameters(**kwargs)
        before |= {name: value for name, value in own.items() if value is not None}
        if return_prompt is not None:
            after["return_prompt"] = return_prompt
        return before, forward, after

    def __call__(self, text_inputs: Any, **kwargs: Any) -> Any:
        """Generate; see the class for the arguments."""
        style = kwargs.get("style") or self._preprocess_params.get("style", "thought")
        check_style(style, self.index)
        self._hits = {}
        text_inputs = whole(text_inputs)
        if isinstance(text_inputs, list) and text_inputs and style != "zero-shot":
            self._search_ahead(text_inputs, kwargs)
        return super().__call__(text_inputs, **kwargs)

    def preprocess(self, prompt_text: Any, style: str = "thought", **kwargs: Any) -> Any:
        search = {name: kwargs.pop(name, default) for name, default in _SEARCH.items()}
        generate_kwargs = kwargs
        chat = isinstance(prompt_text, Chat)
        query = query_of(_messages(prompt_text)) if chat else prompt_text
        hits = [] if style == "zero-shot" else self._search([query], search)[0]

        def encode(prompt: str) -> Any:
            return super(ThoughtFusionPipeline, self).preprocess(self._input(prompt_text, prompt), **generate_kwargs)

        room = self._room(generate_kwargs)
        prompt, hits = fit_prompt(
            query, hits, style, lambda p: room is None or _length(encode(p)) <= room, self.prompts
        )
        inputs = encode(prompt)
        if room is not None and not hits and _length(inputs) > room:
            raise UserError(
                f"the query alone takes {_length(inputs)} tokens and the model's context leaves {room} (the reply may "
                f"take the rest): shorten the query, or lower max_new_tokens; it begins {query[:60]!r}"
            )
        inputs.update(fusion_prompt=prompt, fusion_hits=hits, fusion_input=prompt_text)
        return inputs

    def _forward(self, model_inputs: Any, **generate_kwargs: Any) -> Any:
        riders = {name: model_inputs.pop(name) for name in _RIDERS}
        # In one object: `generate` warns about a configuration beside arguments, and will refuse it.
        settings = copy.deepcopy(generate_kwargs.pop("generation_config", None) or self.generation_config)
        known = {name: generate_kwargs.pop(name) for name in list(generate_kwargs) if hasattr(settings, name)}
        if known.get("max_length") is not None and known.get("max_new_tokens") is None:
            known["max_new_tokens"] = None
        settings.update(**known)
        return super()._forward(model_inputs, generation_config=settings, **generate_kwargs) | riders

    def postprocess(
        self,
        model_outputs: Any,
        return_type: ReturnType = ReturnType.NEW_TEXT,
        return_prompt: bool = False,
        clean_up_tokenization_spaces: bool = False,
        **kwargs: Any,
    ) -> Any:
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
            return _chat(with_query(_messages(given), prompt))
        if getattr(self.tokenizer, "chat_template", None):
            return _chat([{"role": "user", "content": prompt}])
        return prompt

    def _search(self, queries: list[str], search: dict[str, Any]) -> list[list[Hit]]:
        """The templates of each query; none where the router finds them not worth their tokens."""
        keys = [(query, *search.values()) for query in queries]
        if not all(key in self._hits for key in keys):
            assert self.index is not None  # check_style saw to it
            found = self.index.search(queries, **search)
            worth = self.worth(queries) if self.worth else [True] * len(queries)
            return [hits if it_is else [] for hits, it_is in zip(found, worth, strict=True)]
        return [self._hits[key] for key in keys]

    def _search_ahead(self, inputs: list, kwargs: dict[str, Any]) -> None:
        """Retrieve for a whole list at once: the encoder is far quicker in batches than one text at a time."""
        if isinstance(inputs[0], str):
            queries = inputs
        elif isinstance(inputs[0], list | tuple):
            queries = [query_of(chat) for chat in inputs]
        else:
            return  # one chat
        wanted = self._preprocess_params | {n: v for n, v in kwargs.items() if v is not None}
        search = {name: wanted.get(name, default) for name, default in _SEARCH.items()}
        found = self._search(queries, search)
        self._hits = {(query, *search.values()): hits for query, hits in zip(queries, found, strict=True)}

    def _room(self, generate_kwargs: dict[str, Any]) -> int | None:
        """Tokens that the prompt may take: the context without the reply; None where no limit is known."""
        config = self.model.config.get_text_config()
        limits = [getattr(config, "max_position_embeddings", None), getattr(self.tokenizer, "model_max_length", None)]
        limit = min((n for n in limits if isinstance(n, int) and 0 < n < _NO_LIMIT), default=None)
        if limit is None:
            return None
        settings = generate_kwargs.get("generation_config") or self.generation_config
        if generate_kwargs.get("max_new_tokens") is None and generate_kwargs.get("max_length") is not None:
            return min(limit, generate_kwargs["max_length"] - 1)
        new = generate_kwargs.get("max_new_tokens") or settings.max_new_tokens or 1
        return limit - new


def register() -> str:
    """Make ``pipeline("thought-fusion")`` known to transformers, once; returns the task's name."""
    if TASK not in PIPELINE_REGISTRY.supported_tasks:
        PIPELINE_REGISTRY.register_pipeline(
            TASK, pipeline_class=ThoughtFusionPipeline, pt_model=AutoModelForCausalLM, type="text"
        )
    return TASK


def _beside(model: Any) -> tuple[TemplateIndex | None, Path | None]:
    """The index that `save_pretrained` put beside a model, in its folder or its Hub repository, and its prompts."""
    name = getattr(model, "name_or_path", "")
    folder = find_index(name, getattr(model.config, "_commit_hash", None), repo_type="model") if name else None
    if folder is None:
        return None, None
    prompts = folder / PROMPTS_FILE
    return TemplateIndex.from_pretrained(folder), prompts if prompts.is_file() else None


def _chat(messages: list[dict[str, Any]]) -> Chat:
    return Chat(messages)  # type: ignore[arg-type]  # transformers annotates the list as a dict


def _messages(chat: Chat) -> list[dict[str, Any]]:
    return chat.messages  # type: ignore[return-value]  # the same


def _length(inputs: Any) -> int:
    return inputs["input_ids"].shape[-1]
