"""Thought templates that can be searched by meaning, saved as a dataset folder that `load_dataset` reads too."""

import hashlib
import sys
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..bench.tasks import THINK_SUFFIX
from ..errors import UserError
from .files import CONFIG_FILE, FOLDER, find_index, read_index, write_index, write_readme
from .nearest import nearest
from .templates import COLUMNS


class Hit:
    """A template that was found: its columns as attributes, and `similarity` (cosine, -1..1)."""

    __slots__ = ("_table", "row", "similarity")

    def __init__(self, table: pa.Table, row: int, similarity: float):
        self._table, self.row, self.similarity = table, row, similarity

    def __getattr__(self, name: str) -> Any:
        if name not in COLUMNS:
            raise AttributeError(f"a Hit has {', '.join(COLUMNS)}, row and similarity; found {name!r}")
        return self._table[name][self.row].as_py()

    def as_dict(self) -> dict[str, Any]:
        """All columns and the similarity."""
        return {name: getattr(self, name) for name in COLUMNS} | {"similarity": self.similarity}

    def __repr__(self) -> str:
        return f"Hit(query_id={self.query_id!r}, similarity={self.similarity:.3f}, template={self.template!r:.60})"


class TemplateIndex:
    """Templates and the embeddings of their queries.

    Args:
        templates: `datasets.Dataset` or pyarrow table with the columns that `make_templates` gives.
        embeddings: float32 [n, d], unit length, one row a template; may be a `numpy.memmap`.
        encoder_name: The text encoder that made them (see `fusion_hf.encoder.resolve_encoder`); queries are encoded by
            the same one, and by no other.
    """

    def __init__(self, templates: Any, embeddings: np.ndarray, encoder_name: str):
        self.table = _table(templates)
        if embeddings.ndim != 2 or len(embeddings) != self.table.num_rows:
            raise UserError(
                f"embeddings: expected shape [{self.table.num_rows}, d], one row a template, found {embeddings.shape}"
            )
        if embeddings.dtype != np.float32:
            raise UserError(f"embeddings: expected float32, found {embeddings.dtype}")
        self.embeddings = embeddings
        self.encoder_name = check_encoder(encoder_name)

    def __len__(self) -> int:
        return self.table.num_rows

    @classmethod
    def build(cls, dataset: Any, encoder: str = "offline") -> "TemplateIndex":
        """Encode the queries of a template dataset. `encoder` is a Hub id, a folder, or ``offline``."""
        name = check_encoder(encoder)
        from ..encoder import embed_cached

        table = _table(dataset)
        vectors = embed_cached(name, table["query"].to_pylist(), progress=sys.stderr.isatty())
        return cls(table, np.ascontiguousarray(vectors, np.float32), name)

    def search(
        self,
        queries: Sequence[str] | None = None,
        embeddings: np.ndarray | None = None,
        k: int = 3,
        tasks: str | Sequence[str | None] | None = None,
        exclude_query_ids: Sequence[str | Collection[str] | None] | None = None,
        exclude_same_query: bool = True,
        min_similarity: float = 0.0,
    ) -> list[list[Hit]]:
        """The most similar templates of each query, the most similar first; exact, not approximate.

        Args:
            queries: n texts. With `embeddings` they serve only to exclude the query itself.
            embeddings: float32 [n, d] of the queries, instead of encoding `queries`.
            k: At most so many hits a query.
            tasks: Only templates of this task: one name for all, or one (or None) a query. Pass predicted tasks.
            exclude_query_ids: For each query an id, or several, whose templates must not be returned.
            exclude_same_query: Never return the template of the same text (blanks, case and the think suffix aside).
            min_similarity: Hits below this cosine are left out.

        Returns:
            n lists of at most k hits. A query gets the same hits alone as in a batch.
        """
        if k < 1:
            raise UserError(f"k: expected at least 1, found {k}")
        if isinstance(queries, str):
            raise UserError("queries: expected a list of texts, found one text: put it into a list")
        if embeddings is None:
            if queries is None:
                raise UserError("search needs queries or embeddings, found neither")
            embeddings = self.encode(queries)
        vectors = self._checked(embeddings, queries)
        n = len(vectors)
        forbidden = self._forbidden(n, queries if exclude_same_query else None, exclude_query_ids)
        allowed = self._allowed(n, tasks)
        rows, similarity = nearest(vectors, self.embeddings, k, forbidden, allowed)
        kept = (rows >= 0) & (similarity >= min_similarity)
        return [
            [Hit(self.table, int(rows[i, j]), float(similarity[i, j])) for j in np.flatnonzero(kept[i])]
            for i in range(n)
        ]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings float32 [n, d] of texts, by the encoder that made the index."""
        return np.asarray(self._encoder.encode(list(texts)), np.float32)

    @cached_property
    def _encoder(self):
        from ..encoder import load_encoder

        return load_encoder(self.encoder_name)

    def _checked(self, embeddings: np.ndarray, queries: Sequence[str] | None) -> np.ndarray:
        vectors = np.asarray(embeddings, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.embeddings.shape[1]:
            raise UserError(f"embeddings: expected [n, {self.embeddings.shape[1]}], found {vectors.shape}")
        if queries is not None and len(queries) != len(vectors):
            raise UserError(f"expected one embedding a query, found {len(vectors)} for {len(queries)} queries")
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _forbidden(self, n, queries, query_ids) -> list[np.ndarray] | None:
        if queries is None and query_ids is None:
            return None
        if query_ids is not None and len(query_ids) != n:
            raise UserError(f"exclude_query_ids: expected one entry a query ({n}), found {len(query_ids)}")
        result = []
        for i in range(n):
            rows = [] if queries is None else [_find(*self._texts, _digest(queries[i]))]
            ids = query_ids[i] if query_ids is not None else None
            ids = [ids] if isinstance(ids, str) else ids or []
            rows += [self._ids[key] for key in ids if key in self._ids]
            result.append(np.concatenate(rows) if rows else np.empty(0, np.int64))
        return result

    def _allowed(self, n, tasks) -> tuple[np.ndarray, np.ndarray] | None:
        if tasks is None:
            return None
        tasks = [tasks] * n if isinstance(tasks, str) else list(tasks)
        if len(tasks) != n:
            raise UserError(f"tasks: expected one entry a query ({n}), found {len(tasks)}")
        names, codes = self._tasks
        unknown = len(names)  # a task without templates matches none of them
        wanted = [-1 if task is None else names.get(task, unknown) for task in tasks]
        return np.array(wanted, np.int64), codes

    @cached_property
    def _texts(self) -> tuple[np.ndarray, np.ndarray]:
        """Sorted digests of the templates' queries, and the row of each: 16 bytes a template."""
        digests = np.array([_digest(q.as_py()) for q in self.table["query"]], np.uint64)
        order = np.argsort(digests, kind="stable")
        return digests[order], order

    @cached_property
    def _ids(self) -> dict[str, np.ndarray]:
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(self.table["query_id"].to_pylist()):
            rows.setdefault(key, []).append(row)
        return {key: np.array(r, np.int64) for key, r in rows.items()}

    @cached_property
    def _tasks(self) -> tuple[dict[str, int], np.ndarray]:
        encoded = self.table["task"].combine_chunks().dictionary_encode()
        names = {name: i for i, name in enumerate(encoded.dictionary.to_pylist())}
        return names, encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)

    def save_pretrained(self, folder: str | Path, card: bool = True) -> Path:
        """Save to ``folder/thought_templates``: Parquet, embeddings (safetensors) and the encoder's name.

        `folder` may be a FusionBench folder: its README gets the config ``thought_templates``; otherwise a README is
        written, so that ``load_dataset(folder, "thought_templates")`` works. ``card=False`` leaves the README alone.
        """
        write_index(Path(folder), self.table, self.embeddings, self.encoder_name)
        if card:
            write_readme(Path(folder), self.table)
        return Path(folder)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, revision: str | None = None, repo_type: str = "dataset"
    ) -> "TemplateIndex":
        """Load from a folder or a Hub id; the embeddings stay on disk and are mapped into memory."""
        folder = find_index(path, revision, repo_type)
        if folder is None:
            found = f"{path}: expected {FOLDER}/{CONFIG_FILE}, found none"
            raise UserError(f"{found}: make it with  fusion-hf templates BENCH --out DIR")
        return cls(*read_index(folder))


def _table(templates: Any) -> pa.Table:
    if not isinstance(templates, pa.Table):
        # An indices mapping (after select or shuffle) is not part of the table behind a Dataset.
        templates = templates.flatten_indices().data.table if templates._indices else templates.data.table
    missing = [name for name in COLUMNS if name not in templates.column_names]
    if missing:
        raise UserError(f"templates: expected columns {', '.join(COLUMNS)}; found no {missing[0]!r}")
    if templates.num_rows == 0:
        raise UserError("templates: expected at least one, found none")
    return templates.select(list(COLUMNS)).combine_chunks()


def check_encoder(encoder: str) -> str:
    """The encoder's name, unless it makes no vectors."""
    if encoder == "none":
        raise UserError("encoder 'none' makes no vectors and templates are found by vectors: use 'offline' or a Hub id")
    return encoder


def _digest(text: str) -> int:
    text = " ".join(text.removesuffix(THINK_SUFFIX).split()).casefold()
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _find(digests: np.ndarray, rows: np.ndarray, digest: int) -> np.ndarray:
    left, right = (np.searchsorted(digests, np.uint64(digest), side=side) for side in ("left", "right"))
    return rows[left:right]
