"""Rows of one's own log, whatever they look like: nested keys, chats, numbers as text, ratings on a scale."""

import datetime
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ...errors import UserError
from ..logprobs import mean_logprob, token_logprobs
from ..schema import LOG_SCHEMA, SchemaError, rows_to_table

Keys = Mapping[str, Sequence[str]]
COLUMNS = [field for field in LOG_SCHEMA if field.name != "query_id"]  # the identity is always computed
_KINDS = {field.name: field.type for field in COLUMNS}
EARLIEST_S = 1e8  # seconds since 1970; what is less is no time of a log
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {
    "true": 1.0, "yes": 1.0, "pass": 1.0, "passed": 1.0, "correct": 1.0, "right": 1.0, "up": 1.0, "thumbs_up": 1.0,
    "false": 0.0, "no": 0.0, "fail": 0.0, "failed": 0.0, "incorrect": 0.0, "wrong": 0.0, "down": 0.0,
    "thumbs_down": 0.0,
}  # fmt: skip


def keys_of(aliases: Keys, mapping: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Column -> keys that may hold it, the first that has a value counts; `mapping` stands in place of them."""
    names = [field.name for field in COLUMNS]
    for to in mapping:
        if to not in names:
            raise UserError(f"map: unknown column {to!r}: expected one of {', '.join(names)}")
    return {to: (mapping[to],) if to in mapping else (to, *aliases.get(to, ())) for to in names}


def read_scale(scale: str | None) -> tuple[float, float] | None:
    """``1-5`` as (1.0, 5.0): what is worst and what is best."""
    if scale is None:
        return None
    found = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(?:-|\.\.|:)\s*(-?\d+(?:\.\d+)?)\s*", scale)
    low, high = map(float, found.groups()) if found else (0.0, 0.0)
    if low == high:
        raise UserError(f"scale: expected the worst and the best rating, such as 1-5, found {scale!r}")
    return low, high


class RowReader:
    """Makes log rows of the objects of a source.

    Args:
        keys: See `keys_of`.
        scale: The worst and the best rating, which become 0 and 1; None expects scores in 0..1.
    """

    def __init__(self, keys: Keys, scale: tuple[float, float] | None = None):
        self.keys, self.scale = keys, scale
        self.known = {key.split(".")[0] for names in keys.values() for key in names} | {
            n for ns in keys.values() for n in ns
        }
        self.unknown: dict[str, None] = {}
        self._others: dict[str, str | None] = {}
        self._folded = {_folded(key): key for key in sorted(self.known)}

    def table(self, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> pa.Table:
        """A table of the columns but ``query_id``, of (where it stands, object); errors name the place."""
        places, made = [], []
        for where, source in rows:
            places.append(where)
            made.append(self.row(source, where))
        try:
            return rows_to_table(made).drop_columns(["query_id"])
        except SchemaError as error:
            found = re.match(r"row (\d+), ", str(error))
            where = f"{places[int(found.group(1))]}, " if found else ""
            raise UserError(where + str(error)[found.end() if found else 0 :]) from None

    def row(self, source: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The columns of one object."""
        if any(map(self.other_name, source)):
            source = {name if (name := self.other_name(k)) not in (None, *source) else k: v for k, v in source.items()}
        for key in source:
            if key not in self.known:
                self.unknown[key] = None
        row = {to: self.column(source, to, where) for to in self.keys}
        for name in ("query", "llm"):
            if not isinstance(row[name], str) or not row[name]:
                found = ", ".join(sorted(map(str, source)))
                raise UserError(
                    f"{where}: expected a text {self.keys[name][0]!r}, found keys {found} (see map {name}=KEY)"
                )
        row["task"] = row["task"] or None
        return row

    def other_name(self, key: str) -> str | None:
        """The key that is known, where this one differs in capitals and blanks only."""
        if key not in self._others:
            self._others[key] = None if key in self.known else self._folded.get(_folded(key))
        return self._others[key]

    def column(self, source: Mapping[str, Any], to: str, where: str) -> Any:
        """One column of an object; None where no key has a value."""
        keys = self.keys[to]
        key, value = next(((k, v) for k in keys if (v := lookup(source, k)) is not None and v != ""), (keys[0], None))
        if value is None:
            return None
        at, kind = f"{where}, column {key!r}", _KINDS[to]
        if to in ("performance", "judge"):
            return self.score(value, at)
        if to == "mean_logprob":
            return logprob(value, at)
        if to == "served_at":
            return moment(value, at)
        if to == "ground_truth":
            return references(value)
        if pa.types.is_boolean(kind):
            return bool(value)
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            number = as_number(value, at)
            if number is not None and pa.types.is_integer(kind):
                if number != int(number):
                    raise UserError(f"{at}: expected a whole number, found {value!r:.60}")
                return int(number)
            return number
        return sound(text_of(value))

    def score(self, value: Any, where: str) -> float | None:
        """A score in 0..1: a number, a number as text, true or false, a word such as ``pass``, or a rating."""
        if isinstance(value, str) and value.strip().lower() in _WORDS:
            return _WORDS[value.strip().lower()]
        percent = isinstance(value, str) and value.strip().endswith("%")
        number = as_number(value.strip()[:-1] if percent else value, where)
        if number is None or isinstance(value, bool):
            return number
        if percent and self.scale is None:
            number /= 100
        if self.scale is not None:
            low, high = self.scale
            number = (number - low) / (high - low)
        if not -1e-9 <= number <= 1 + 1e-9:
            expected = f"a rating from {self.scale[0]:g} to {self.scale[1]:g}" if self.scale else "a score in 0..1"
            raise UserError(
                f"{where}: expected {expected}, found {value!r:.60}" + ("" if self.scale else " (see scale)")
            )
        return min(max(number, 0.0), 1.0)


def _folded(key: str) -> str:
    return "_".join(key.lower().split())


def lookup(source: Any, key: str) -> Any:
    """The value of a key, or of a path such as ``choices.0.message.content``; None where there is none."""
    if isinstance(source, Mapping) and key in source:
        return source[key]
    for part in key.split("."):
        if isinstance(source, str) and source[:1] in "[{":
            source = parsed(source)  # a CSV cell, or a column of a database, may hold JSON
        if isinstance(source, Mapping):
            source = source.get(part)
        elif isinstance(source, list) and part.isdigit() and int(part) < len(source):
            source = source[int(part)]
        else:
            return None
    return source


def parsed(text: str) -> Any:
    """The JSON of a text that looks like it, else the text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def text_of(value: Any) -> str | None:
    """Text of a text, of a chat (the contents of its messages between blank lines), or of a chat endpoint's reply."""
    if isinstance(value, str):
        found = parsed(value) if value[:1] in ("[", "{") and '"content"' in value[:4000] else value
        return value if isinstance(found, str) else text_of(found)
    if isinstance(value, list):
        parts = [text for part in value if (text := text_of(part))]
        return "\n\n".join(parts) or None
    if isinstance(value, Mapping):
        for key in ("messages", "choices", "message", "content", "text", "output", "input"):
            if value.get(key) is not None:
                inner = value[key][:1] if key == "choices" and isinstance(value[key], list) else value[key]
                return text_of(inner)
        return None if {"tool_calls", "role", "type"} & set(value) else json.dumps(value, ensure_ascii=False)
    return None if value is None else str(value)


def sound(text: str | None) -> str | None:
    """The text with U+FFFD for a lone surrogate (half of a character that was cut)."""
    return None if text is None else _SURROGATE.sub("\ufffd", text)


def logprob(value: Any, where: str) -> float | None:
    """A mean log-probability: a number, or the mean of what a server said of the tokens (see `token_logprobs`)."""
    value = parsed(value) if isinstance(value, str) and value[:1] in ("[", "{") else value
    if isinstance(value, Mapping | list):
        return mean_logprob(token_logprobs(value))
    number = None if isinstance(value, bool) else as_number(value, where)  # true: that they were asked for
    if number is not None and not number <= 0:
        raise UserError(f"{where}: expected a mean log-probability of at most 0, found {value!r:.60}")
    return number


def references(value: Any) -> list[str]:
    """Reference answers: a list, or one."""
    if isinstance(value, str) and value[:1] == "[":
        value = parsed(value)
    return [sound(str(v)) for v in value] if isinstance(value, list) else [sound(str(value))]


def as_number(value: Any, where: str) -> float | None:
    """A number, also as text (``$0.01``, ``0,5``, ``1,234.5``, ``1.234,5``); None for NaN and text such as ``null``."""
    if isinstance(value, str):
        text = value.strip().removeprefix("$").removesuffix("USD").strip()
        if text.lower() in ("", "null", "none", "nan", "na", "n/a"):
            return None
        if re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", text):
            plain = text.replace(",", "")
            raise UserError(f"{where}: expected a number, found {text!r}: write {text.replace(',', '.')} or {plain}")
        if re.fullmatch(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?", text):
            text = text.replace(",", "")
        elif re.fullmatch(r"[-+]?(\d+|\d{1,3}(\.\d{3})+),\d+", text):
            text = text.replace(".", "").replace(",", ".")
        try:
            value = float(text)
        except ValueError:
            raise UserError(f"{where}: expected a number, found {text!r:.60}") from None
    if not isinstance(value, bool | int | float):
        raise UserError(f"{where}: expected a number, found {type(value).__name__} {value!r:.60}")
    return None if math.isnan(value) else float(value)


def moment(value: Any, where: str) -> str:
    """A time as ISO 8601 in UTC: of ISO text, of 31.12.2026 14:05, or of seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?", value.strip()):
            text = re.sub(r"^(\d\d?)\.(\d\d?)\.(\d{4})", _day_first, value.strip())
            found = datetime.datetime.fromisoformat(text)
        else:
            seconds = float(value)
            if seconds < EARLIEST_S:  # the number of a day, as Excel keeps it
                raise ValueError
            seconds = seconds / 1000 if seconds > 1e11 else seconds
            found = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        forms = "2026-12-31 14:05, 31.12.2026, or seconds since 1970"
        raise UserError(f"{where}: expected a date or time ({forms}), found {value!r:.60}") from None
    found = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    return found.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def _day_first(found: re.Match) -> str:
    day, month, year = found.groups()
    return f"{year}-{month:0>2}-{day:0>2}"


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where it stands, object) of a JSON lines file, a JSON list (also below ``data``), a CSV or a TSV file."""
    from ._csv import read_table
    from ._files import read_json, read_json_lines, unpacked_name

    name = unpacked_name(path).lower()
    if name.endswith((".csv", ".tsv")):
        yield from read_table(path)
    elif name.endswith(".json") and not _has_lines(path):
        content = read_json(path)
        rows = content.get("data") if isinstance(content, dict) else content
        if not isinstance(rows, list):
            raise UserError(f"{path}: expected a JSON list of objects, found {type(content).__name__}")
        for i, row in enumerate(rows):
            if not isinstance(row, dict):
                raise UserError(f"{path}, row {i}: expected a JSON object, found {type(row).__name__}")
            yield f"{path}, row {i}", row
    else:
        yield from ((f"{path}, line {number}", row) for number, row in read_json_lines(path))


def _has_lines(path: Path) -> bool:
    """Whether a file called .json holds an object a line."""
    from ._files import open_text

    lines = open_text(path).strip().split("\n", 2)
    return len(lines) > 1 and all(isinstance(parsed(line), dict) for line in lines[:2])
