"""What must not leave this machine: access tokens, private keys and passwords in the files of a push."""

import base64
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import UserError
from .packed import BROKEN, MOST_UNPACKED, contents

# What it is -> how it looks: written for Python and for RE2, which searches the columns of tables.
LOOKS = {
    "a Hugging Face token": r"hf_[A-Za-z0-9]{30}|api_org_[A-Za-z0-9]{30}",
    "an API key": r"\bsk-(?:[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{12,})"
    r"|\b[spr]k_(?:live|test)_[A-Za-z0-9]{16}|\bgsk_[A-Za-z0-9]{30}"
    r"|\bxai-[A-Za-z0-9]{30}|\bnvapi-[A-Za-z0-9_-]{30}|\br8_[A-Za-z0-9]{30}|\bpplx-[A-Za-z0-9]{30}|\btgp_v1_[A-Za-z0-9_-]{30}",
    "a Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "a GitHub or GitLab token": r"\bgh[pousr]_[A-Za-z0-9]{30}|\bgithub_pat_[A-Za-z0-9_]{30}|\bglpat-[A-Za-z0-9_-]{20}",
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|(?i:aws_?secret_?access_?key)[\"']?\s{0,5}[:=]\s{0,5}[\"']?[A-Za-z0-9/+]{40}",
    "a Slack, npm or PyPI token": r"\bxox[abeprs]-[A-Za-z0-9-]{20}|\bnpm_[A-Za-z0-9]{36}|\bpypi-AgE[A-Za-z0-9_-]{30}",
    "a bearer token": r"(?i:authorization[\"']?\s{0,5}[:=]\s{0,5}[\"']?bearer\s{1,5})[A-Za-z0-9._~+/-]{20,}",
    "a token in base64": r"\baGZf[A-Za-z0-9+/]{40}",
    "an Azure or Weights & Biases key": r"AccountKey=[A-Za-z0-9+/]{86}=="
    r"|(?i:wandb_api_key)[\"']?\s{0,5}[:=]\s{0,5}[\"']?[0-9a-f]{40}",
    "a password of a netrc file": r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+\S{6}",
    "a private key": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----",
    "a password in a URL": r"\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@\"'<>{}$]{1,100}:[^/\s:@\"'<>{}$]{3,100}@[A-Za-z0-9\[][A-Za-z0-9.:\]-]{0,100}",
}
_ALL = "|".join(f"(?:{look})" for look in LOOKS.values())
_EACH = {what: re.compile(look) for what, look in LOOKS.items()}
_ANY = re.compile(_ALL)
# Passwords of examples, and of servers on one's own machine.
_EXAMPLE = re.compile(
    r":(?:\*+|x+|pass(?:word|wd)?|pwd|secret|changeme|example|your[_-].*|my[_-].*|token|key|user|admin|root|postgres"
    r"|guest|test|1234\d*)@|@(?:localhost|127\.|0\.0\.0\.0|\[::1)|@(?:[\w-]+\.)*(?:example|test)\b",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PAT)(?:_|$)", re.IGNORECASE)
_NAMED = re.compile(rb"api_key_env[\"']?\s{0,5}:\s{0,5}[\"']?(\w{1,200})")
# How those begin that are looked for in binary files, too.
_BEGINS = (b"hf_", b"api_org_", b"sk-", b"k_live_", b"k_test_", b"gsk_", b"xai-", b"nvapi-", b"r8_", b"pplx-",
           b"tgp_v1_", b"AIza", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"AKIA",
           b"ASIA", b"xox", b"npm_", b"pypi-AgE", b"PRIVATE KEY-----", b"aGZf")  # fmt: skip
_PART, _OVERLAP = 8 << 20, 1 << 14
_PIECE, _LONGEST = 2000, 400  # characters of a text at a time, and of the longest lookalike
SHORTEST = 8  # characters of a key; what is shorter stands in texts by chance


def refuse_secrets(files: Iterable[Path], own: str | None = None, lookalikes: bool = True) -> None:
    """Refuse to push files with what looks like a secret, or with the value of a key variable of this machine.

    Text is looked at whatever its file is called, also packed and in the columns of Parquet and Arrow files; other
    binary files are only searched for the values.

    Args:
        files: What is pushed.
        own: The user's Hub token.
        lookalikes: Refuse what looks like a secret of anybody; False only looks for the values.

    Raises:
        UserError: It names the file, the place and what it looks like, never the secret.
    """
    files = list(files)
    values = _spellings(own_values(files, own))
    for path in files:
        found = _look(path, values, lookalikes)
        if found:
            more = "" if "the value of" in found else ", or allow it (allow_token_like) if it is none"
            raise UserError(
                f"{path}: it seems to hold an access token ({found}): nothing was pushed; take the token out{more}"
            )


def own_values(files: Iterable[Path], own: str | None = None) -> dict[str, str]:
    """Name -> value of the environment variables that hold keys: by their names, or named by a pool among the files."""
    names = {name for name in os.environ if _VARIABLE.search(name)}
    for path in files:
        if path.suffix in (".yaml", ".yml", ".json", ".md"):
            with open(path, "rb") as file:
                names |= {found.decode() for found in _NAMED.findall(file.read(_PART))}
    values = {name: os.environ.get(name, "").strip() for name in names} | ({"your Hub token": own} if own else {})
    return {
        name: value for name, value in values.items()
        if len(value) >= SHORTEST and not (os.sep in value and Path(value).exists())
    }  # fmt: skip


def _spellings(values: dict[str, str]) -> dict[str, str]:
    """The values, and how JSON, URLs and base64 write them."""
    found = dict(values)
    for name, value in values.items():
        found[f"{name} in a URL"] = urllib.parse.quote(value, safe="")
        found[f"{name} in JSON"] = json.dumps(value)[1:-1]
        found[f"{name} in JSON, escaped"] = "".join(f"\\u{ord(c):04x}" for c in value)
        for before in range(3):  # the same wherever the value begins in what was encoded
            data = bytes(before) + value.encode()
            found[f"{name} in base64 {before}"] = base64.b64encode(data).decode()[
                -(-before * 4 // 3) : len(data) // 3 * 4
            ]
    return {name: value for name, value in found.items() if len(value) >= SHORTEST}


def _look(path: Path, values: dict[str, str], lookalikes: bool) -> str | None:
    """What a file holds that it must not, and where."""
    try:
        if path.suffix == ".parquet":
            return _in_parquet(path, values, lookalikes)
        if path.suffix in (".arrow", ".feather"):
            return _in_batches(_record_batches(path), values, lookalikes)
    except (pa.ArrowException, OSError):
        pass  # it is something else than its name says
    try:
        with open(path, "rb") as file:
            for where, part in contents(file):
                if found := _in_stream(part, values, lookalikes, None if part is file else MOST_UNPACKED):
                    return f"{where}, {found}" if where else found
    except BROKEN:
        pass  # nobody else can read it either
    return None


def _in_stream(file: IO[bytes], values: dict[str, str], lookalikes: bool, most: int | None = None) -> str | None:
    """Part by part, with some of the last one, so that nothing is cut in two."""
    kept, line, read, encoding = b"", 1, 0, None
    while (part := file.read(_PART)) and (most is None or read < most):
        if not read:
            encoding = _encoding(part)
        read += len(part)
        data = kept + part
        # A file in UTF-16 is cut between two bytes of a character only if it is odd.
        text = data.decode(encoding or "latin-1", "replace")
        if encoding is None:  # binary: weights, pictures
            held = next((f"the value of {name}" for name, value in values.items() if value.encode() in data), None)
            held = held or (_in_text(_header(data), {}, True) if lookalikes and read == len(part) else None)
            if held := held or (_in_bytes(data) if lookalikes else None):
                return held
        elif found := _first(text, values, lookalikes):
            return f"line {line + text[: found[0]].count(chr(10))}, {found[1]}"
        kept = data[-_OVERLAP:]
        line += data[: len(data) - len(kept)].count(b"\n")
    return None


def _encoding(start: bytes) -> str | None:
    """How a text is written, by its first bytes; None for what is no text."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16-le" if start[:1] == b"\xff" else "utf-16-be"
    if b"\0" not in start[: 1 << 16]:
        return "utf-8"
    pairs = start[: 1 << 10]
    for encoding, zeros in (("utf-16-le", pairs[1::2]), ("utf-16-be", pairs[0::2])):
        if zeros.count(0) > 0.9 * len(zeros) and pairs.count(0) < 0.6 * len(pairs):
            return encoding
    return None


def _header(data: bytes) -> str:
    """The JSON at the head of a safetensors file, which holds what a training wrote there; else nothing."""
    size = int.from_bytes(data[:8], "little")
    return data[8 : 8 + size].decode("utf-8", "replace") if data[8:9] == b"{" and size < len(data) else ""


def _in_bytes(data: bytes) -> str | None:
    """What a binary file holds between other things: only what begins like a token is looked at closer."""
    for begins in _BEGINS:
        place = -1
        while (place := data.find(begins, place + 1)) >= 0:
            if found := _in_text(data[max(0, place - 80) : place + _LONGEST].decode("latin-1"), {}, True):
                return found
    return None


def _in_text(text: str, values: dict[str, str], lookalikes: bool) -> str | None:
    found = _first(text, values, lookalikes)
    return found and found[1]


def _first(text: str, values: dict[str, str], lookalikes: bool) -> tuple[int, str] | None:
    """(place, what it is) of a secret in a text; None without one."""
    for name, value in values.items():
        if (place := text.find(value)) >= 0:
            return place, f"the value of {name}"
    if not lookalikes:
        return None
    # RE2 says of many short pieces whether to look closer, some fifty times as fast as Python's search.
    starts = range(0, len(text), _PIECE)
    pieces = pa.array([text[i : i + _PIECE + _LONGEST] for i in starts], pa.large_string())
    for number in pc.indices_nonzero(pc.match_substring_regex(pieces, _ALL)).to_pylist():
        piece = max(0, starts[number] - 1)  # with the character before it, which may be a letter
        for found in _ANY.finditer(text, piece, starts[number] + _PIECE + _LONGEST):
            if _is_secret(found[0]):
                return found.start(), next((what for what, look in _EACH.items() if look.search(found[0])), "a token")
    return None


def _is_secret(text: str) -> bool:
    """Whether a lookalike is more than an example: a password of nobody, or words with hyphens."""
    if "://" in text:
        return not _EXAMPLE.search(text)
    if text.startswith("sk-"):
        return any(c.isdigit() for c in text) and any(c.isalpha() for c in text[3:])
    return True


def _in_parquet(path: Path, values: dict[str, str], lookalikes: bool) -> str | None:
    with pq.ParquetFile(path) as file:
        notes = " ".join(
            v.decode("utf-8", "replace") for v in (file.metadata.metadata or {}).values() if len(v) < _PART
        )
        return _in_text(notes, values, lookalikes) or _in_batches(file.iter_batches(20_000), values, lookalikes)


def _record_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as source:
        try:
            file = pa.ipc.open_file(source)
            yield from (file.get_batch(i) for i in range(file.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            yield from pa.ipc.open_stream(source)


def _in_batches(batches: Iterator[pa.RecordBatch], values: dict[str, str], lookalikes: bool) -> str | None:
    patterns = [re.escape(value) for value in values.values()] + ([_ALL] if lookalikes else [])
    if not patterns:
        return None
    first = 0
    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for texts in _texts(column):
                hits = pc.filter(texts, pc.fill_null(pc.match_substring_regex(texts, "|".join(patterns)), False))
                for text in hits.to_pylist():
                    if found := _in_text(text, values, lookalikes):
                        return f"column {name}, rows {first} to {first + batch.num_rows - 1}, {found}"
        first += batch.num_rows
    return None


def _texts(column: pa.Array) -> Iterator[pa.Array]:
    """The texts of a column, also those within lists and structs."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield column
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        yield pa.array([None if v is None else v.decode("latin-1") for v in column.to_pylist()], pa.large_string())
    elif pa.types.is_dictionary(kind):
        yield from _texts(column.dictionary)
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from _texts(part)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _texts(column.flatten())
    elif pa.types.is_map(kind):
        yield from _texts(column.keys)
        yield from _texts(column.items)
    elif isinstance(column, pa.ExtensionArray):
        yield from _texts(column.storage)
    elif pa.types.is_string_view(kind):
        yield column.cast(pa.large_string())
