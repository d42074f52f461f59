"""One LLM of a pool: what it costs, how it is reached, and what no LLM can have. No secrets are kept in it."""

import datetime
from dataclasses import dataclass, field
from typing import Any

from .. import plugins
from ..errors import UserError
from ..logs.select import SIZES
from ..tasks.modes import split_candidate
from .options import check_options

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
            raise UserError(f"base_url: {SECRET_ADVICE}")
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
        if is_secret(key):
            raise UserError(f"options.{key}: {SECRET_ADVICE}")
    check_options(llm.options)


SECRET_ADVICE = "keys are never kept in a file; put the key into an environment variable and its name in api_key_env"


def is_secret(key: Any) -> bool:
    """Whether a field or option would hold a key."""
    return isinstance(key, str) and key.lower().replace("-", "_") in SECRETS
