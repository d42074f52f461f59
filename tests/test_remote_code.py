"""Code beside checkpoints: flat, complete, and refused where it cannot work."""

import ast
import sys
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

from fusion_hf.remote_code import auto_map, flatten, needed_files, save_code
from fusion_hf.routers import KINDS, get_kind


def package(tmp_path, files):
    for name, text in files.items():
        path = tmp_path / "pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pkg"


def imports(source):
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]


def test_flatten_keeps_everything_else():
    source = "import os\nfrom ..a.b import c\n    from .d import (\n e)\nfrom x.y import z\nfrom ... import up\n"
    assert flatten(source) == (
        "import os\nfrom .b import c\n    from .d import (\n e)\nfrom x.y import z\nfrom ... import up\n"
    )


def test_needed_files_follow_imports_of_imports(tmp_path):
    root = package(
        tmp_path,
        {"low.py": "", "mid.py": "from .low import x\n", "sub/top.py": "if 1:\n    from ..mid import y\n", "no.py": ""},
    )
    assert [p.name for p in needed_files(root / "sub" / "top.py")] == ["low.py", "mid.py", "top.py"]


@pytest.mark.parametrize("line", ["from . import low", "from .sub import x", "from .gone import x"])
def test_what_cannot_be_copied_is_named(tmp_path, line):
    root = package(tmp_path, {"top.py": f"\n{line}\n", "low.py": "", "sub/__init__.py": ""})
    with pytest.raises(ValueError, match=r"top.py, line 2: expected `from .module import name`"):
        needed_files(root / "top.py")


@pytest.mark.parametrize("kind", KINDS)
def test_saved_code_is_flat_complete_and_stable(kind, tmp_path):
    cls = get_kind(kind)
    saved = save_code(cls, tmp_path)
    names = {p.name for p in saved}
    own = f"{cls.__module__.rsplit('.', 1)[-1]}.py"
    assert own.removesuffix(".py").rstrip("_").replace("_", "-") == kind
    assert {own, "base.py", "features.py", "encoder.py", "errors.py", "remote_code.py"} <= names
    for path in saved:
        source = path.read_text()
        compile(source, path.name, "exec")
        assert all(node.level < 2 for node in imports(source))
        assert {f.name for f in needed_files(path)} <= names
        # What transformers itself finds when it loads the code.
        assert {Path(f).name for f in get_relative_import_files(path)} <= names
        allowed = {"torch", "numpy", "transformers", "safetensors", "tqdm"}
        assert set(get_imports(path)) - set(sys.stdlib_module_names) <= allowed
    before = {p.name: p.read_text() for p in saved}
    again = tmp_path / "again"
    again.mkdir()
    save_code(cls, again)
    assert {p.name: p.read_text() for p in again.iterdir()} == before


def test_auto_map_names_module_and_class():
    cls = get_kind("knn")
    assert auto_map(cls, cls.config_class) == {"AutoConfig": "knn.KnnRouterConfig", "AutoModel": "knn.KnnRouter"}


def test_main_is_refused(tmp_path):
    fake = type("Fake", (), {"__module__": "__main__"})
    with pytest.raises(ValueError, match="put it into a module"):
        save_code(fake, tmp_path)
