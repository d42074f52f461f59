"""fusion_hf: fuse many LLMs from their logs, as ordinary Hugging Face objects.

Importing the package registers the routers with `AutoConfig` and `AutoModel`, and the pipeline ``thought-fusion`` with
`transformers.pipeline`. Everything else is loaded when it is first used.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from .errors import UserError
from .routers import KINDS, Router, RoutingDecision
from .routers import register as _register_routers
from .thoughts.pipeline import ThoughtFusionPipeline
from .thoughts.pipeline import register as _register_pipeline

if TYPE_CHECKING:  # what `_LATER` loads when it is first used
    from .fused import FusedSystem
    from .logs.arrays import RoutingData
    from .logs.rewards import SCENARIOS, Scenario
    from .logs.store import read_log
    from .logs.write import write_bench
    from .routers.train import train_router
    from .thoughts.index import TemplateIndex

__version__ = "0.1.0"

_LATER = {
    "FusedSystem": "fused",
    "RoutingData": "logs.arrays",
    "SCENARIOS": "logs.rewards",
    "Scenario": "logs.rewards",
    "TemplateIndex": "thoughts.index",
    "read_log": "logs.store",
    "train_router": "routers.train",
    "write_bench": "logs.write",
}

# Written out, because type checkers do not run it.
__all__ = [
    "KINDS", "SCENARIOS", "FusedSystem", "Router", "RoutingData", "RoutingDecision", "Scenario", "TemplateIndex",
    "ThoughtFusionPipeline", "UserError", "read_log", "train_router", "write_bench",
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _LATER:
        return getattr(_import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module 'fusion_hf' has no attribute {name!r}")


_register_routers()
_register_pipeline()
