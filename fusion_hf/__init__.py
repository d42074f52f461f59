"""fusion_hf: fuse many LLMs from their logs, as ordinary Hugging Face objects.

Every command of ``fusion-hf`` is a function here, with the command's name and options. Importing the package registers
the routers with `AutoConfig` and `AutoModel`, and the pipeline ``thought-fusion`` with `transformers.pipeline`, as soon
as transformers has been imported as well. Everything else is loaded when it is first used.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING
from typing import Any as _Any

from . import plugins
from .after_import import after_import as _after_import
from .errors import UserError

if TYPE_CHECKING:  # what `_LATER` loads when it is first used
    from .comparison.verbs import autofuse, compare, export
    from .demonstration import demo
    from .distill.verbs import eval_student, merge, sft_data
    from .encoders.verbs import static_encoder
    from .fused import FusedSystem
    from .fused.verbs import ask, collect
    from .hub.verbs import push
    from .llms.verbs import build, judge, recost
    from .logs.arrays import RoutingData
    from .logs.log import Log, read_log, write_bench
    from .logs.rewards import SCENARIOS, Scenario
    from .logs.verbs import audit, grade, import_log, split
    from .routers import KINDS, Router, RoutingDecision
    from .routers.measuring.leaderboard import leaderboard
    from .routers.measuring.verbs import calibrate, cv_router, eval_router
    from .routers.verbs import add_llm, remove_llm, route, train_router
    from .serving.updating import update
    from .serving.verbs import serve
    from .thoughts.index import TemplateIndex
    from .thoughts.pipeline import ThoughtFusionPipeline
    from .thoughts.verbs import templates, think

__version__ = "0.1.0"

_VERBS = {
    "add_llm": "routers.verbs",
    "ask": "fused.verbs",
    "audit": "logs.verbs",
    "autofuse": "comparison.verbs",
    "build": "llms.verbs",
    "calibrate": "routers.measuring.verbs",
    "collect": "fused.verbs",
    "compare": "comparison.verbs",
    "cv_router": "routers.measuring.verbs",
    "demo": "demonstration",
    "eval_router": "routers.measuring.verbs",
    "eval_student": "distill.verbs",
    "export": "comparison.verbs",
    "grade": "logs.verbs",
    "import_log": "logs.verbs",
    "judge": "llms.verbs",
    "leaderboard": "routers.measuring.leaderboard",
    "merge": "distill.verbs",
    "push": "hub.verbs",
    "recost": "llms.verbs",
    "remove_llm": "routers.verbs",
    "route": "routers.verbs",
    "serve": "serving.verbs",
    "sft_data": "distill.verbs",
    "split": "logs.verbs",
    "static_encoder": "encoders.verbs",
    "templates": "thoughts.verbs",
    "think": "thoughts.verbs",
    "train_router": "routers.verbs",
    "update": "serving.updating",
}
"""Function of a command -> its module."""

_LATER = {
    "FusedSystem": "fused",
    "KINDS": "routers",
    "Log": "logs.log",
    "Router": "routers",
    "RoutingData": "logs.arrays",
    "RoutingDecision": "routers",
    "SCENARIOS": "logs.rewards",
    "Scenario": "logs.rewards",
    "TemplateIndex": "thoughts.index",
    "ThoughtFusionPipeline": "thoughts.pipeline",
    "read_log": "logs.log",
    "write_bench": "logs.log",
    **_VERBS,
}

# Written out, because type checkers do not run it.
__all__ = [
    "KINDS", "SCENARIOS", "FusedSystem", "Log", "Router", "RoutingData", "RoutingDecision", "Scenario",
    "TemplateIndex", "ThoughtFusionPipeline", "UserError", "add_llm", "ask", "audit", "autofuse", "build",
    "calibrate", "collect", "compare", "cv_router", "demo", "eval_router", "eval_student", "export", "grade",
    "import_log", "judge", "leaderboard", "merge", "plugins", "push", "read_log", "recost", "remove_llm", "route",
    "serve", "sft_data", "split", "static_encoder", "templates", "think", "train_router", "update", "write_bench",
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _LATER:
        return getattr(_import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module 'fusion_hf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_routers() -> None:
    _import_module(".routers", __name__).register()


def _register_pipeline() -> None:
    _import_module(".thoughts.pipeline", __name__).register()


_auto = "transformers.models.auto"
_after_import([f"{_auto}.configuration_auto", f"{_auto}.modeling_auto"], _register_routers, packages=[__name__])
_after_import(["transformers.pipelines"], _register_pipeline, packages=[__name__])
