"""Query level: which LLM, in which mode, should answer a query."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, hub_reason
from .base import Router
from .config import RouterConfig
from .decisions import Predictions, RoutingDecision

if TYPE_CHECKING:
    from .train import train_router

_FILES: dict[str, str] = {
    # A last _ keeps a file apart from a module of the same name: code beside a checkpoint must not hide any.
    p.stem.rstrip("_").replace("_", "-"): p.stem
    for p in sorted(Path(__file__).parent.glob("*.py"))
    if "\nROUTER = " in p.read_text(encoding="utf-8")
}
KINDS: tuple[str, ...] = tuple(sorted(_FILES))
"""Router kinds: every file of this folder with a line `ROUTER = …`; ``best_single.py`` is the kind ``best-single``, and
``random_.py`` is ``random``."""


def get_kind(name: str) -> type[Router]:
    """The router class of a kind; a `UserError` lists the known ones."""
    if name not in KINDS:
        raise UserError(f"unknown router kind {name!r}: expected one of {', '.join(KINDS)}")
    return import_module(f".{_FILES[name]}", __name__).ROUTER


def register() -> None:
    """Make `AutoConfig` and `AutoModel` know every kind; calling it again changes nothing."""
    from transformers import AutoConfig, AutoModel

    for name in KINDS:
        cls = get_kind(name)
        AutoConfig.register(cls.config_class.model_type, cls.config_class, exist_ok=True)
        AutoModel.register(cls.config_class, cls, exist_ok=True)


def load_router(path: str | Path, **kwargs: Any) -> Router:
    """Load a router from a folder or Hub repository, with the code of this package.

    Raises:
        UserError: Nothing is there, or it is no router.
    """
    from transformers import AutoConfig, AutoModel

    register()
    known = {get_kind(name).config_class for name in KINDS}
    try:
        config = AutoConfig.from_pretrained(path, **kwargs)
        if type(config) not in known:
            raise UserError(f"{path}: expected a router of fusion_hf, found a model of type {config.model_type!r}")
        return AutoModel.from_pretrained(path, **kwargs)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no router can be loaded from there: {hub_reason(error)}") from error


def __getattr__(name: str) -> Any:
    # Training needs the log's arrays; who only routes should not wait for them.
    if name == "train_router":
        from .train import train_router

        return train_router
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "KINDS",
    "Predictions",
    "Router",
    "RouterConfig",
    "RoutingDecision",
    "get_kind",
    "load_router",
    "register",
    "train_router",
]
