"""The pool: which LLMs there are, what they cost and how they are reached. One YAML file, no secrets in it."""

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError
from ..outputs import absolute
from ..yaml_file import parse_yaml
from .llm import LLM, SECRET_ADVICE, is_local, is_secret

__all__ = ["LLM", "PUBLISHED", "Pool", "load_pool", "published_pools", "save_pool"]
PUBLISHED = Path(__file__).parent / "pools"  # pools of others, as data: load_pool("fusionbench")


class Pool(Mapping[str, LLM]):
    """LLMs by name, in the order of the file."""

    def __init__(self, llms: Iterable[LLM]):
        self._llms: dict[str, LLM] = {}
        for llm in llms:
            if llm.name in self._llms:
                raise UserError(f"the pool has two LLMs called {llm.name!r}: expected every name once")
            self._llms[llm.name] = llm

    def __getitem__(self, name: str) -> LLM:
        return self._llms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._llms)

    def __len__(self) -> int:
        return len(self._llms)

    def get_llm(self, name: str) -> LLM:
        """The LLM called `name`; a `UserError` names the nearest one."""
        if name not in self._llms:
            raise UserError(f"the pool has no LLM {name!r}{_nearest(name, self._llms)}; it has {', '.join(self._llms)}")
        return self._llms[name]

    def select(self, names: Iterable[str]) -> "Pool":
        """Only these LLMs, in this order."""
        return Pool(self.get_llm(name) for name in names)

    def cost(
        self,
        name: str,
        input_tokens: int | None,
        output_tokens: int | None,
        cached_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> float | None:
        """USD of one answer; None where a token count was not measured or a price is not known.

        `cached_tokens` are part of `input_tokens`, and `reasoning_tokens` of `output_tokens`; None counts as 0.
        """
        sent, cached, got, reasoning = self.get_llm(name).prices
        if input_tokens is None or output_tokens is None or sent is None or got is None:
            return None
        assert cached is not None and reasoning is not None  # they are as known as the prices that they stand beside
        usd = input_tokens * sent + output_tokens * got
        return (usd + (cached_tokens or 0) * (cached - sent) + (reasoning_tokens or 0) * (reasoning - got)) / 1e6


def published_pools() -> tuple[str, ...]:
    """Names of the pools that are shipped: those of public logs."""
    return tuple(sorted(p.stem for p in PUBLISHED.glob("*.yaml")))


def load_pool(path: str | PathLike[str]) -> Pool:
    """Read a pool file, or the shipped pool of that name (see `published_pools`).

    Relative model folders are taken from the file's own folder. Raises `UserError` that names the entry and the field.
    """
    path = Path(path) if str(path) not in published_pools() else PUBLISHED / f"{path}.yaml"
    try:
        content = parse_yaml(path.read_bytes(), str(path))
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: expected a pool file, found none that can be read "
            f"({getattr(error, 'strerror', None) or error}); shipped pools are {', '.join(published_pools())}"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("llms"), list) or not content["llms"]:
        raise UserError(f"{path}: expected a mapping with a non-empty list 'llms', found {_kind(content)}")
    for key in set(content) - {"llms"}:
        raise UserError(f"{path}: unknown field {key!r}{_nearest(key, ['llms'])}")
    llms: dict[str, int] = {}
    entries = []
    for number, entry in enumerate(content["llms"], 1):
        where = f"{path.name}, entry {number}"
        if isinstance(entry, dict) and "name" in entry:
            where += f" {entry['name']!r:.100}"
        llm = _read_entry(entry, path.parent, where)
        if llm.name in llms:
            raise UserError(f"{where}: expected every name once, found it in entry {llms[llm.name]} too")
        llms[llm.name] = number
        entries.append(llm)
    return Pool(entries)


def _read_entry(entry: Any, folder: Path, where: str) -> LLM:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: expected a mapping of fields, found {_kind(entry)}")
    known = [f.name for f in fields(LLM)]
    for key in entry:
        if is_secret(key):
            raise UserError(f"{where}: {key}: {SECRET_ADVICE}")
        if key not in known:
            raise UserError(f"{where}: unknown field {key!r}{_nearest(key, known)}; fields are {', '.join(known)}")
    for f in fields(LLM):
        if f.default is MISSING and f.default_factory is MISSING and f.name not in entry:
            raise UserError(f"{where}: expected {f.name}, found no such field")
    entry = {k: v for k, v in entry.items() if v is not None or k in ("input_price", "output_price")}
    try:
        if is_local(entry.get("backend")):
            entry["model"] = _resolve(entry.get("model", entry["name"]), folder)
            if isinstance(entry.get("options"), dict) and "adapter" in entry["options"]:
                entry["options"] = entry["options"] | {"adapter": _resolve(entry["options"]["adapter"], folder)}
        return LLM(**entry)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _resolve(model: Any, folder: Path) -> Any:
    """A path from the pool's folder if there is one, else what was given (a Hub id)."""
    if not isinstance(model, str):
        return model
    local = absolute(folder / Path(model).expanduser())
    if local.exists():
        return str(local)
    # A path stays one, so that it is never looked for on the Hub; the backend says so when it is not there.
    return str(local) if model.startswith((".", "/", "~")) else model


def save_pool(pool: Pool, path: str | PathLike[str]) -> Path:
    """Write a pool file that `load_pool` reads back; folders below the file's get paths relative to it."""
    path = Path(path)
    base = path.parent.resolve()

    def relative(model: str | None) -> str | None:
        """A folder below, and one that was given by a relative path, as seen from the file: never like a Hub id."""
        if not model or not Path(model).exists():
            return model
        place = absolute(model)
        if os.path.isabs(model) and not place.is_relative_to(base):
            return model
        path = Path(os.path.relpath(place, base)).as_posix()
        return path if path.startswith(".") else f"./{path}"

    entries = []
    for llm in pool.values():
        entry = {f.name: getattr(llm, f.name) for f in fields(LLM)}
        if llm.local:
            entry["model"] = relative(llm.model)
            if "adapter" in llm.options:
                entry["options"] = llm.options | {"adapter": relative(llm.options["adapter"])}
        always = ("input_price", "output_price")
        entry["reasoning_tokens"] = entry["reasoning_tokens"] or None
        entries.append({k: v for k, v in entry.items() if k in always or v not in (None, "", {})})
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"llms": entries}, sort_keys=False, allow_unicode=True, width=120)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path


def _nearest(word: Any, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
