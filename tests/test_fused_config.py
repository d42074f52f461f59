"""Folders that are no fused system, or were tampered with: one line that names the file and the field."""

import json
import shutil

import pytest
from test_fused import folder, parts  # noqa: F401  fixtures

from fusion_hf.errors import UserError
from fusion_hf.fused import FusedSystem


def change(*path, to):
    """A function that sets one value of a configuration; ``DELETE`` removes it."""

    def apply(config):
        for key in path[:-1]:
            config = config[key]
        if to is DELETE:
            del config[path[-1]]
        else:
            config[path[-1]] = to

    return apply


DELETE = object()
ROUTER = ("systems", "near (balance)", "router")
TAMPERED = {
    "format": (change("format", to=9), "expected format 1, found 9: make it again with"),
    "outside": (change(*ROUTER, to="../near"), r"near \(balance\).router: expected a path in the folder .*'../near'"),
    "hidden": (change(*ROUTER, to="routers/../../near"), "expected a path in the folder"),
    "absolute": (change("recogniser", to="/etc"), "recogniser: expected a path in the folder of the fused system"),
    "hub id": (change("recogniser", to="user/router"), "expected user/router in the folder .*, found nothing there"),
    "not a path": (change("thoughts", "cat", "templates", to=3), "thoughts.cat.templates: expected a path in"),
    "kind": (change("systems", "cat", "kind", to="shell"), "systems.cat: expected kind candidate or router, found"),
    "scenario": (change("systems", "near (balance)", "scenario", to="x"), "unknown scenario 'x'"),
    "system": (change("tasks", "sums", "system", to="eel"), "tasks.sums: expected one of the systems, found 'eel'"),
    "candidate": (change("systems", "cat", "candidate", to="eel"), "tasks.sums.candidates: expected eel"),
    "number": (change("tasks", "sums", "candidates", "bee", "performance", to="high"), "expected a number, found 'hi"),
    "no number": (change("tasks", "sums", "candidates", "bee", "cost_usd", to=float("nan")), "cost_usd: expected a n"),
    "span": (change("tasks", "sums", "span", "cost", to=0), "tasks.sums.span.cost: expected a number above 0, found 0"),
    "field": (change("tasks", "sums", "span", to=DELETE), "a field is missing or of another type .*span"),
    "no tasks": (change("tasks", to={}), "tasks: expected at least one"),
    "list": (change("systems", to=[]), "a field is missing or of another type"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_broken_configuration_is_named(folder, tmp_path, name):  # noqa: F811
    apply, message = TAMPERED[name]
    config = json.loads((folder / "fused_config.json").read_text())
    apply(config)
    for part in ("routers", "templates", "models"):
        (tmp_path / part).symlink_to(folder / part)
    shutil.copy(folder / "pool.yaml", tmp_path)
    (tmp_path / "fused_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message) as error:
        FusedSystem.from_pretrained(tmp_path)
    assert "fused_config.json: " in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_a_system_is_named(tmp_path):
    with pytest.raises(UserError, match=r"expected a fused system with fused_config\.json, found none"):
        FusedSystem.from_pretrained(tmp_path)
    (tmp_path / "fused_config.json").write_text("{oops")
    with pytest.raises(UserError, match="expected JSON, found something else"):
        FusedSystem.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="nowhere: expected the folder of a fused system or a Hub id, found neither"):
        FusedSystem.from_pretrained("nowhere")
