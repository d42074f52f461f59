"""A routing plugin of LiteLLM: our router chooses the deployment of a model group, and LiteLLM does the rest.

LiteLLM runs it before every choice (``router_settings.plugins``). Its ranking of the candidates is kept with the
request; of the deployments that LiteLLM finds healthy, those of the best candidate stay, and LiteLLM's own strategy
balances among them. Where one fails and LiteLLM tries again, the next best candidate's deployments stay.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import UserError, require
from ..fused.ranking import Asked, Ranking
from ..fused.routed import RoutedSystem
from ..fused.system import FusedSystem
from ..logs.schema import split_candidate
from ..routers import load_router
from ..routers.chats import chat_text
from .choosing import RequestChooser
from .errors import ServeError
from .request import ChatRequest, request_of
from .systems import Reload, is_router

litellm = require("litellm", "litellm")
CustomLogger: Any = require("litellm.integrations.custom_logger", "litellm").CustomLogger

logger = logging.getLogger(__name__)
NAME = "fusion_hf"
"""Of the field of a deployment's ``model_info`` that names its candidate, and of what a request keeps of a ranking."""
OPTIONS = "fusion"
"""Field of a request's ``metadata`` with the options of the choice: scenario, max_cost, candidates, task."""


class FusionPlugin:
    """Ranks the candidates of a router or a fused system for every request to a model group.

    A deployment's candidate is what its ``model_info`` says in the field ``fusion_hf``, or else the name of its
    model, with or without the provider. Deployments of no candidate are asked only where no other is left. Groups of
    a single deployment, and requests without a text, are left alone.

    Args:
        system: Folder or Hub id of a router or a fused system. A folder is watched: a new version is taken over.
            Candidates with templates or other prompts of their own cannot be chosen: the chat stays as it is.
        scenario: Trade-off of requests that name none, for a router (default: performance).
        groups: Names of the model groups (``model_name``) in which it chooses; None for all.

    Raises:
        UserError: Nothing that can choose is there.
    """

    def __init__(self, system: str | Path, scenario: str | None = None, groups: Collection[str] | None = None):
        if isinstance(groups, str):
            raise UserError(f"groups: expected a list of names, found one text: [{groups!r}]")
        self.groups = None if groups is None else frozenset(groups)
        self.chooser = RequestChooser(_open(system, scenario))
        self._watch = Reload(self.chooser, system, lambda: _open(system, scenario)) if Path(system).is_dir() else None
        self._watching = False

    async def run(self, context: Any) -> Any:
        """Put a ranking among the signals of LiteLLM's ``RoutingContext``. Raises ``BadRequestError`` for bad options.

        A failure of the router itself is logged, and leaves the choice to LiteLLM.
        """
        _apply_rankings()
        if self._watch is not None and not self._watching:
            self._watching = True
            await self._watch.__aenter__()  # a task of the proxy's event loop, until the proxy ends
        group = context.metadata.get("model_group")
        ours = self.groups is None or group in self.groups
        text = _text(context.structured_messages) if ours and len(context.candidate_models) > 1 else ""
        if text:
            try:
                ranking = await self._rank(text, _options(context.metadata))
            except (ServeError, UserError) as error:
                raise litellm.BadRequestError(message=str(error), model=str(group), llm_provider=NAME) from None
            except Exception:
                logger.exception("the router failed: LiteLLM chooses")
            else:
                context.signals[NAME] = _signal(ranking)
        return context

    async def _rank(self, text: str, options: Any) -> Ranking:
        system = self.chooser.system
        direct = [c for c in system.candidates if split_candidate(c)[1] == "direct"]
        body = {"messages": [{"role": "user", "content": text}], OPTIONS: options}
        asked: ChatRequest = request_of(body, direct, system.scenarios)
        if asked.task is not None and asked.task not in system.tasks:
            raise UserError(f"{OPTIONS}.task: expected one of {', '.join(system.tasks)}, found {asked.task!r}")
        kept = asked.candidates or tuple(direct)
        return await self.chooser.rank(Asked(asked.text, asked.task, asked.scenario, asked.max_cost, kept))


def _open(path: str | Path, scenario: str | None) -> RoutedSystem | FusedSystem:
    if not is_router(path):
        if scenario is not None:
            raise UserError("scenario: a fused system has chosen its own; requests may name another one")
        system: RoutedSystem | FusedSystem = FusedSystem.from_pretrained(path)
    else:
        system = RoutedSystem(load_router(str(path)), None, scenario or "performance")
    if not any(split_candidate(c)[1] == "direct" for c in system.candidates):
        raise UserError(f"{path}: expected candidates that are asked without a template, found none")
    return system


