"""Saving the code of a model beside its weights, so that ``trust_remote_code=True`` loads it anywhere.

Transformers wants one flat folder whose files import each other as ``from .name import …``.
"""

import ast
import re
import sys
from pathlib import Path

RELATIVE = re.compile(r"(?m)^(\s*from\s+)\.+(\w[\w.]*)(\s+import\b)")


def needed_files(path: Path) -> list[Path]:
    """`path` and every file of its package that it imports by relative imports, directly or not; sorted by name."""
    found, todo = set(), [path.resolve()]
    while todo:
        file = todo.pop()
        if file in found:
            continue
        found.add(file)
        todo += _relative_imports(file)
    return sorted(found, key=lambda p: p.name)


def _relative_imports(file: Path) -> list[Path]:
    result = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
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


def flatten(source: str) -> str:
    """`source` with relative imports from its own folder only: ``from ..a.b import c`` -> ``from .b import c``."""
    return RELATIVE.sub(lambda m: f"{m[1]}.{m[2].rsplit('.', 1)[-1]}{m[3]}", source)


def save_code(cls: type, folder: str | Path) -> list[Path]:
    """Copy the module of `cls`, and all that it imports from its package, flat into `folder`; returns the files.

    Raises `ValueError` where two needed modules share a name, or where one cannot be copied (a package, ``__main__``).
    """
    if cls.__module__ == "__main__":
        raise ValueError(f"{cls.__name__} is defined in __main__: put it into a module, so that it can be saved")
    files = needed_files(Path(sys.modules[cls.__module__].__file__))
    names = [f.name for f in files]
    if len(set(names)) < len(names):
        raise ValueError(f"two modules beside {cls.__name__} share a file name: {', '.join(names)}")
    saved = []
    for file in files:
        target = Path(folder) / file.name
        target.write_text(flatten(file.read_text(encoding="utf-8")), encoding="utf-8")
        saved.append(target)
    return saved


def auto_map(model: type, config: type) -> dict[str, str]:
    """The ``auto_map`` of config.json that names the classes `save_code` has copied."""
    return {
        name: f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"
        for name, cls in (("AutoConfig", config), ("AutoModel", model))
    }
