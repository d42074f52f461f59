"""The pages on how to add something, followed literally from outside the package: first as files, then as a package."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "extend"
FILE = re.compile(r"```(?:python|yaml|toml) title=\"([^\"]+)\"\n(.*?)```", re.S)
EXAMPLE = re.compile(r"(?<!-->\n)```python\n(.*?)```", re.S)
pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason="docs/ is not in an installed wheel")


def environment(folder, *paths):
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, paths), str(ROOT)]),
        "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "FUSION_HF_CACHE": str(folder / "cache"),
    }  # fmt: skip


def python(folder, code, *paths):
    """Run code in `folder`; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=environment(folder, *paths), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def files_of(page):
    """Title -> text of a page's files; its code uses public names only."""
    found = dict(FILE.findall((PAGES / page).read_text(encoding="utf-8")))
    for title, text in found.items():
        assert "/" not in title and not re.search(r"(?m)^\s*(?:from|import) .*\b_[a-z]|^from \.", text), title
    return found


def follow(page, folder, then=""):
    """Write the page's files, and run its examples and `then`; the output."""
    for title, text in files_of(page).items():
        if title != "pyproject.toml":
            (folder / title).write_text(text, encoding="utf-8")
    examples = EXAMPLE.findall((PAGES / page).read_text(encoding="utf-8"))
    assert examples, f"{page} has no example"
    return python(folder, "\n".join([*examples, then]))


def test_a_task(tmp_path):
    output = follow(
        "task.md",
        tmp_path,
        """
from fusion_hf.cli import main
from fusion_hf.tasks import TASKS
print("found", list(TASKS)[-1], len(TASKS))
main(["collect", "--pool", "fusionbench", "--tasks", "./capitals.py", "--split", "test", "--source", "test.jsonl",
      "--out", "logs", "--dry-run"])
""",
    )
    assert "What is the capital of Italy?" in output and "found capitals 15" in output
    assert '"read": 80' in output  # 20 LLMs, two queries, two modes


ALONE = """
import sys
sys.meta_path.insert(0, type("Not", (), {"find_spec": staticmethod(
    lambda name, *_: (_ for _ in ()).throw(ImportError(name)) if name.split(".")[0] in HIDDEN else None)}))
from transformers import AutoModel
router = AutoModel.from_pretrained("centroid-router", trust_remote_code=True)
print(router.route(["What is 3 + 4?"])[0].candidate)
router.save_pretrained("again")
print(AutoModel.from_pretrained("again", trust_remote_code=True).route(["What is 3 + 4?"])[0].candidate)
"""
LATER = """
import fusion_hf
from fusion_hf.cli import main
from fusion_hf.logs.sample import sample_path
print("unknown", main(["route", "centroid-router", "What is 3 + 4?"]))
print("trusted", main(["route", "centroid-router", "What is 3 + 4?", "--trust-remote-code"]))
print("named", main(["eval-router", "centroid-router", str(sample_path()), "--scenario", "performance",
                     "--plugin", "./centroid.py"]))
settings = fusion_hf.routers.load_router("centroid-router").config.training["settings"]
assert settings["kind"] == "centroid" and settings["option"] == {"temperature": 0.1}, settings
"""


def test_a_router_kind(tmp_path):
    assert "because looks like gsm8k" in follow("router-kind.md", tmp_path)
    assert (tmp_path / "centroid-router" / "centroid.py").is_file()  # its code travels with it
    for hidden in ('("fusion_hf", "centroid")', '("centroid",)'):
        alone = python(tmp_path, f"HIDDEN = {hidden}\n{ALONE}").split()
        assert len(alone) == 2 and alone[0] == alone[1] and alone[0].startswith("tiny-"), alone
    output = python(tmp_path, LATER)
    assert "unknown 2" in output and "trusted 0" in output and "named 0" in output, output


def test_an_llm(tmp_path):
    assert follow("llm.md", tmp_path) == "0.00016 USD\n"  # (1000 * .1 + 200 * .3) / 1e6


def test_a_backend(tmp_path):
    output = follow("backend.md", tmp_path)
    assert "'response': 'What is 12 + 31?" in output and "'performance': 0.0" in output and "estimated/" in output


def test_an_importer(tmp_path):
    output = follow("importer.md", tmp_path)
    assert '"kept": 4' in output


PLUGINS = {"router-kind.md": "routers", "backend.md": "backends", "importer.md": "importers", "task.md": "tasks"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The packages of the pages, installed by pip into a folder."""
    if find_spec("pip") is None or find_spec("setuptools") is None:
        pytest.skip("needs pip and setuptools")
    site = tmp_path_factory.mktemp("site")
    for page in PLUGINS:
        source = tmp_path_factory.mktemp("package")
        for title, text in files_of(page).items():
            if title.endswith((".py", ".toml")):
                (source / title).write_text(text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
             "--target", str(site), str(source)],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    return site


CONTRACT = r"""
import json
from pathlib import Path
import fusion_hf
from backend_contract import ask, chat_all
from fusion_hf import plugins
from fusion_hf.llms.backends import Reply, open_backend
from fusion_hf.llms.pool import load_pool
from fusion_hf.logs.importers import FORMATS, read
from fusion_hf.logs.schema import validate
from fusion_hf.tasks import TASKS
from fusion_hf.tasks.graders import GRADERS, Grade, grade, grader_name
from fusion_hf.tasks.load import load_examples

assert "centroid" in fusion_hf.KINDS and "wide-csv" in FORMATS and "capitals" in TASKS and "within_ten" in GRADERS
# a task: examples with answers, a grader that is known, the same ids again
Path("test.jsonl").write_text('{"country": "Italy", "capital": "Rome"}')
one, two = (load_examples("capitals", "test", source="test.jsonl") for _ in range(2))
assert one == two and one[0].ground_truth == ["Rome"] and TASKS["capitals"].metric in GRADERS
# a grader: a score in 0..1 for anything, in both versions, and a name for the log
for response in ("95", "", "no", "1e999", "9" * 10000):
    for version in ("strict", "paper"):
        found = grade("within_ten", response, ["100"], version=version)
        assert isinstance(found, Grade) and 0 <= found.score <= 1
assert grader_name("within_ten").startswith("within_ten/strict@")
# an importer: every cell is kept or dropped with a reason, and the rows are log rows
Path("sums.csv").write_text("prompt,small,large\nWhat is 3 + 4?,1,\nWhat is 345 * 678?,0,1\n")
result = read("wide-csv", "sums.csv")
assert result.read == result.kept + sum(result.dropped.values()) and validate(result.table).num_rows == result.kept
# a backend: each chat gets its own answer; what pool files name is known
pool = load_pool("pool.yaml")
replies = chat_all(open_backend(pool["parrot"]), ["one", "two", "three"])
assert all(isinstance(r, Reply) for r in replies) and [r.text for r in replies] == ["one", "two", "three"]
print("kept")
"""


def test_the_contracts_hold_for_an_installed_package(installed, tmp_path):
    (tmp_path / "pool.yaml").write_text(files_of("backend.md")["pool.yaml"], encoding="utf-8")
    assert python(tmp_path, CONTRACT, installed, ROOT / "tests").endswith("kept\n")


@pytest.mark.slow
def test_the_contract_of_router_kinds_holds_for_an_installed_package(installed, tmp_path):
    """But for a log without task names: the page's kind then knows one group, as it says."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "centroid and not without_task_labels",
         str(ROOT / "tests" / "test_router_contract.py")],
        cwd=tmp_path, env=environment(tmp_path, installed), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0 and re.search(r"\b1\d passed", done.stdout), done.stdout[-3000:]
