"""Saving the code of a model beside its weights, so that ``trust_remote_code=True`` loads it anywhere.

Transformers wants one flat folder whose files import each other as ``from .name import …``. Code from outside our
package imports from it by its public names, ``from fusion_hf.routers import Router``: those become imports of the file
that defines the name.
"""

import ast
import importlib
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "fusion_hf"
RELATIVE = re.compile(r"(?m)^(\s*from\s+)\.+(\w[\w.]*)(\s+import\b)")
ABSOLUTE = re.compile(rf"(?m)^\s*(?:from|import)\s+{PACKAGE}\b")


def needed_files(path: Path) -> list[Path]:
    """`path` and every file of its package, or of ours, that it imports, directly or not; sorted by name."""
    found, todo = set(), [path.resolve()]
    while todo:
        file = todo.pop()
        if file in found:
            continue
        found.add(file)
        source = file.read_text(encoding="utf-8")
        todo += _relative_imports(file, source) + [f for *_, parts in _ours(file, source) for f in parts]
    return sorted(found, key=lambda p: p.name)


def _relative_imports(file: Path, source: str) -> list[Path]:
    result = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = file.parents[node.level - 1]
            target = folder.joinpath(*(node.module or "").split(".")).with_suffix(".py") if node.module else None
            if target is None or not target.is_file():
                raise ValueError(
                    f"{file.name}, line {node.lineno}: expected `from .module import name` of a file beside a "
                    f"checkpoint, found {ast.unparse(node)!r}: only plain modules can be copied beside a checkpoint"
                )
            result.append(target.resolve())
    return result


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes outside of ``try``: what is imported in one is done without where it is not installed."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Try):
            yield child
            yield from _walk(child)


def _ours(file: Path, source: str) -> list[tuple[ast.stmt, dict[Path, list[str]]]]:
    """Imports from our package by its full name: (statement, file -> what is imported from it)."""
    if not ABSOLUTE.search(source):
        return []
    result = []
    for node in _walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(a.name.split(".")[0] == PACKAGE for a in node.names):
            raise ValueError(
                f"{file.name}, line {node.lineno}: expected `from {PACKAGE}.module import name`, found "
                f"{ast.unparse(node)!r}: it cannot be copied beside a checkpoint"
            )
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == PACKAGE:
            parts: dict[Path, list[str]] = {}
            for alias in node.names:
                parts.setdefault(_home(file, node, alias.name), []).append(ast.unparse(alias))
            result.append((node, parts))
    return result


def _home(file: Path, node: ast.ImportFrom, name: str) -> Path:
    """The file of our package that defines what is imported."""
    module = importlib.import_module(node.module or "")
    if hasattr(module, "__path__"):  # a package: what it offers is defined in one of its files
        module = sys.modules.get(getattr(getattr(module, name, None), "__module__", ""), None)
    if module is None or hasattr(module, "__path__") or module.__name__.split(".")[0] != PACKAGE:
        raise ValueError(
            f"{file.name}, line {node.lineno}: {name!r} cannot be copied beside a checkpoint: import a class or "
            f"function of {PACKAGE}, or import it from the plain module that defines it"
        )
    return Path(module.__file__ or "").resolve()


def flatten(source: str, file: Path = Path("code.py")) -> str:
    """`source` with imports from its own folder in place of its package and ours.

    ``from ..a.b import c`` becomes ``from .b import c``, and so does ``from fusion_hf.a import c`` if b defines c.
    """
    lines = source.splitlines(keepends=True)
    for node, parts in sorted(_ours(file, source), key=lambda found: -found[0].lineno):
        end = node.end_lineno or node.lineno
        blank = " " * node.col_offset
        new = [f"{blank}from .{path.stem} import {', '.join(names)}\n" for path, names in parts.items()]
        lines[node.lineno - 1 : end] = new
    return RELATIVE.sub(lambda m: f"{m[1]}.{m[2].rsplit('.', 1)[-1]}{m[3]}", "".join(lines))


def code_of(cls: type) -> list[Path]:
    """The module of a class and all that it imports from its package and ours.

    Raises `ValueError` where two needed modules share a name, or where one cannot be copied (a package, ``__main__``).
    """
    if cls.__module__ == "__main__":
        raise ValueError(f"{cls.__name__} is defined in __main__: put it into a module, so that it can be saved")
    files = needed_files(Path(sys.modules[cls.__module__].__file__ or ""))
    names = [f.name for f in files]
    if len(set(names)) < len(names):
        raise ValueError(f"two modules beside {cls.__name__} share a file name: {', '.join(names)}")
    return files


def code_or_none(cls: type) -> list[Path] | None:
    """`code_of` a class; None, with a warning, where it cannot be copied."""
    try:
        return code_of(cls)
    except ValueError as error:
        warnings.warn(
            f"the checkpoint of {cls.__name__} is saved without code ({error}): to load it, import the class and call "
            f"{cls.__name__}.from_pretrained",
            stacklevel=3,
        )
        return None


def save_code(cls: type, folder: str | Path) -> list[Path]:
    """Copy `code_of` a class flat into `folder`; returns the files. Raises `ValueError` as `code_of` does."""
    saved = []
    for file in code_of(cls):
        target = Path(folder) / file.name
        target.write_text(flatten(file.read_text(encoding="utf-8"), file), encoding="utf-8")
        saved.append(target)
    return saved


def auto_map(model: type, config: type) -> dict[str, str]:
    """The ``auto_map`` of config.json that names the classes `save_code` has copied."""
    return {
        name: f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"
        for name, cls in (("AutoConfig", config), ("AutoModel", model))
    }
