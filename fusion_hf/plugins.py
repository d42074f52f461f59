"""One registry: what lies in the package's folders, what other installed packages offer, and what a path names.

A plug-in is a module that defines one name: a task ``TASK``, a grader ``strict`` (and ``paper``), an importer ``read``,
a backend ``Backend``, a router kind ``ROUTER``. Another package offers one under the entry-point group ``fusion_hf``::

    [project.entry-points.fusion_hf]
    "routers:my-router" = "my_package.my_router"

A file of one's own is a plug-in for this process after `add`; on the command line ``--plugin ./my_grader.py`` does
that, and so do ``--kind ./my_router.py`` and the like. A path runs code, so it is only taken where a user gives it:
`load` knows names only, because a pool file or a checkpoint may have been written by somebody else.
"""

import functools
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

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
_ADDED: dict[str, dict[str, ModuleType]] = {group: {} for group in GROUPS}


@functools.cache
def modules(group: str) -> dict[str, str]:
    """Installed plug-ins of a group: name -> module. A plug-in of another package cannot replace one of ours."""
    package, attribute = GROUPS[group]
    folder = Path(__file__).parent.joinpath(*package.split(".")[1:])
    if group == "cards":
        return {
            p.parent.name: f"{package}.{p.parent.name}.card"
            for p in sorted(folder.glob("*/card.py"))
            if attribute in p.read_text(encoding="utf-8")
        }
    defines = re.compile(rf"(?m)^(?:def |class )?{attribute}\b")
    ours = {
        _name(group, path.stem): f"{package}.{path.stem}"
        for path in folder.glob("[!_]*.py")
        if defines.search(path.read_text(encoding="utf-8"))
    }
    return dict(sorted((_offered(group, ours) | ours).items()))


def _offered(group: str, ours: Mapping[str, str]) -> dict[str, str]:
    """What other installed packages offer; a warning names what is passed over."""
    found: dict[str, str] = {}
    for point in sorted(entry_points(group="fusion_hf"), key=lambda point: point.value):
        theirs, _, name = point.name.partition(":")
        first = ({**found, **ours}).get(_name(group, name), point.module)
        if theirs == group and first == point.module:
            found[_name(group, name)] = point.module
        elif theirs == group:
            warnings.warn(f"plug-in {point.name} of {point.module} is passed over: {first} has its name", stacklevel=2)
        elif theirs not in GROUPS:
            known = ", ".join(f"{name}:NAME" for name in GROUPS if name != "cards")
            warnings.warn(f"plug-in {point.name} is passed over: expected one of {known}", stacklevel=2)
    return found


def names(group: str) -> tuple[str, ...]:
    """Names of the plug-ins of a group, those that were added by a path included."""
    return tuple(sorted({*modules(group), *_ADDED[group]}))


def ours(group: str, name: str) -> bool:
    """Whether a plug-in is a file of this package."""
    return modules(group).get(name, "").startswith("fusion_hf.")


def load(group: str, name: str) -> ModuleType:
    """The module of a plug-in by its name.

    Raises:
        UserError: No such plug-in, one of another package that fails, or a module that lacks the name of its group.
    """
    if name in _ADDED[group]:
        return _ADDED[group][name]
    if name not in modules(group):
        word = group.removesuffix("s").replace("router", "router kind")
        raise UserError(
            f"unknown {word} {name!r}: expected one of {', '.join(names(group))}; a file of your own is made known by "
            "--plugin FILE.py or fusion_hf.plugins.add"
        )
    where = modules(group)[name]
    try:
        module = importlib.import_module(where)
    except (Exception, SystemExit) as error:  # whatever the code of another package raises
        if ours(group, name):
            raise
        raise UserError(f"plug-in {group}:{name} ({where}) fails: {type(error).__name__}: {error}") from error
    return _checked(group, module, where)


def load_all(group: str) -> dict[str, ModuleType]:
    """Every plug-in of a group that loads; one of another package that does not is left out, with a warning."""
    found = {}
    for name in names(group):
        try:
            found[name] = load(group, name)
        except UserError as error:
            if ours(group, name):
                raise
            warnings.warn(f"{error}: it is left out", stacklevel=2)
    return found


