"""The types that the package ships (py.typed) reach a program that uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

import fusion_hf

pytest.importorskip("mypy")

GOOD = """
from fusion_hf import RoutingData, RoutingDecision, read_log, train_router
from fusion_hf.logs.sample import sample_path
from fusion_hf.thoughts import TemplateIndex

data: RoutingData = RoutingData.from_table(read_log(sample_path(), "train"))
router = train_router(data.of_task("gsm8k"), "knn", encoder="none").router
decisions: list[RoutingDecision] = router.route(["What is 3 + 4?"], "balance", max_cost=1e-3)
name: str = decisions[0].candidate
cost: float | None = decisions[0].cost
hits = TemplateIndex.from_pretrained("templates").search([name], k=2)
reveal_type(router)
reveal_type(decisions)
reveal_type(data.performance)
reveal_type(hits)
"""
WRONG = """
from fusion_hf import RoutingData, read_log, train_router

data = RoutingData.from_table(read_log("bench", "train"))
train_router(data, 3)  # 5: the kind is a name
cost: float = train_router(data, "knn").router.route(["q"])[0].cost  # 6: may be None
data.of_tsak("gsm8k")  # 7
train_router(data, "knn").router.route("q", max_cost="little")  # 8
"""


@pytest.fixture
def check(tmp_path):
    """Run mypy on a script outside the project, with its own defaults; what it said."""

    def run(code: str) -> str:
        script = tmp_path / "script.py"
        script.write_text(code)
        command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", script.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        return done.stdout + done.stderr

    return run


def test_py_typed_ships():
    assert (Path(fusion_hf.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
def test_a_type_checker_sees_the_types(check):
    said = check(GOOD + WRONG.replace("\ndata = ", "\nmore = "))
    seen = [line.split('"')[1] for line in said.splitlines() if "Revealed type" in line]
    assert [kind.split("[")[0].removeprefix("builtins.") for kind in seen] == [
        "fusion_hf.routers.base.Router", "list", "numpy.ndarray", "list",
    ]  # fmt: skip
    assert "RoutingDecision" in seen[1] and "Hit" in seen[3]
    errors = [line for line in said.splitlines() if ": error:" in line]
    first = GOOD.count("\n") + 1
    assert sorted({int(line.split(":")[1]) - first for line in errors}) == [5 - 1, 6 - 1, 7 - 1, 8 - 1], said
