"""A pytest plug-in that runs the contract suites on plug-ins from outside the package, and on nothing else.

``pytest -p contract_outside tests/test_*_contract.py tests/test_backends.py`` takes those of installed packages, and
those of the files that ``CONTRACT_FILES`` names (blanks between). It checks that each is tested by every
test that its group has for our own, and adds the inputs for those of docs/extend.
"""

import os
import sys
from contextlib import contextmanager

import contract_inputs
from contract_inputs import _text

from fusion_hf import plugins
from fusion_hf.llms.pool import LLM

FILES = {
    "tasks": "test_task_contract.py", "graders": "test_grader_contract.py", "importers": "test_importer_contract.py",
    "backends": "test_backends.py", "routers": "test_router_contract.py",
}  # fmt: skip


@contextmanager
def _program(tiny):
    options = {"command": [sys.executable, "-c", "print(input())"], "max_letters": 1000, "concurrency": 4}
    yield LLM("parrot", "small", 0, 0, backend="command", options=options)


contract_inputs.TASKS["capitals"] = {"country": "Italy", "capital": "Rome"}
contract_inputs.GRADERS["within_ten"] = ("About 100.", ["100"], "How many?")
contract_inputs.LOGS["wide-csv"] = _text("sums.csv", "prompt,small,large\n2 + 2?,1,\n34 * 67?,0,1\n")
contract_inputs.LLMS["command"] = _program
contract_inputs.NEEDS_LABELS.add("centroid")
for file in os.environ.get("CONTRACT_FILES", "").split():
    plugins.add(file)


def pytest_collection_modifyitems(items):
    kept = []
    for group, file in FILES.items():
        ours, outside = [], []
        for name in plugins.names(group):
            (ours if plugins.ours(group, name) else outside).append(name)
        assert outside, f"no plug-in of the group {group} from outside"
        mine = [item for item in items if item.path.name == file and hasattr(item, "callspec")]
        tests = {name: {item.originalname for item in mine if _is_for(item, name)} for name in (*ours, *outside)}
        everybody = set.intersection(*(tests[name] for name in ours))
        for name in outside:
            assert everybody and tests[name] == everybody, f"{group}:{name}: {tests[name] ^ everybody}"
        kept += [item for item in mine if any(_is_for(item, name) for name in outside)]
    items[:] = kept


def _is_for(item, name):
    return any(value == name or (isinstance(value, list) and name in value) for value in item.callspec.params.values())
