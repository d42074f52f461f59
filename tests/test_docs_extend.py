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


SUITES = ("test_task_contract", "test_grader_contract", "test_importer_contract", "test_backends",
          "test_router_contract")  # fmt: skip


def run_contracts(folder, files, *paths):
    """The whole contract of every group, on what is from outside the package; how many tests passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "contract_outside"]
    done = subprocess.run(
        [*command, *(str(ROOT / "tests" / f"{suite}.py") for suite in SUITES)],
        cwd=folder, env=environment(folder, *paths, ROOT / "tests") | {"CONTRACT_FILES": " ".join(files)},
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert " skipped" not in done.stdout, done.stdout[-2000:]
    return int(re.search(r"(\d+) passed", done.stdout)[1])


@pytest.mark.slow
def test_the_contracts_hold_in_full_for_an_installed_package(installed, tmp_path):
    assert run_contracts(tmp_path, [], installed) > 30


@pytest.mark.slow
def test_the_contracts_hold_in_full_for_files_on_a_path(tmp_path):
    for page in PLUGINS:
        for title, text in files_of(page).items():
            if title.endswith(".py"):
                (tmp_path / title).write_text(text, encoding="utf-8")
    files = sorted(map(str, tmp_path.glob("*.py")))
    assert run_contracts(tmp_path, files) > 30


NAMES = """
import fusion_hf
from fusion_hf.logs.importers import FORMATS
from fusion_hf.tasks import TASKS
from fusion_hf.tasks.graders import GRADERS
assert "centroid" in fusion_hf.KINDS and "wide-csv" in FORMATS and "capitals" in TASKS and "within_ten" in GRADERS
assert "command" in fusion_hf.plugins.names("backends")
print("known")
"""


def test_what_is_installed_is_known_by_its_name(installed, tmp_path):
    assert python(tmp_path, NAMES, installed) == "known\n"