def add(path: str | Path) -> dict[str, str]:
    """Make the plug-ins of a Python file known in this process. The file is run: it must be the user's own choice.

    Args:
        path: File that defines at least one of the names in `GROUPS`. Its stem is the plug-in's name (of a task, the
            task's own name).

    Returns:
        Group -> name, of each plug-in that the file is.

    Raises:
        UserError: There is no file, it defines none of the names, or one of that name exists already.
    """
    module = _load_file(Path(path))
    mine = {group: attribute for group, (_, attribute) in GROUPS.items() if group != "cards"}
    found = {group: _name(group, module.__name__) for group, attribute in mine.items() if hasattr(module, attribute)}
    if not found:
        expected = ", ".join(f"{attribute} ({group})" for group, attribute in mine.items())
        raise UserError(f"{path}: expected a module that defines one of {expected}, found none")
    for group, name in found.items():
        if name in modules(group):
            raise UserError(f"{path}: {group} has a plug-in {name!r} already: give the file another name")
        _ADDED[group][name] = module
    return found


def given(group: str, name: str) -> tuple[str, ModuleType]:
    """What a user names: (name, module) of a plug-in, by its name or by a path that ends in ``.py`` (see `add`)."""
    if not name.endswith(".py"):
        return name, load(group, name)
    found = add(name)
    if group not in found:
        raise UserError(f"{name}: expected a module that defines {GROUPS[group][1]}, found none")
    return found[group], load(group, found[group])


class Plugins(Mapping[str, ModuleType]):
    """The plug-ins of a group by name; a module is imported when it is first asked for."""

    def __init__(self, group: str):
        self.group = group

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self:
            raise KeyError(name)
        return load(self.group, name)

    def __contains__(self, name: object) -> bool:
        return name in names(self.group)

    def __iter__(self) -> Iterator[str]:
        return iter(names(self.group))

    def __len__(self) -> int:
        return len(names(self.group))


class Names(Sequence[str]):
    """The names of a group, as they are whenever it is looked at."""

    def __init__(self, group: str):
        self.group = group

    def __getitem__(self, place: Any) -> Any:
        return names(self.group)[place]

    def __len__(self) -> int:
        return len(names(self.group))

    def __repr__(self) -> str:
        return repr(names(self.group))


def has_line(group: str, name: str, line: str) -> bool:
    """Whether the file of a plug-in has this line, without importing it (and what it needs)."""
    if name in _ADDED[group]:
        origin = _ADDED[group][name].__file__
    else:
        try:
            spec = importlib.util.find_spec(modules(group)[name])
        except ImportError:  # of the package that it is in
            spec = None
        origin = spec.origin if spec else None
    return origin is not None and f"\n{line}\n" in Path(origin).read_text(encoding="utf-8")


def _name(group: str, stem: str) -> str:
    """Name of a plug-in in a file: ``best_single.py`` is ``best-single``.

    Names of tasks, graders and backends stand in logs and pool files, with underscores. A last _ keeps a file apart
    from a module of the same name: code beside a checkpoint must not hide any.
    """
    stem = stem.rstrip("_")
    return stem if group in ("tasks", "graders", "backends") else stem.replace("_", "-")


def _checked(group: str, module: ModuleType, where: str) -> ModuleType:
    if not hasattr(module, GROUPS[group][1]):
        raise UserError(f"{where}: expected a module that defines {GROUPS[group][1]}, found none")
    return module


def _load_file(path: Path) -> ModuleType:
    if not path.is_file() or path.suffix != ".py" or not path.stem.isidentifier():
        raise UserError(f"{path}: expected a Python file whose name is an identifier, found none")
    name, file = path.stem, path.resolve()
    known = sys.modules.get(name) or importlib.util.find_spec(name)
    origin = getattr(known, "__file__", None) or getattr(known, "origin", None)
    folder = name not in sys.modules and origin is None  # of that name, such as a checkpoint of the plug-in: no module
    if known is not None and not folder and (origin is None or Path(origin).resolve() != file):
        raise UserError(f"{path}: a module of the name {name!r} exists already: give the file another name")
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its classes say where they come from, and their code is saved from there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, UserError) or not isinstance(error, Exception | SystemExit):
            raise
        raise UserError(f"{path} fails: {type(error).__name__}: {error}") from error
    return module
