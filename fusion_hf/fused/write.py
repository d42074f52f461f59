"""Writing a fused system: everything that it needs, side by side in one folder."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..llms.pool import LLM, Pool, save_pool
from ..outputs import atomic_folder
from ..routers import Router, load_router
from .asking import Thoughts
from .card import write_fused_card
from .config import POOL_FILE, llms_of, read_config, write_config

COPIED_BYTES = 512 << 20
"""Models of this machine up to this size go into the folder; of a larger one the pool keeps the path."""
RECOGNISER = "routers/tasks"


def write_fused(
    out: str | PathLike[str],
    config: Mapping[str, Any],
    pool: Pool,
    recogniser: Router,
    thoughts: Mapping[str, Thoughts],
    overwrite: bool = False,
) -> Path:
    """Write the folder of a fused system.

    Args:
        out: The folder; a fused system that lies there is replaced.
        config: The configuration as `read_config` returns it, but with the routers of its systems where they lie now,
            and without ``recogniser`` and ``thoughts``.
        pool: How the LLMs are reached; those that the system does not need are left out.
        recogniser: Router whose groups are the tasks.
        thoughts: What mode ``thought`` puts before a query, by LLM.
        overwrite: Also where the folder holds something else; see `fusion_hf.outputs`.

    Raises:
        UserError: The folder holds something else, the pool lacks an LLM, or a thing to copy is missing.
    """
    with atomic_folder(out, "fused", overwrite) as part:
        recogniser.save_pretrained(part / RECOGNISER)
        places = _copy_routers(config["systems"], part)
        systems = {
            name: {**spec, "router": places[spec["router"]]} if spec["kind"] == "router" else spec
            for name, spec in config["systems"].items()
        }
        needed = llms_of(dict(config))
        shown = {llm: t for llm, t in thoughts.items() if llm in needed}
        settings = _copy_templates(shown, part)
        write_config(part, {**config, "systems": systems, "recogniser": RECOGNISER, "thoughts": settings})
        save_pool(_copy_models([pool.get_llm(name) for name in needed], part), part / POOL_FILE)
        read_config(part)
        write_fused_card(part)
    return Path(out)


def _free(folder: Path, wanted: str) -> Path:
    """A path in `folder` that is not taken yet."""
    name = "".join(c if c.isalnum() or c in "+-_." else "-" for c in wanted).strip(".") or "unnamed"
    number, path = 2, folder / name
    while path.exists():
        path, number = folder / f"{name}-{number}", number + 1
    return path


def _copy_routers(systems: Mapping[str, Any], part: Path) -> dict[str, str]:
    """Where each router lies now -> its place in the folder."""
    places: dict[str, str] = {}
    for spec in systems.values():
        if spec["kind"] != "router" or spec["router"] in places:
            continue
        target = _free(part / "routers", Path(spec["router"]).name)
        if Path(spec["router"]).is_dir():
            shutil.copytree(spec["router"], target)
        else:
            load_router(spec["router"]).save_pretrained(target)
        places[spec["router"]] = target.relative_to(part).as_posix()
    return places


def _copy_templates(thoughts: Mapping[str, Thoughts], part: Path) -> dict[str, dict[str, Any]]:
    from ..thoughts import TemplateIndex

    places: dict[str, str] = {}
    for settings in thoughts.values():
        if settings.templates not in places:
            target = _free(part / "templates", Path(settings.templates).name)
            TemplateIndex.from_pretrained(settings.templates).save_pretrained(target)
            places[settings.templates] = target.relative_to(part).as_posix()
    return {llm: asdict(t) | {"templates": places[t.templates]} for llm, t in thoughts.items()}


def _copy_models(llms: Sequence[LLM], part: Path) -> Pool:
    """The LLMs with their small local models and adapters in the folder."""
    copies: dict[str, str] = {}  # a base with several adapters is copied once

    def copied(source: str, folder: str) -> str:
        if not Path(source).is_dir() or _size(source) > COPIED_BYTES:
            return source
        if source not in copies:
            target = _free(part / folder, Path(source).resolve().name)
            # Pickles are left out: they are code.
            shutil.copytree(
                source, target, ignore=shutil.ignore_patterns("checkpoint-*", "*.bin", "*.pt", "*.pkl", ".git")
            )
            if not any(target.glob("*.safetensors")):
                raise UserError(
                    f"{source}: expected weights as safetensors, found none: save the model again with them"
                )
            copies[source] = str(target)
        return copies[source]

    result = []
    for llm in llms:
        if llm.local:
            options = dict(llm.options)
            if "adapter" in options:
                options["adapter"] = copied(options["adapter"], "adapters")
            llm = replace(llm, model=copied(llm.model_id, "models"), options=options)
        result.append(llm)
    return Pool(result)


def _size(folder: str) -> int:
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
