"""Thought templates that can be searched by meaning, saved as a dataset folder that `load_dataset` reads too.

This file is copied beside pipelines (see `fusion_hf.remote_code`).
"""

import sys
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..encoders.beginnings import bare, shared_beginnings
from ..encoders.cache import embed_cached
from ..encoders.encoder import DEFAULT_ENCODER, OFFLINE, TextEncoder, load_encoder
from ..errors import MissingPackage, UserError
from ..pushable import Pushable
from .approximate import Approximate, wanted
from .diverse import CHOICES, diversify
from .exclude import Exclusion, merged
from .files import CONFIG_FILE, FOLDER, find_index, read_index, sweep_index, write_index, write_readme
from .nearest import nearest
from .rows import COLUMNS, value, values
from .task_guess import TaskGuess


class Hit:
    """A template that was found: its columns as attributes, and `similarity` (cosine, -1..1)."""

    __slots__ = ("_table", "row", "similarity")

    def __init__(self, table: Any, row: int, similarity: float):
        self._table, self.row, self.similarity = table, row, similarity

    def __getattr__(self, name: str) -> Any:
        if name not in COLUMNS:
            raise AttributeError(f"a Hit has {', '.join(COLUMNS)}, row and similarity; found {name!r}")
        return value(self._table, name, self.row)

    def as_dict(self) -> dict[str, Any]:
        """All columns and the similarity."""
        return {name: getattr(self, name) for name in COLUMNS} | {"similarity": self.similarity}

    def __repr__(self) -> str:
        return f"Hit(query_id={self.query_id!r}, similarity={self.similarity:.3f}, template={self.template!r:.60})"


