"""Where a template index lies in a folder or on the Hub, and how its files are read and written.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..encoders.beginnings import read_beginnings
from ..encoders.cache import cache_folder
from ..encoders.encoder import TextEncoder
from ..errors import MissingPackage, UserError, hub_reason
from .rows import COLUMNS, NEEDED, Rows, as_rows, read_rows, values, write_rows

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:  # beside a pipeline, whose templates are JSON lines
    pa = pq = None

_LOOKED_AT = 20_000  # vectors that are looked at for NaN: of more, every second, third, …
FOLDER = "thought_templates"
CONFIG_FILE = "index_config.json"
ENCODER_FOLDER = "encoder"  # of an index whose configuration says ``has_encoder``
VECTORS_FILE = "embeddings.safetensors"
TABLE_FILE = "train-00000.parquet"  # of an index that does not say the name of its table
FORMAT = 1
ROW_GROUP = 50_000
# A larger table is mapped from an Arrow file in the cache folder rather than read into memory.
IN_MEMORY_BYTES = 64 << 20


def write_index(
    folder: Path,
    table: Any,
    vectors: np.ndarray,
    encoder_name: str,
    encoder: TextEncoder | None = None,
    training: dict[str, Any] | None = None,
    plain: bool = False,
    beginnings: list | None = None,
) -> None:
    """Write ``folder/thought_templates``: templates, embeddings (safetensors), the encoder's name with `training` and
    the `beginnings` that are not embedded.

    With the encoder itself, that is saved too. The templates are Parquet, or JSON lines where `plain` says so or they
    came as `Rows`. Their file is named by its content, because `datasets` takes files of one name for the same (see
    `fusion_hf.logs.files.named_by_content`). `sweep_index` removes the file of an earlier state.
    """
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    # Written beside and then moved: what is mapped into memory may be the very file that is replaced.
    temporary = target / f"{VECTORS_FILE}.new"
    write_vectors(temporary, vectors)
    temporary.replace(target / VECTORS_FILE)
    plain = plain or isinstance(table, Rows)
    if plain:
        write_rows(temporary, table)
    else:
        pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP)
    with open(temporary, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    name = f"train-{digest}.{'jsonl' if plain else 'parquet'}"
    temporary.replace(target / name)
    if encoder is not None:
        _write_encoder(target, encoder)
    config = {"format": FORMAT, "encoder": encoder_name, "has_encoder": encoder is not None}
    config |= {"templates": len(vectors), "dimension": int(vectors.shape[1]), "table": name}
    config |= {} if training is None else {"training": training}
    config |= {"beginnings": beginnings} if beginnings else {}
    temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    temporary.replace(target / CONFIG_FILE)


def _write_encoder(target: Path, encoder: TextEncoder) -> None:
    new, final = target / f"{ENCODER_FOLDER}.new", target / ENCODER_FOLDER
    encoder.model.save_pretrained(new)
    encoder.tokenizer.save_pretrained(new)
    final.mkdir(exist_ok=True)
    names = {path.name for path in new.iterdir()}
    for name in names:
        os.replace(new / name, final / name)
    new.rmdir()
    for path in final.glob("*.safetensors*"):  # weights in another number of files would be read before the new ones
        if path.name not in names:
            path.unlink()


def sweep_index(folder: Path) -> None:
    """Remove the tables of earlier states from ``folder/thought_templates``."""
    target = folder / FOLDER
    for path in [*target.glob("train-*.parquet"), *target.glob("train-*.jsonl")]:
        if path.name != table_name(target):
            path.unlink()


def table_name(folder: Path) -> str:
    """Name of the file with the templates of an index, Parquet or JSON lines."""
    name = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("table", TABLE_FILE)
    if not isinstance(name, str) or Path(name).name != name:
        raise UserError(f"{folder / CONFIG_FILE}: expected the name of a file in 'table', found {name!r}")
    return name


def read_index(folder: Path) -> tuple[Any, np.ndarray, str, Path | None, dict[str, Any] | None, Any]:
    """(templates, embeddings mapped from disk, encoder's name, its folder or None, training, beginnings or None) that
    `write_index` wrote.

    The templates are a `pyarrow.Table`, or `Rows` where pyarrow is missing.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / CONFIG_FILE}: expected JSON, found something else: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("encoder"), str):
        raise UserError(
            f"{folder / CONFIG_FILE}: expected the name of the encoder, found none: make the templates again"
        )
    if config.get("format") != FORMAT:
        raise UserError(f"{folder / CONFIG_FILE}: expected format {FORMAT}, found {config.get('format')!r}")
    table = table_name(folder)
    for name in (table, VECTORS_FILE):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: expected {name} beside {CONFIG_FILE}, found none: make the templates again")
    rows, vectors = _checked_table(folder / table), _map_vectors(folder / VECTORS_FILE)
    if len(vectors) != rows.num_rows:
        raise UserError(f"{folder}: expected a vector for each of {rows.num_rows} templates, found {len(vectors)}")
    if not np.isfinite(vectors[:: len(vectors) // _LOOKED_AT + 1]).all():
        raise UserError(f"{folder}: expected numbers in {VECTORS_FILE}, found NaN: make the templates again")
    try:
        beginnings = read_beginnings(config.get("beginnings"))
    except ValueError as error:
        raise UserError(f"{folder / CONFIG_FILE}: beginnings: {error}") from None
    encoder = folder / ENCODER_FOLDER if config.get("has_encoder") is True else None
    return rows, vectors, config["encoder"], encoder, config.get("training"), beginnings


def _checked_table(path: Path) -> Any:
    """The templates, if their columns are texts."""
    if pa is None:
        return _plain_table(path)
    try:
        table = _read_table(path)
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise UserError(f"{path}: expected a file of templates, found something else: {error}") from error
    if not table.num_rows:
        raise UserError(f"{path}: expected at least one template, found none")
    for name in COLUMNS:
        if name not in table.column_names:
            raise UserError(f"{path}: expected columns {', '.join(COLUMNS)}; found no {name!r}")
        kind, nulls = table.schema.field(name).type, table[name].null_count
        texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if name != "candidates" and not (texts and (nulls == 0 or name not in NEEDED)):
            raise UserError(f"{path}: expected texts in the column {name}, found {kind} with {nulls} nulls")
    return table


def _plain_table(path: Path) -> Rows:
    if path.suffix != ".jsonl":
        raise MissingPackage(f"{path}: reading it needs pyarrow: pip install pyarrow, or save the pipeline again")
    rows = as_rows(read_rows(path))
    if not rows.num_rows:
        raise UserError(f"{path}: expected at least one template, found none")
    return rows


def _read_table(path: Path) -> Any:
    """A table of templates; a large one as a memory map of the Arrow file that the first reading makes of it."""
    size, schema, batches = _batches_of(path)
    if size <= IN_MEMORY_BYTES:
        return pa.Table.from_batches(batches, schema)
    state = path.resolve().stat()
    identity = f"{path.resolve()}\x1f{state.st_size}\x1f{state.st_mtime_ns}"
    name = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    cached = cache_folder() / "templates" / f"{name}.arrow"
    if cached.exists():
        with contextlib.suppress(OSError, pa.ArrowException):  # cut by a crash or a full disk: it is made again
            return _mapped(cached)
    part = cached.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, schema) as arrow:
            for batch in batches:
                arrow.write_batch(batch)
        os.replace(part, cached)
    except OSError:  # no cache can be written: it only saves memory
        with contextlib.suppress(OSError):
            part.unlink()
        return pa.Table.from_batches(_batches_of(path)[2], schema)
    return _mapped(cached)


def _mapped(path: Path) -> Any:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _batches_of(path: Path) -> tuple[int, Any, Iterator[Any]]:
    """(bytes uncompressed, Arrow schema, record batches) of Parquet or JSON lines."""
    if path.suffix == ".jsonl":
        schema = pa.schema([(n, pa.list_(pa.string()) if n == "candidates" else pa.string()) for n in COLUMNS])
        rows = read_rows(path)
        parts = iter(lambda: list(islice(rows, ROW_GROUP)), [])
        return path.stat().st_size, schema, (pa.RecordBatch.from_pylist(part, schema) for part in parts)
    parquet = pq.ParquetFile(path)
    groups = (parquet.metadata.row_group(i) for i in range(parquet.num_row_groups))
    return sum(g.total_byte_size for g in groups), parquet.schema_arrow, parquet.iter_batches(ROW_GROUP)


def find_index(path: str | Path, revision: str | None = None, repo_type: str = "dataset") -> Path | None:
    """The folder that holds the index of a local folder or a Hub repository, or None where there is none."""
    local = Path(path)
    if not local.exists():
        if str(path).count("/") != 1 or str(path).startswith((".", "/", "~")):
            raise UserError(f"{path}: expected a folder or a Hub id such as user/name, found neither")
        local = _snapshot(str(path), revision, repo_type)
    for folder in (local / FOLDER, local):
        if (folder / CONFIG_FILE).is_file():
            return folder
    return None


def _snapshot(repo_id: str, revision: str | None, repo_type: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo_id, repo_type=repo_type, revision=revision, allow_patterns=[f"{FOLDER}/*"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        found = f"{repo_id}: no such folder, and the Hub has no {repo_type} of that name"
        raise UserError(f"{found}: {hub_reason(error)}") from error


def write_vectors(path: Path, vectors: np.ndarray) -> None:
    """The tensor ``embeddings`` as a safetensors file, block by block: the vectors may be larger than the memory."""
    entry = {"dtype": "F32", "shape": list(vectors.shape), "data_offsets": [0, vectors.nbytes]}
    header = json.dumps({"embeddings": entry}).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for start in range(0, len(vectors), ROW_GROUP):
            file.write(np.ascontiguousarray(vectors[start : start + ROW_GROUP]).data)


def _map_vectors(path: Path) -> np.ndarray:
    """The tensor ``embeddings`` of a safetensors file as a memory map (8 bytes of header length, JSON, raw data)."""
    length = path.stat().st_size
    try:
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > length:
                raise ValueError(f"a header of {size} bytes in a file of {length}")
            entry = json.loads(file.read(size))["embeddings"]
        (rows, columns), (start, end) = entry["shape"], entry["data_offsets"]
        whole = all(isinstance(n, int) and n >= 0 for n in (rows, columns, start, end))
        if not whole or entry["dtype"] != "F32" or end - start != 4 * rows * columns or 8 + size + end > length:
            raise ValueError(f"{entry}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: expected float32 vectors named 'embeddings', found {str(error)[:200]}") from error
    # Copy-on-write: torch wants writable memory, and the file is never changed.
    return np.memmap(path, np.float32, "c", offset=8 + size + start, shape=(rows, columns))


def write_readme(folder: Path, table: Any, encoder: str = "", repo_id: str | None = None) -> None:
    """Name the config in the YAML of an existing card, or write a card where fusion_hf is installed.

    Args:
        encoder: Its name, for the card.
        repo_id: For the card; None stands for the folder itself.
    """
    from huggingface_hub import DatasetCard, DatasetCardData

    file = f"{FOLDER}/{table_name(folder / FOLDER)}"
    config = {"config_name": FOLDER, "data_files": [{"split": "train", "path": file}]}
    readme = folder / "README.md"
    try:
        from fusion_hf.cards import PLACE, render_card, untouched
        from fusion_hf.made import local_name, shown
    except ImportError:  # this file lies beside a pipeline, and fusion_hf is not installed
        return
    old = readme.read_text(encoding="utf-8") if readme.exists() else None
    if old is not None and not ("# Thought templates" in old and untouched(old)):
        card = DatasetCard(old)
        others = [c for c in getattr(card.data, "configs", None) or [] if c["config_name"] != FOLDER]
        card.data.configs = [*others, config]
        return card.save(readme)
    tasks = list(values(table, "task"))
    header = DatasetCardData(pretty_name="Thought templates", tags=["fusion_hf", "thought-templates"], configs=[config])
    training = json.loads((folder / FOLDER / CONFIG_FILE).read_text(encoding="utf-8")).get("training")
    text = render_card(
        "templates", header, repo_id=repo_id or PLACE, templates=table.num_rows, encoder=local_name(encoder),
        tasks={task: tasks.count(task) for task in sorted(set(tasks))},
        summarisers=sorted(set(values(table, "summariser"))),
        training=shown(training, "fusion-hf templates LOG {} --out TEMPLATES"),
    )  # fmt: skip
    readme.write_text(text, encoding="utf-8")
