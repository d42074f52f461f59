"""fusion_hf: fuse many LLMs from their logs, as ordinary Hugging Face objects.

Importing the package registers the routers with `AutoConfig` and `AutoModel`, and the pipeline ``thought-fusion`` with
`transformers.pipeline`. Everything else is loaded when it is first used.
"""

from importlib import import_module as _import_module

from .errors import UserError
from .routers import KINDS, Router, RoutingDecision
from .routers import register as _register_routers
from .thoughts.pipeline import ThoughtFusionPipeline
from .thoughts.pipeline import register as _register_pipeline

__version__ = "0.1.0"

_LATER = {
    "RoutingData": "bench.data",
    "SCENARIOS": "bench.rewards",
    "Scenario": "bench.rewards",
    "TemplateIndex": "thoughts.index",
    "read_log": "bench.store",
    "train_router": "routers.train",
    "write_bench": "bench.store",
}

__all__ = ["KINDS", "Router", "RoutingDecision", "ThoughtFusionPipeline", "UserError", *_LATER]


def __getattr__(name: str):
    if name in _LATER:
        return getattr(_import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module 'fusion_hf' has no attribute {name!r}")


_register_routers()
_register_pipeline()