class TemplateIndex(Pushable):
    """Templates and the embeddings of their queries.

    Args:
        templates: `datasets.Dataset` or pyarrow table with the columns that `make_templates` gives.
        embeddings: float32 [n, d], unit length, one row a template; may be a `numpy.memmap`.
        encoder_name: The text encoder that made them (see `fusion_hf.encoders.encoder.resolve_encoder`); queries are
            encoded by the same one, and by no other.
        encoder_folder: Where that encoder lies, if it was saved with the index.
        training: How the templates were made (see `fusion_hf.made`), where that is known; it is saved with them.
        beginnings: Long beginnings that many of their queries share, and that were not embedded (see
            `fusion_hf.encoders.beginnings`): int64 [k, 3]; None for none.
    """

    def __init__(
        self,
        templates: Any,
        embeddings: np.ndarray,
        encoder_name: str,
        encoder_folder: str | Path | None = None,
        training: dict[str, Any] | None = None,
        beginnings: torch.Tensor | None = None,
    ):
        self.table = _table(templates)
        if embeddings.ndim != 2 or len(embeddings) != self.table.num_rows:
            raise UserError(
                f"embeddings: expected shape [{self.table.num_rows}, d], one row a template, found {embeddings.shape}"
            )
        if embeddings.dtype != np.float32:
            raise UserError(f"embeddings: expected float32, found {embeddings.dtype}")
        self.embeddings = embeddings
        self.encoder_name = check_encoder(encoder_name)
        self._encoder_folder, self.training, self.beginnings = encoder_folder, training, beginnings
        self._exclusion = Exclusion(self.table, beginnings)

    def __len__(self) -> int:
        return self.table.num_rows

    @classmethod
    def build(cls, dataset: Any, encoder: str = "offline", training: dict[str, Any] | None = None) -> "TemplateIndex":
        """Encode the queries of a template dataset. `encoder` is a Hub id, a folder, or ``offline``."""
        name = check_encoder(encoder)
        table = _table(dataset)
        queries = list(values(table, "query"))
        known = shared_beginnings(queries)
        vectors = embed_cached(name, bare(queries, known), progress=sys.stderr.isatty())
        return cls(table, np.ascontiguousarray(vectors, np.float32), name, training=training, beginnings=known)

    def search(
        self,
        queries: Sequence[str] | None = None,
        embeddings: np.ndarray | None = None,
        k: int = 3,
        tasks: str | Sequence[str | None] | None = None,
        exclude_query_ids: Sequence[str | Collection[str] | None] | None = None,
        leak_exclusion: bool = True,
        min_similarity: float = 0.0,
        diversity: float = 0.0,
        filter_tasks: bool = False,
    ) -> list[list[Hit]]:
        """The most similar templates of each query, the most similar first.

        Exact up to a million templates, and beyond where FAISS is not installed.

        Args:
            queries: n texts. With `embeddings` they serve only to exclude leaks.
            embeddings: float32 [n, d] of the queries, instead of encoding `queries`.
            k: At most so many hits a query.
            tasks: Only templates of this task: one name for all, or one (or None) a query. For evaluation pass
                predicted tasks; `filter_tasks` predicts them.
            exclude_query_ids: For each query an id, or several, whose templates must not be returned.
            leak_exclusion: Never return the template of the same query (blanks, case and the think suffix aside), nor
                of a near-duplicate of it (see `fusion_hf.thoughts.exclude`). Needs `queries`.
            min_similarity: Hits below this cosine are left out.
            diversity: From 0 to 1: how much a hit loses for being like one before it (see `diversify`).
            filter_tasks: Only templates of the task that `predict_tasks` says.

        Returns:
            n lists of at most k hits. A query gets the same hits alone as in a batch.
        """
        if k < 1:
            raise UserError(f"k: expected at least 1, found {k}")
        if not 0 <= diversity <= 1:
            raise UserError(f"diversity: expected a number from 0 to 1, found {diversity}")
        if isinstance(queries, str):
            raise UserError("queries: expected a list of texts, found one text: put it into a list")
        if filter_tasks and tasks is not None:
            raise UserError("expected tasks or filter_tasks, found both")
        if embeddings is None:
            if queries is None:
                raise UserError("search needs queries or embeddings, found neither")
            embeddings = self.encode(queries)
        vectors = self._checked(embeddings, queries)
        texts = queries if leak_exclusion else None
        forbidden = self._forbidden(len(vectors), texts, exclude_query_ids)
        allowed = self._allowed(len(vectors), self.predict_tasks(vectors) if filter_tasks else tasks)
        reach = CHOICES * k if diversity else k
        rows, similarity = self._nearest(vectors, reach, forbidden, allowed, texts)
        if diversity:
            rows, similarity = diversify(rows, similarity, self.embeddings, k, diversity)
        kept = (rows >= 0) & (similarity >= min_similarity)
        return [
            [Hit(self.table, int(rows[i, j]), float(similarity[i, j])) for j in np.flatnonzero(kept[i])]
            for i in range(len(vectors))
        ]

    def _nearest(
        self,
        vectors: np.ndarray,
        k: int,
        forbidden: Any,
        allowed: tuple[np.ndarray, np.ndarray] | None,
        texts: Sequence[str] | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers and similarities [n, k]; a query of which near-duplicates were found is searched again."""
        rows, similarity = nearest(vectors, self.embeddings, k, forbidden, allowed, self._propose)
        todo = list(range(len(vectors))) if texts is not None else []
        while texts is not None and todo:
            found = {i: self._exclusion.near(texts[i], rows[i][rows[i] >= 0]) for i in todo}
            todo = [i for i in todo if len(found[i])]
            for i in todo:
                forbidden[i] = np.concatenate([forbidden[i], found[i]])
            if todo:
                some = None if allowed is None else (allowed[0][todo], allowed[1])
                never = [forbidden[i] for i in todo]
                rows[todo], similarity[todo] = nearest(vectors[todo], self.embeddings, k, never, some, self._propose)
        return rows, similarity

    def predict_tasks(self, embeddings: np.ndarray) -> list[str]:
        """The likeliest task of each query, from embeddings [n, d]: a ridge classifier over the templates."""
        by_number = list(self._tasks[0])
        return [by_number[i] for i in self._guess(self._checked(embeddings, None))]

    @cached_property
    def _guess(self) -> TaskGuess:
        names, codes = self._tasks
        return TaskGuess(self.embeddings, codes, len(names))

    @cached_property
    def _propose(self) -> Any:
        return Approximate(self.embeddings).candidates if wanted(len(self)) else None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings float32 [n, d] of texts, by the encoder that made the index."""
        return np.asarray(self._encoder.encode(bare(texts, self.beginnings)), np.float32)

    @cached_property
    def _encoder(self) -> TextEncoder:
        if self._encoder_folder is not None:
            return load_encoder(str(self._encoder_folder))
        try:
            return load_encoder(self.encoder_name)
        except MissingPackage:  # where only the templates were downloaded: the Hub has the same weights
            return load_encoder(DEFAULT_ENCODER)

    def _checked(self, embeddings: np.ndarray, queries: Sequence[str] | None) -> np.ndarray:
        vectors = np.asarray(embeddings, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.embeddings.shape[1]:
            raise UserError(f"embeddings: expected [n, {self.embeddings.shape[1]}], found {vectors.shape}")
        if queries is not None and len(queries) != len(vectors):
            raise UserError(f"expected one embedding a query, found {len(vectors)} for {len(queries)} queries")
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def _forbidden(
        self, n: int, queries: Sequence[str] | None, query_ids: Sequence[str | Collection[str] | None] | None
    ) -> list[np.ndarray] | None:
        if queries is None and query_ids is None:
            return None
        if query_ids is not None and len(query_ids) != n:
            raise UserError(f"exclude_query_ids: expected one entry a query ({n}), found {len(query_ids)}")
        parts = [] if queries is None else [[self._exclusion.same(query) for query in queries]]
        parts += [] if query_ids is None else [[self._exclusion.of_ids(ids) for ids in query_ids]]
        return merged(parts)

    def _allowed(self, n: int, tasks: str | Sequence[str | None] | None) -> tuple[np.ndarray, np.ndarray] | None:
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
    def _tasks(self) -> tuple[dict[str, int], np.ndarray]:
        """(number of each task name, int64 [N] number of each template's task)."""
        names: dict[str, int] = {}
        numbers = (names.setdefault(task, len(names)) for task in values(self.table, "task"))
        codes = np.fromiter(numbers, np.int64, len(self))
        return names, codes

    def save_pretrained(self, folder: str | Path, card: bool = True, self_contained: bool = False) -> Path:
        """Save to ``folder/thought_templates``: Parquet, embeddings (safetensors) and the encoder's name.

        With ``self_contained=True``, as a pipeline saves it, the encoder's weights and tokenizer lie beside them, and
        the templates are JSON lines instead of Parquet: searching them needs neither the Hub nor pyarrow. Templates
        alone stay small: everyone who searches them has fusion_hf, which knows the encoder by its name. An encoder that
        is a folder of this machine is known nowhere else, so it is saved with them.

        `folder` may be a FusionBench folder: its README gets the config ``thought_templates``; otherwise a README is
        written, so that ``load_dataset(folder, "thought_templates")`` works. ``card=False`` leaves the README alone.
        """
        local = self.encoder_name != OFFLINE and Path(self.encoder_name).is_dir()
        name = Path(self.encoder_name).resolve().name if local else self.encoder_name
        carried = self_contained or local or self._encoder_folder is not None
        encoder = self._encoder if carried else None
        known = None if self.beginnings is None else self.beginnings.tolist()
        write_index(Path(folder), self.table, self.embeddings, name, encoder, self.training, self_contained, known)
        if card:
            write_readme(Path(folder), self.table, name)
        sweep_index(Path(folder))
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


def _table(templates: Any) -> Any:
    if hasattr(templates, "_indices"):
        # An indices mapping (after select or shuffle) is not part of the table behind a Dataset.
        templates = templates.flatten_indices().data.table if templates._indices else templates.data.table
    missing = [name for name in COLUMNS if name not in templates.column_names]
    if missing:
        raise UserError(f"templates: expected columns {', '.join(COLUMNS)}; found no {missing[0]!r}")
    if templates.num_rows == 0:
        raise UserError("templates: expected at least one, found none")
    return templates.select(list(COLUMNS))


def check_encoder(encoder: str) -> str:
    """The encoder's name, unless it makes no vectors."""
    if encoder == "none":
        raise UserError("encoder 'none' makes no vectors and templates are found by vectors: use 'offline' or a Hub id")
    return encoder
