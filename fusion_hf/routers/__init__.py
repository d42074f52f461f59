"""Query level: which LLM, in which mode, should answer a query."""

from typing import TYPE_CHECKING, Any

from .base import Router
from .config import RouterConfig
from .decisions import Predictions, RoutingDecision
from .kind import KINDS, get_kind, load_router, register
from .targets import Targets

if TYPE_CHECKING:
    from .train import fit_router


def __getattr__(name: str) -> Any:
    # Training needs the log's arrays; who only routes should not wait for them.
    if name == "fit_router":
        from .train import fit_router

        return fit_router
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "KINDS",
    "Predictions",
    "Router",
    "RouterConfig",
    "RoutingDecision",
    "Targets",
    "fit_router",
    "get_kind",
    "load_router",
    "register",
]
