"""The pages on how to add something, followed literally: one file into a copy of the package, then a fresh process."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fusion_hf

PACKAGE = Path(fusion_hf.__file__).parent
PAGES = Path(__file__).parent.parent / "docs" / "extend"
FILE = re.compile(r"```(?:python|yaml) title=\"([^\"]+)\"\n(.*?)```", re.S)
EXAMPLE = re.compile(r"(?<!-->\n)```python\n(.*?)```", re.S)
pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason="docs/ is not in an installed wheel")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package, elsewhere."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, folder / "fusion_hf", ignore=shutil.ignore_patterns("__pycache__"))
    if (cards := PACKAGE.parent / "model_cards").is_dir():
        shutil.copytree(cards, folder / "model_cards")
    return folder


def python(folder, code, copy):
    """Run code in `folder` with the copied package; what it printed."""
    environment = os.environ | {
        "PYTHONPATH": str(copy),
        "HF_HUB_OFFLINE": "1",
        "FUSION_HF_CACHE": str(folder / "cache"),
    }
    check = f"import fusion_hf\nassert fusion_hf.__file__.startswith({str(copy)!r}), fusion_hf.__file__\n"
    done = subprocess.run(
        [sys.executable, "-c", check + code],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def follow(page, folder, copy, then=""):
    """Write the page's files where their titles say, run its examples and `then`: (files in the package, output)."""
    text = (PAGES / page).read_text(encoding="utf-8")
    written = []
    for title, code in FILE.findall(text):
        into_package = title.startswith("fusion_hf/")
        path = (copy if into_package else folder) / title
        assert not path.exists(), f"{page} would overwrite {title}"
        path.write_text(code, encoding="utf-8")
        written += [title] if into_package else []
    examples = EXAMPLE.findall(text)
    assert examples, f"{page} has no example"
    return written, python(folder, "\n".join([*examples, then]), copy)


def test_a_task(tmp_path, copy):
    written, output = follow(
        "task.md",
        tmp_path,
        copy,
        """
print("found", list(TASKS)[-1], len(TASKS))
from fusion_hf.cli import main
main(["collect", "--pool", "fusionbench", "--tasks", "capitals", "--split", "test", "--source", "test.jsonl",
      "--out", "logs", "--dry-run"])
""",
    )
    assert written == ["fusion_hf/tasks/capitals.py"]
    assert "What is the capital of Italy?" in output
    assert "found capitals 15" in output  # a domain of its own goes last
    assert '"read": 80' in output  # 20 LLMs, two queries, two modes


def test_a_router_kind(tmp_path, copy):
    written, output = follow(
        "router-kind.md",
        tmp_path,
        copy,
        """
from fusion_hf.cli import main
assert "centroid" in fusion_hf.KINDS
router = fusion_hf.routers.load_router("centroid-router")
print(type(router).__name__, router.config.options["temperature"])
code = main(["eval-router", "centroid-router", sample_path().as_posix(), "--scenario", "performance"])
print("code", code)
""",
    )
    assert written == ["fusion_hf/routers/kinds/centroid.py"]
    assert "because looks like gsm8k" in output
    assert "CentroidRouter 0.1" in output and "code 0" in output
    assert (tmp_path / "centroid-router" / "centroid.py").is_file()  # its code travels with it
    # And where fusion_hf is not: the checkpoint's own code.
    alone = subprocess.run(
        [sys.executable, "-c", """
import sys
sys.meta_path.insert(0, type("Not", (), {"find_spec": staticmethod(
    lambda name, *_: (_ for _ in ()).throw(ImportError(name)) if name.split(".")[0] == "fusion_hf" else None)}))
from transformers import AutoModel
router = AutoModel.from_pretrained("centroid-router", trust_remote_code=True)
print(router.route(["What is 3 + 4?"])[0].candidate)
"""],
        cwd=tmp_path, env=os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert alone.returncode == 0 and alone.stdout.startswith("tiny-"), alone.stderr[-2000:]


def test_an_llm(tmp_path, copy):
    written, output = follow("llm.md", tmp_path, copy)
    assert written == [] and output == "0.00016 USD\n"  # (1000 * .1 + 200 * .3) / 1e6


def test_a_backend(tmp_path, copy):
    written, output = follow("backend.md", tmp_path, copy)
    assert written == ["fusion_hf/llms/backends/command.py"]
    assert "'response': 'What is 12 + 31?" in output and "'performance': 0.0" in output and "estimated/" in output


def test_an_importer(tmp_path, copy):
    then = "from fusion_hf.plugins import names; print(names('importers'))"
    written, output = follow("importer.md", tmp_path, copy, then)
    assert written == ["fusion_hf/logs/importers/wide_csv.py"]
    assert "'kept': 4" in output and "'wide-csv'" in output
