"""One registry: what lies in the package's folders, what other installed packages offer, and what a path names.

A plug-in is a module that defines one name: a task ``TASK``, a grader ``strict`` (and ``paper``), an importer ``read``,
a backend ``Backend``, a router kind ``ROUTER``. Another package offers one under the entry-point group ``fusion_hf``::

    [project.entry-points.fusion_hf]
    "routers:my-router" = "my_package.my_router"

On the command line and in the functions a path such as ``./my_router.py`` names one too. A path is only taken where a
user gives it, never from a file that somebody else may have written.
"""

import functools
import importlib
import importlib.util
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from .errors import UserError

GROUPS = {
    "tasks": ("fusion_hf.tasks", "TASK"),
    "graders": ("fusion_hf.tasks.graders", "strict"),
    "importers": ("fusion_hf.logs.importers", "read"),
    "backends": ("fusion_hf.llms.backends", "Backend"),
    "routers": ("fusion_hf.routers.kinds", "ROUTER"),
    "cards": ("fusion_hf", "CARDS"),  # the card.py of each package
}
"""Group -> the package's folder of such plug-ins, and the name that each of them defines."""


@functools.cache
def modules(group: str) -> dict[str, str]:
    """Plug-ins of a group: name -> module, by name. A plug-in of another package cannot replace one of ours."""
    package, attribute = GROUPS[group]
    folder = Path(__file__).parent.joinpath(*package.split(".")[1:])
    if group == "cards":
        return {
            p.parent.name: f"{package}.{p.parent.name}.card"
            for p in sorted(folder.glob("*/card.py"))
            if attribute in p.read_text(encoding="utf-8")
        }
    defines = re.compile(rf"(?m)^(?:def |class )?{attribute}\b")
    # A last _ keeps a file apart from a module of the same name: code beside a checkpoint must not hide any.
    ours = {
        path.stem.rstrip("_").replace("_", "-"): f"{package}.{path.stem}"
        for path in folder.glob("[!_]*.py")
        if defines.search(path.read_text(encoding="utf-8"))
    }
    if group in ("tasks", "graders", "backends"):  # these names stand in logs and pool files, with underscores
        ours = {name.replace("-", "_"): module for name, module in ours.items()}
    found = {
        point.name.partition(":")[2]: point.value
        for point in entry_points(group="fusion_hf")
        if point.name.partition(":")[0] == group
    }
    return dict(sorted((found | ours).items()))


def names(group: str) -> tuple[str, ...]:
    """Names of the plug-ins of a group."""
    return tuple(modules(group))


def load(group: str, name: str) -> ModuleType:
    """The module of a plug-in, by its name or by a path that ends in ``.py``.

    Raises:
        UserError: No such plug-in, or a module that does not define the group's name.
    """
    if name.endswith(".py"):
        module = _load_file(Path(name))
    elif name in modules(group):
        module = importlib.import_module(modules(group)[name])
    else:
        word = group.removesuffix("s").replace("router", "router kind")
        raise UserError(f"unknown {word} {name!r}: expected one of {', '.join(names(group))}, or a path to a .py file")
    if not hasattr(module, GROUPS[group][1]):
        raise UserError(f"{name}: expected a module that defines {GROUPS[group][1]}, found none")
    return module


def has_line(group: str, name: str, line: str) -> bool:
    """Whether the file of a plug-in has this line, without importing it (and what it needs)."""
    spec = importlib.util.find_spec(modules(group)[name])
    return spec is not None and f"\n{line}\n" in Path(spec.origin).read_text(encoding="utf-8")


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path}: expected a Python file, found nothing there")
    if path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) == str(path.resolve()):
        return sys.modules[path.stem]
    if path.stem in sys.modules or importlib.util.find_spec(path.stem) is not None:
        raise UserError(f"{path}: a module of the name {path.stem!r} exists already: give the file another name")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # its classes say where they come from, and their code is saved from there
    spec.loader.exec_module(module)
    return module