def _text(messages: Sequence[Any]) -> str:
    """The chat as routers read it; empty where it has no text, or a form that only LiteLLM knows."""
    try:
        return chat_text([{"content": None, **m} for m in messages]) if messages else ""
    except (UserError, TypeError, AttributeError):
        return ""


def _options(metadata: Mapping[str, Any]) -> Any:
    found = metadata.get(OPTIONS)
    if found is None and isinstance(metadata.get("requester_metadata"), Mapping):
        found = metadata["requester_metadata"].get(OPTIONS)
    return found


def _signal(ranking: Ranking) -> dict[str, Any]:
    """What a request keeps of a ranking: JSON, as it may end in LiteLLM's logs."""
    options = ranking.options
    if ranking.chain is not None:  # of a cascade, which LiteLLM does not follow: the best single candidate first
        options = sorted(options, key=lambda o: -(o.reward if o.reward is not None else -1.0))
    return {"task": ranking.task, "ranking": [asdict(o) for o in options]}


# -- what LiteLLM asks of it when it chooses


class RankedDeployments(CustomLogger):
    """Applies the ranking of a request to the deployments that LiteLLM may choose, and tells it in the headers."""

    async def async_filter_deployments(
        self, model: str, healthy_deployments: list, messages: Any, request_kwargs: dict | None = None,
        parent_otel_span: Any = None,
    ) -> list[dict]:  # fmt: skip
        """The deployments of the best candidate that has some; all of them where no ranking was made."""
        metadata = _metadata(request_kwargs)
        ranking = _ranking(metadata)
        if not ranking or not isinstance(healthy_deployments, list):
            return healthy_deployments
        out = set((request_kwargs or {}).get("_excluded_deployment_ids") or ())
        out |= {r.get("deployment_id") for r in metadata.get("previous_models") or () if isinstance(r, Mapping)}
        allowed = metadata.get("_routing_plugin_candidate_models")  # what another plugin has left
        left = [
            d for d in healthy_deployments
            if d["model_info"].get("id") not in out and (allowed is None or d["litellm_params"]["model"] in allowed)
        ]  # fmt: skip
        for option in ranking:
            same = [d for d in left if option["candidate"] in candidates_of(d)]
            if same:
                return same
        return healthy_deployments

    async def async_post_call_response_headers_hook(
        self, data: dict, user_api_key_dict: Any, response: Any, request_headers: dict[str, str] | None = None,
        litellm_call_info: dict[str, Any] | None = None,
    ) -> dict[str, str] | None:  # fmt: skip
        """``x-fusion-candidate``, ``x-fusion-task``, ``x-fusion-expected-score`` and ``x-fusion-expected-cost``."""
        metadata = _metadata(data)
        names = candidates_of({"model_info": (litellm_call_info or {}).get("model_info") or {}})
        names += [str(metadata.get("deployment", "")), str(metadata.get("deployment", "")).partition("/")[2]]
        option = next((o for o in _ranking(metadata) if o["candidate"] in names), None)
        if option is None:
            return None
        told = {"candidate": option["candidate"], "task": option["task"]}
        told["expected-score"] = f"{option['performance']:.6g}"
        if option["cost"] is not None:
            told["expected-cost"] = f"{option['cost']:.6g}"
        return {f"x-fusion-{name}": value.encode("ascii", "replace").decode() for name, value in told.items()}


def candidates_of(deployment: Mapping[str, Any]) -> list[str]:
    """Names under which a router may know a deployment of LiteLLM."""
    named = (deployment.get("model_info") or {}).get(NAME)
    if named is not None:
        return [str(named)]
    model = str((deployment.get("litellm_params") or {}).get("model", ""))
    return [model, model.partition("/")[2]]


def _metadata(request: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """LiteLLM's own notes on a request, whichever of their two names they have."""
    for name in ("litellm_metadata", "metadata"):
        found = (request or {}).get(name)
        if isinstance(found, Mapping) and "routing_plugin_signals" in found:
            return found
    return {}


def _ranking(metadata: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    return ((metadata.get("routing_plugin_signals") or {}).get(NAME) or {}).get("ranking") or ()


RANKED = RankedDeployments()


def _apply_rankings() -> None:
    """Have LiteLLM ask `RANKED`: once in a process, whoever sets its callbacks anew."""
    if RANKED not in litellm.callbacks:
        litellm.callbacks.append(RANKED)
