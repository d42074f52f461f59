"""The pool: which LLMs there are, what they cost and how they are reached. One YAML file, no secrets in it."""

import datetime
import difflib
import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from .. import plugins
from ..errors import UserError
from ..logs.select import SIZES
from ..tasks.modes import split_candidate
from ..yaml_file import parse_yaml
from .options import check_options

PUBLISHED = Path(__file__).parent / "pools"  # pools of others, as data: load_pool("fusionbench")
SECRETS = ("api_key", "apikey", "key", "token", "secret", "password", "authorization")


@dataclass(frozen=True)
class LLM:
    """One LLM of the pool.

    Attributes:
        name: Identity in the log; must not end in ``_think`` or ``_thought``, which mark the candidate in that mode.
        size: ``small``, ``medium`` or ``large``.
        input_price: USD per million input tokens; None where it is not known, and then no answer has a cost.
        output_price: USD per million output tokens, reasoning included; None likewise.
        price_date: When the prices held: ``YYYY-MM-DD``, or ``YYYY-MM`` where only the month is known.
        price_source: Where the prices were read, or a word on how they were set.
        description: A sentence or two on what it is good at; routers may read it.
        backend: Name of a file in `fusion_hf.llms.backends`.
        model: What the backend calls it: the model of a chat endpoint, or a folder or Hub id. None means `name`.
        token_limits: Most tokens of an answer (without reasoning) for a task (``gsm8k``), a mode (``think``) or both
            (``gsm8k/think``), where it shall not be the task's own; see `fusion_hf.llms.token_limits`.
        reasoning_tokens: What a reasoning LLM may think beyond the limit of its answer.
        tokenizer: Folder or Hub id of its own tokenizer, on this machine; only used where a server counts no tokens.
        cached_input_price: USD per million input tokens that the server had cached; None means `input_price`.
        reasoning_price: USD per million output tokens that were reasoning; None means `output_price`.
        context_window: Tokens that a prompt and its answer may have together; None where it is not known.
        abilities: What it takes beyond text, of `ABILITIES`; None where it is not known, and then it is asked all.
        base_url: Address of a chat endpoint, up to and including ``/v1``.
        api_key_env: Environment variable that holds the key; the key itself never stands in a file.
        options: Passed to the backend (``max_tokens``, ``temperature``, …).
    """

    name: str
    size: str
    input_price: float | None
    output_price: float | None
    price_date: str | None = None
    price_source: str | None = None
    description: str = ""
    backend: str = "openai"
    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    tokenizer: str | None = None
    cached_input_price: float | None = None
    reasoning_price: float | None = None
    token_limits: dict[str, int] = field(default_factory=dict, hash=False)
    reasoning_tokens: int = 0
    context_window: int | None = None
    abilities: list[str] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.price_date, datetime.date):  # YAML reads an unquoted day as a date
            object.__setattr__(self, "price_date", self.price_date.isoformat())
        _check(self)

    @property
    def model_id(self) -> str:
        """`model`, or `name` where none is given."""
        return self.model or self.name

    @property
    def local(self) -> bool:
        """Whether its backend loads the model in this process, so that `model` may be a folder."""
        return is_local(self.backend)

    @property
    def prices(self) -> tuple[float | None, float | None, float | None, float | None]:
        """USD per million tokens: input, cached input, output, reasoning."""
        cached = self.input_price if self.cached_input_price is None else self.cached_input_price
        reasoning = self.output_price if self.reasoning_price is None else self.reasoning_price
        return self.input_price, cached, self.output_price, reasoning


ABILITIES = ("tools", "images", "json")
"""Function calling, pictures in messages, and answers in a JSON form (``response_format``)."""
PRICES = ("input_price", "output_price", "cached_input_price", "reasoning_price")


def is_local(backend: str | None) -> bool:
    """Whether a backend loads `model` in this process: its file has a line ``LOCAL = True``."""
    return backend in plugins.names("backends") and plugins.has_line("backends", backend, "LOCAL = True")


