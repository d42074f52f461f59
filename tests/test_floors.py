"""Imports go down only: a room may use the floors below its own, and itself."""

import ast
from pathlib import Path

import fusion_hf

ROOT = Path(fusion_hf.__file__).parent
FLOORS = {
    "errors": 0, "reasoning": 0, "cards": 1, "pushable": 1,
    "bench": 2,
    "encoder": 3, "remote_code": 3, "llms": 3, "static_encoder": 4,
    "routers": 4, "thoughts": 4, "distill": 4,
    "fused": 5, "compare": 6, "hub": 6, "metrics": 6, "demo": 7, "cli": 8,
}  # fmt: skip


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    package = ("fusion_hf", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{a.name}" if module == "fusion_hf" else module for a in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("fusion_hf.")}
    return found


FILES = [p for p in sorted(ROOT.rglob("*.py")) if p.name != "__init__.py" or p.parent != ROOT]


def test_every_room_has_a_floor():
    assert {room(p) for p in FILES} == set(FLOORS)


def test_imports_go_down_only():
    wrong = [
        f"{path.relative_to(ROOT)} (floor {FLOORS[room(path)]}) imports {other} (floor {FLOORS[other]})"
        for path in FILES
        for other in imported_rooms(path) & set(FLOORS) - {room(path)}
        if FLOORS[other] >= FLOORS[room(path)]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_relative_imports():
    assert imported_rooms(ROOT / "bench" / "card.py") >= {"cards"}
