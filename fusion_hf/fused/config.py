"""``fused_config.json``: what a fused system is made of. Plain JSON, checked when it is read; it names no code."""

import json
import math
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError, hub_reason
from ..logs.rewards import SCENARIOS
from ..logs.schema import split_candidate

CONFIG_FILE, POOL_FILE = "fused_config.json", "pool.yaml"
FORMAT = 1
KINDS = {"candidate": ("candidate",), "router": ("router", "scenario")}
"""Kinds of systems and the fields of each."""


def write_config(folder: str | Path, config: dict[str, Any]) -> None:
    """Write a configuration; see `read_config` for its shape."""
    text = json.dumps({"format": FORMAT, **config}, indent=1, ensure_ascii=False)
    (Path(folder) / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read and check the configuration of a fused system.

    Returns:
        ``{"format", "bench", "training", "best_single": ID, "recogniser": PATH, "systems": {NAME: SPEC}, "tasks":
        {TASK: {"system": NAME, "level", "candidates": {ID: {"performance", "cost_usd"}}, "span": {"performance",
        "cost"}, "evidence": {…}}}, "thoughts": {LLM: {"templates": PATH, "k", "asked"}}, "test": {…} | null}``, where
        SPEC is ``{"kind": "candidate", "candidate": ID}`` or ``{"kind": "router", "router": PATH, "scenario": NAME}``.
        Paths are relative to the folder and lie in it. ``training`` says how it was made (see `fusion_hf.made`; it may
        be absent), ``candidates`` is what the log showed of the candidates that the pool reaches (``cost_usd`` null
        where not measured), ``span`` their scaling.

    Raises:
        UserError: It is missing or broken; the message names the file and the field.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{folder}: expected a fused system with {CONFIG_FILE}, found none") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: expected JSON, found something else: {error}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise UserError(f"{path}: expected format {FORMAT}, found {found!r}: make it again with  fusion-hf autofuse")
    try:
        _check(config, Path(folder))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: a field is missing or of another type ({type(error).__name__}: {error})") from None
    return config


def inside(folder: Path, path: Any, where: str) -> Path:
    """A path of the configuration as a path on this machine; it may not leave the folder."""
    parts = PurePosixPath(path).parts if isinstance(path, str) else ()
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
        raise UserError(f"{where}: expected a path in the folder of the fused system, found {path!r}")
    if not folder.joinpath(*parts).exists():
        raise UserError(f"{where}: expected {path} in the folder of the fused system, found nothing there")
    return folder.joinpath(*parts)


def _check(config: dict[str, Any], folder: Path) -> None:
    inside(folder, config["recogniser"], "recogniser")
    for name, spec in config["systems"].items():
        kind = spec.get("kind")
        if kind not in KINDS:
            raise UserError(f"systems.{name}: expected kind {' or '.join(KINDS)}, found {kind!r}")
        for field in KINDS[kind]:
            if not isinstance(spec.get(field), str):
                raise UserError(f"systems.{name}: expected a text as {field}, found {spec.get(field)!r}")
        if kind == "router":
            inside(folder, spec["router"], f"systems.{name}.router")
            if spec["scenario"] not in SCENARIOS:
                raise UserError(f"systems.{name}: unknown scenario {spec['scenario']!r}: known: {', '.join(SCENARIOS)}")
    if not config["tasks"]:
        raise UserError("tasks: expected at least one, found none")
    for task, entry in config["tasks"].items():
        if entry["system"] not in config["systems"]:
            raise UserError(f"tasks.{task}: expected one of the systems, found {entry['system']!r}")
        chosen = config["systems"][entry["system"]].get("candidate")
        if chosen is not None and chosen not in entry["candidates"]:
            raise UserError(f"tasks.{task}.candidates: expected {chosen}, which the task's system asks, found no such")
        for candidate, seen in entry["candidates"].items():
            _number(seen["performance"], f"tasks.{task}.candidates.{candidate}.performance")
            _number(seen["cost_usd"], f"tasks.{task}.candidates.{candidate}.cost_usd", null=True)
        for name in ("performance", "cost"):
            _number(entry["span"][name], f"tasks.{task}.span.{name}")
            if not entry["span"][name] > 0:  # what is scaled is divided by it
                raise UserError(f"tasks.{task}.span.{name}: expected a number above 0, found {entry['span'][name]!r}")
    for llm, thoughts in config["thoughts"].items():
        inside(folder, thoughts["templates"], f"thoughts.{llm}.templates")


def _number(value: Any, where: str, null: bool = False) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    if not number and not (value is None and null):
        raise UserError(f"{where}: expected a number, found {value!r:.40}")


def llms_of(config: dict[str, Any]) -> list[str]:
    """The LLMs that the candidates of the configuration need, each once."""
    names = [c for entry in config["tasks"].values() for c in entry["candidates"]]
    names += [spec["candidate"] for spec in config["systems"].values() if spec["kind"] == "candidate"]
    return list(dict.fromkeys(split_candidate(name)[0] for name in names))


def snapshot(repo_id: str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The files of a fused system on the Hub, from the cache where they are there already."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if repo_id.count("/") != 1 or repo_id.startswith((".", "/", "~")):
        raise UserError(f"{repo_id}: expected the folder of a fused system or a Hub id, found neither")
    try:
        return Path(snapshot_download(repo_id, revision=revision, token=token))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"{repo_id}: no such folder, and no fused system on the Hub: {hub_reason(error)}") from error
