"""What every router is: a `PreTrainedModel` that holds its text encoder, its features and what it learned.

This file is copied beside checkpoints (see `remote_code`). A new kind is a module with a `RouterConfig` subclass, a
`Router` subclass that implements `learn` and `head`, and a line ``ROUTER = ThatClass``: a file of ``kinds/``, or one of
your own anywhere.
"""

import inspect
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import AutoModel, PreTrainedModel

from ..encoders.beginnings import bare
from ..encoders.encoder import TextEncoder
from ..encoders.joint import JointEncoder, empty_models
from ..errors import UserError
from ..outputs import atomic_folder
from ..pushable import Pushable
from ..remote_code import auto_map, code_or_none, save_code
from .added import extend, extend_votes
from .chats import Chat, as_texts
from .config import RouterConfig
from .decisions import Predictions, RoutingDecision, TradeOff, decide, within_cost
from .examples import nearest_logged
from .features import text_features
from .targets import Targets

SHOWN_QUERIES, SHOWN_TASKS = 3, 5  # in explanations


class Router(Pushable, PreTrainedModel):  # type: ignore[misc]  # pushing goes through our cards, keyword by keyword
    """Base of all kinds. See `route` and `predict`; `fit_router` makes one from a log."""

    config_class = RouterConfig
    base_model_prefix = "router"
    main_input_name = "features"
    needs_answers: ClassVar[bool] = False  # whether `learn` wants `Targets.answers`

    def __init__(self, config: RouterConfig):
        super().__init__(config)
        self.encoder = None if config.encoder_config is None else AutoModel.from_config(config.encoder_config)
        if config.encoders:
            self.encoder = empty_models(config.encoders)
        for name, (dtype, shape) in (config.buffers or {}).items():
            # An explicit dtype, so that `dtype=` of from_pretrained casts the encoder only.
            self.register_buffer(name, torch.zeros(shape, dtype=getattr(torch, dtype)))
        # save_pretrained needs a parameter to read a dtype from.
        self.placeholder = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.tokenizer: Any = None
        self.post_init()

    # -- what a kind implements

    @classmethod
    def learn(
        cls, x: np.ndarray, targets: Targets, seed: int = 0, **options: Any
    ) -> tuple[dict, dict[str, torch.Tensor]]:
        """Learn from features x, float64 [n, d]: (plain data to keep as ``config.options``, buffers)."""
        raise NotImplementedError

    @classmethod
    def option_defaults(cls) -> dict[str, Any]:
        """Names of the options that `learn` takes, and what they are unless given."""
        return keyword_defaults(cls.learn)

    def head(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Predict from features [n, d].

        Keys ``performance``, ``performance_scaled`` (and likewise ``cost``, ``judge`` where the log has them): [n, m].
        """
        raise NotImplementedError

    def reasons(self, output: dict[str, torch.Tensor]) -> list[list[str]]:
        """Lines on why, for every query: the tasks, or groups of queries, that it looks like."""
        shares = self._task_shares(output) or [{}] * len(output["performance"])
        return [[f"looks like {_percent(share)}"] if share else [] for share in shares]

    def votes(self, output: dict[str, torch.Tensor]) -> dict[TradeOff | None, torch.Tensor] | None:
        """For kinds that choose without predicting a reward: `Predictions.votes`, [n, m], from the output of `head`."""
        return None

    # -- predicting

    @property
    def candidates(self) -> list[str]:
        """Candidate ids in the order of the columns of predictions."""
        return list(self.config.candidates)

    @property
    def learned_candidates(self) -> list[str]:
        """Candidate ids in the order of the columns of `head`: those of the training log."""
        return list(self.config.learned or self.config.candidates)

    def features(self, queries: Sequence[str | Chat], embeddings: np.ndarray | None = None) -> torch.Tensor:
        """Features of queries: float32 [n, d]: embedding (if there is an encoder), surface, TF-IDF.

        Pass `embeddings` [n, e] of the `bare` queries where they are known already (see
        `fusion_hf.encoders.cache.embed_cached`).
        """
        queries = as_texts(queries)
        blocks = [text_features(dict(self.named_buffers(recurse=False)), queries)]
        if self.encoder is not None:
            if embeddings is None:
                embeddings = self.text_encoder.encode(self.bare(queries))
            blocks.insert(0, torch.from_numpy(np.asarray(embeddings, np.float32)).to(self.placeholder.device))
        return torch.cat(blocks, 1)

    def bare(self, queries: Sequence[str | Chat]) -> list[str]:
        """Texts of queries as they are embedded: without a long beginning that many training queries share."""
        return bare(as_texts(queries), dict(self.named_buffers(recurse=False)).get("beginnings"))

    @property
    def text_encoder(self) -> TextEncoder:
        """The encoder as a function from texts to vectors."""
        if self.encoder is None or self.tokenizer is None:
            raise UserError("this router has no tokenizer: load it with from_pretrained, or set router.tokenizer")
        if self.config.encoders:
            buffers = (self.get_buffer(name) for name in ("encoder_middle", "encoder_axes"))
            state = (buffer.float().cpu().numpy() for buffer in buffers)
            return JointEncoder.of(self.config.encoders, self.encoder, self.tokenizer, *state)
        return TextEncoder(self.encoder, self.tokenizer, self.config.max_length)

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """`head` of features [n, d] as `features` makes them, with the candidates that were added since."""
        return extend(self, self.head(features))

    @torch.inference_mode()
    def predict(
        self, queries: Sequence[str | Chat], embeddings: np.ndarray | None = None, nearest: int = 0
    ) -> Predictions:
        """Performance and cost that every candidate is expected to have on every query.

        `nearest` asks for that many similar logged queries too.
        """
        x = self.features(queries, embeddings)
        learned = self.head(x)
        output = extend(self, learned)
        nothing = np.full((len(queries), len(self.candidates)), np.nan)
        raw, scaled = (
            {
                q: output[q + suffix].double().cpu().numpy() if q + suffix in output else nothing
                for q in ("performance", "cost", "judge")
            }
            for suffix in ("", "_scaled")
        )
        near = nearest_logged(self, x, nearest) if nearest else None
        votes = extend_votes(self.config, self.votes(learned))
        return Predictions(self.candidates, raw, scaled, self.reasons(output), self._task_shares(output), near, votes)

    def _task_shares(self, output: dict[str, torch.Tensor]) -> list[dict[str, float]] | None:
        """Share of each group of queries, where the kind says (``tasks`` in its output), the largest first."""
        names = (self.config.options or {}).get("groups")
        if "tasks" not in output or not names:
            return None
        share, place = output["tasks"].topk(min(SHOWN_TASKS, len(names)), dim=1)
        return [
            {names[t]: s for s, t in zip(row, where, strict=True) if s >= 0.01}
            for row, where in zip(share.tolist(), place.tolist(), strict=True)
        ]

    def route(
        self,
        queries: Sequence[str | Chat],
        scenario: str | None = None,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        max_cost: float | None = None,
        candidates: Sequence[str] | None = None,
        explain: bool = False,
        **how: Any,
    ) -> list[RoutingDecision]:
        """Choose a candidate for every query.

        Args:
            queries: Texts, as asked in direct mode, or chats (lists of messages).
            scenario: Name of a trade-off in `config.scenarios`; None for ``performance``, or for alpha and beta.
            alpha, beta: A trade-off of your own instead: reward = alpha * performance - beta * cost. One that is not
                given is 0.
            max_cost: USD that the answer may be expected to cost.
            candidates: Choose among these only.
            explain: Also look up the nearest logged queries, for `RoutingDecision.explain`.
            how: What else the kind's `predict` takes.

        Raises:
            UserError: Unknown scenario or candidate; a cost is asked for and the training log had none; no candidate is
                expected to keep to `max_cost`, or can be chosen at all.
        """
        trade = self.costed_trade_off(scenario, alpha, beta, max_cost)
        columns = self.columns_of(candidates)
        predictions = self.predict(queries, nearest=SHOWN_QUERIES if explain else 0, **how)
        reward = predictions.reward(**trade)[:, columns]
        if max_cost is not None:
            reward = within_cost(predictions, reward, columns, max_cost)
        if np.isnan(reward).all(1).any():
            names = ", ".join(self.candidates[c] for c in columns)
            raise UserError(f"this router cannot choose any of {names}: it learned nothing about them")
        return decide(predictions, reward, columns)

    def costed_trade_off(
        self, scenario: str | None, alpha: float | None, beta: float | None, max_cost: float | None
    ) -> dict:
        """`trade_off`; a `UserError` where it, or `max_cost`, asks for costs that the training log had none of."""
        trade = self.trade_off(scenario, alpha, beta)
        if (trade["beta"] or max_cost is not None) and not self.config.has_cost:
            raise UserError("this router was trained on a log without costs: expected beta 0 and no max_cost")
        return trade

    def trade_off(self, scenario: str | None, alpha: float | None = None, beta: float | None = None) -> dict:
        """The trade-off of a scenario, or of alpha and beta where one is given: ``{"alpha", "beta", "score"}``."""
        if alpha is not None or beta is not None:
            if scenario is not None:
                raise UserError(f"expected a scenario or alpha and beta, found both: {scenario!r}, {alpha} and {beta}")
            if not np.isfinite([alpha or 0, beta or 0]).all():
                raise UserError(f"alpha and beta: expected finite numbers, found {alpha} and {beta}")
            return {"alpha": alpha or 0.0, "beta": beta or 0.0, "score": "performance"}
        known, scenario = self.config.scenarios or {}, scenario or "performance"
        if scenario not in known:
            raise UserError(f"unknown scenario {scenario!r}: expected one of {', '.join(known)}")
        if known[scenario]["score"] == "judge" and not self.config.has_judge:
            raise UserError(f"scenario {scenario!r} needs judge scores: this router was trained on a log without any")
        return known[scenario]

    def columns_of(self, candidates: Sequence[str] | None) -> list[int]:
        """Columns of predictions for these candidates, each once, in the router's order; None means all."""
        if candidates is None:
            return list(range(len(self.candidates)))
        unknown = sorted(set(candidates) - set(self.candidates))
        if unknown or not len(candidates):
            found = repr(unknown[0]) if unknown else "none"
            raise UserError(f"unknown candidate {found}: this router knows {', '.join(self.candidates)}")
        return sorted({self.candidates.index(c) for c in candidates})

    # -- saving and loading

    def save_pretrained(  # type: ignore[override]
        self, save_directory: str | PathLike, push_to_hub: bool = False, repo_id: str | None = None, **kwargs: Any
    ) -> None:
        """Save weights, configuration, tokenizer and the code that loads them (``trust_remote_code=True``).

        Of several processes that trained together, the first one saves. With `push_to_hub` all of it is pushed too, to
        `repo_id` or to a repository of the folder's name.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return
        files = code_or_none(type(self))
        self.config.auto_map = auto_map(type(self), self.config_class)
        if files is None:
            del self.config.auto_map
        if self.config.encoder_config is not None:
            # Not the folder that it was read from: what is saved may be published.
            self.config.encoder_config._name_or_path = self.config.encoder_name
        # Whole or not at all: a kill must not leave a new config beside old weights.
        with atomic_folder(save_directory, "router", overwrite=True) as folder:
            super().save_pretrained(folder, **kwargs)
            for place, tokenizer in _places(self.tokenizer):
                tokenizer.save_pretrained(folder / place)
            if files is not None:
                save_code(type(self), folder)
        if push_to_hub:
            self.push_to_hub(repo_id or Path(save_directory).name)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | PathLike, *args: Any, **kwargs: Any
    ) -> Self:
        """Load a router with its tokenizer; arguments as in `PreTrainedModel.from_pretrained`."""
        hub: dict[str, Any] = {
            k: kwargs[k] for k in ("revision", "token", "cache_dir", "local_files_only", "subfolder") if k in kwargs
        }
        result = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        router = result[0] if isinstance(result, tuple) else result
        if router.encoder is not None:
            from transformers import AutoTokenizer

            hub["trust_remote_code"] = False  # a tokenizer is data here: it never asks whether it may run code
            inside, found = hub.pop("subfolder", ""), []
            for place, model in _places(list(router.encoder) if router.config.encoders else router.encoder):
                where = hub | {"subfolder": "/".join(p for p in (inside, place) if p)}
                found.append(AutoTokenizer.from_pretrained(pretrained_model_name_or_path, config=model.config, **where))
            router.tokenizer = found if router.config.encoders else found[0]
        return result


def _places(parts: Any) -> list[tuple[str, Any]]:
    """(folder in a checkpoint, part) of the tokenizer, or of each: the first lies beside the weights."""
    parts = parts if isinstance(parts, list) else [parts]
    return [(f"encoder_{i}" if i else "", part) for i, part in enumerate(parts) if part is not None]


def _percent(share: dict[str, float]) -> str:
    return ", ".join(f"{name} ({100 * s:.0f} %)" for name, s in share.items())


def keyword_defaults(learn: Any) -> dict[str, Any]:
    """Arguments of a function that have a default, the seed left out."""
    found = {name: p.default for name, p in inspect.signature(learn).parameters.items() if p.default is not p.empty}
    found.pop("seed", None)
    return found
