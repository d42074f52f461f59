"""Imports go down the layers only, module by module, and no modules import each other in a circle, lazily or not."""

import ast
from pathlib import Path

import fusion_hf

ROOT = Path(fusion_hf.__file__).parent
LAYERS = {
    "errors": 0, "messages": 0.5, "after_import": 0, "terminal": 0, "checks": 0.5, "outputs": 0.5, "yaml_file": 0.5,
    "reasoning": 0, "results": 0, "made": 0, "plugins": 0.5, "cards": 0.5, "gguf": 0.5,
    "hub": 0.6, "pushable": 0.7, "remote_code": 0.7,
    "tasks": 1, "logs": 2, "encoders": 2, "llms": 3,
    "routers": 4, "thoughts": 4, "distill": 4,
    "fused": 5, "comparison": 6, "serving": 6.5, "metrics": 6, "demonstration": 7, "cli": 8, "__main__": 9,
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = ["fusion_hf", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(p): p for p in sorted(ROOT.rglob("*.py"))}


def imported(name: str, path: Path) -> set[str]:
    """Modules of the package that a module imports anywhere, functions and `TYPE_CHECKING` included."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{a.name}" if f"{module}.{a.name}" in MODULES else module for a in node.names}
    return {m for m in found if m in MODULES and m != name}


GRAPH = {name: imported(name, path) for name, path in MODULES.items()}


def package_of(name: str) -> str:
    return name.split(".")[1]


def test_every_package_has_a_layer():
    assert {package_of(name) for name in MODULES if name != "fusion_hf"} == set(LAYERS)


def test_imports_go_down_only():
    wrong = [
        f"{name} (layer {LAYERS[package_of(name)]}) imports {other} (layer {LAYERS[package_of(other)]})"
        for name in GRAPH
        if name != "fusion_hf"
        for other in GRAPH[name] - {"fusion_hf"}
        if package_of(other) != package_of(name) and LAYERS[package_of(other)] >= LAYERS[package_of(name)]
    ]
    assert not wrong, "\n".join(wrong)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Circles of modules, each found once."""
    found, state = [], {}

    def visit(name: str, path: list[str]) -> None:
        state[name] = "open"
        for other in sorted(graph[name]):
            if state.get(other) == "open":
                found.append([*path[path.index(other) :], other])
            elif other not in state:
                visit(other, [*path, other])
        state[name] = "done"

    for name in graph:
        if name not in state:
            visit(name, [name])
    return found


def test_no_modules_import_each_other_in_a_circle():
    assert not circles({name: others - {"fusion_hf"} for name, others in GRAPH.items() if name != "fusion_hf"})


def test_the_checks_see_what_they_look_for():
    assert "fusion_hf.cards" in GRAPH["fusion_hf.logs.card"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]


def test_one_name_is_one_thing():
    """No two public classes share a name; every backend has a class of the name that the registry looks for."""
    homes: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        if not path.name.startswith("_"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name != "Backend":
                    homes.setdefault(node.name, []).append(name)
    assert not {name: places for name, places in homes.items() if len(places) > 1}