def _check(llm: LLM) -> None:
    """Refuse a value that no LLM can have; the message names the field."""

    def expect(good: bool, name: str, expected: str) -> None:
        if not good:
            raise UserError(f"expected {name} {expected}, found {getattr(llm, name)!r}")

    def texts(value: Any) -> bool:
        return isinstance(value, str) and bool(value.strip())

    expect(texts(llm.name), "name", "to be a text")
    mode = split_candidate(llm.name)[1]
    expect(mode == "direct", "name", f"not to end in '_{mode}' (it marks {mode} mode)")
    expect(llm.size in SIZES, "size", f"one of {', '.join(SIZES)}")
    for name in PRICES:
        price = getattr(llm, name)
        if price is None:
            continue
        number = isinstance(price, int | float) and not isinstance(price, bool) and abs(price) <= 1e9
        expect(number, name, "to be a number (USD per million tokens), or null where it is not known")
        expect(price >= 0, name, ">= 0")
    for name in ("price_date", "price_source", "model", "base_url", "api_key_env", "tokenizer"):
        expect(getattr(llm, name) is None or texts(getattr(llm, name)), name, "to be a text")
    expect(isinstance(llm.description, str), "description", "to be a text")
    if llm.price_date is not None:
        try:
            datetime.date.fromisoformat(llm.price_date if len(llm.price_date) > 7 else f"{llm.price_date}-01")
        except ValueError:
            expect(False, "price_date", "as YYYY-MM-DD or YYYY-MM")
    # A name only: a path would let a pool file that somebody else wrote run code.
    expect(llm.backend in plugins.names("backends"), "backend", f"one of {', '.join(plugins.names('backends'))}")
    if llm.base_url is not None:
        expect(llm.base_url.startswith(("http://", "https://")), "base_url", "to begin with http:// or https://")
        if "@" in llm.base_url.split("/")[2]:
            raise UserError(f"base_url: {_SECRET_ADVICE}")
    window = llm.context_window
    good = window is None or (isinstance(window, int) and not isinstance(window, bool) and window > 0)
    expect(good, "context_window", "to be a number of tokens above 0")
    able = llm.abilities is None or (isinstance(llm.abilities, list) and all(a in ABILITIES for a in llm.abilities))
    expect(able, "abilities", f"to be a list of {', '.join(ABILITIES)}")
    expect(isinstance(llm.options, dict), "options", "to be a mapping")
    whole = [llm.reasoning_tokens, *llm.token_limits.values()] if isinstance(llm.token_limits, dict) else [None]
    good = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in whole)
    expect(good, "token_limits", "to be numbers of tokens by task, mode or task/mode, and reasoning_tokens a number")
    if llm.backend == "openai":
        expect(llm.base_url is not None, "base_url", "because the backend is 'openai'")
    for key in llm.options:
        if _is_secret(key):
            raise UserError(f"options.{key}: {_SECRET_ADVICE}")
    check_options(llm.options)


_SECRET_ADVICE = "keys are never kept in a file; put the key into an environment variable and its name in api_key_env"


def _is_secret(key: Any) -> bool:
    return isinstance(key, str) and key.lower().replace("-", "_") in SECRETS


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


def recost(table: pa.Table, pool: Pool) -> pa.Table:
    """The log with `cost` computed anew from its tokens and the prices of `pool`; null where either is null.

    Raises `UserError` if the log has an LLM that the pool has not.
    """
    names = pc.dictionary_encode(table["llm"]).combine_chunks()
    if isinstance(names, pa.ChunkedArray):  # a table without rows has no chunk to combine
        return table
    llms = [pool.get_llm(name) for name in names.dictionary.to_pylist()]
    index = names.indices
    sent, cached, got, reasoning = (
        pa.chunked_array([pa.array([llm.prices[i] for llm in llms], pa.float64()).take(index)]) for i in range(4)
    )
    parts = [
        pc.multiply(_tokens(table, "input_tokens"), sent),
        pc.multiply(_tokens(table, "output_tokens"), got),
        pc.multiply(pc.fill_null(_tokens(table, "cached_tokens"), 0.0), pc.subtract(cached, sent)),
        pc.multiply(pc.fill_null(_tokens(table, "reasoning_tokens"), 0.0), pc.subtract(reasoning, got)),
    ]
    cost = pc.divide(functools.reduce(pc.add, parts), 1e6)
    return table.set_column(table.column_names.index("cost"), table.schema.field("cost"), cost)


def _tokens(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.float64())])
    return pc.cast(table[name], pa.float64())


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
        if _is_secret(key):
            raise UserError(f"{where}: {key}: {_SECRET_ADVICE}")
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
    local = (folder / Path(model).expanduser()).resolve()
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
        place = Path(model).resolve()
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
