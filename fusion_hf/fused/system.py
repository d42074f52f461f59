"""A fused system: for every task the configuration that won on validation, as one thing to load, call and push."""

import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..llms.collect import collect_async
from ..llms.pool import LLM, Pool, load_pool
from ..logs.schema import split_candidate
from ..logs.shards import latest_rows
from ..outputs import atomic_folder
from ..pushable import Pushable
from ..routers.chats import Chat
from ..thoughts.ask import AskedChat
from .answer import FusedAnswer, answer_of
from .asking import Thoughts, chats, in_mode
from .choice import FusedDecision
from .chooser import Chooser
from .config import POOL_FILE, inside, snapshot
from .keys import allowed_keys, key_and_host, refusal
from .loop import OpenPool
from .ranking import may_pass_on


class FusedSystem(Chooser, Pushable):
    """Routes every query to the configuration that won on its task, and answers it through a pool of LLMs.

    Load one with `from_pretrained`; ``fusion-hf autofuse`` makes one.

    Args:
        folder: What `fusion_hf.fused.write_fused` wrote.
        pool: How its LLMs are reached; None takes the folder's own ``pool.yaml``.
        keys: API keys of the environment that the folder's own pool may have sent, each as ``VARIABLE=HOST``; a `pool`
            that is given may have all sent.
    """

    def __init__(self, folder: str | PathLike[str], pool: Pool | None = None, keys: Collection[str] | None = None):
        super().__init__(folder)
        self.pool = load_pool(self.folder / POOL_FILE) if pool is None else pool
        self._own_pool = pool is None
        if keys and not self._own_pool:
            raise UserError("keys: expected none where a pool is given, which may have all of its keys sent")
        self.keys = allowed_keys(self.pool, keys or ())

    @classmethod
    def from_pretrained(
        cls,
        path: str | PathLike[str],
        pool: Pool | str | PathLike[str] | None = None,
        *,
        keys: Collection[str] | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> "FusedSystem":
        """Load a fused system. Nothing in it is run as code.

        Args:
            path: Folder or Hub id.
            pool: Your own pool, or its file: another way to reach the LLMs that the system names.
            keys: API keys of your environment that the system's own pool file may have sent, each as ``VARIABLE=HOST``.
                Somebody else may have written those, also in a folder: it may come from a download.
            revision, token: As in ``huggingface_hub.snapshot_download``.

        Raises:
            UserError: Nothing is there, it is no fused system, or its pool uses none of `keys`.
        """
        folder = Path(path) if Path(path).is_dir() else snapshot(str(path), revision, token)
        pool = load_pool(pool) if isinstance(pool, (str, PathLike)) else pool
        return cls(folder, pool, keys)

    def __repr__(self) -> str:
        return f"FusedSystem({str(self.folder)!r}, {len(self.tasks)} tasks, {len(self.candidates)} candidates)"

    @cached_property
    def _thoughts(self) -> dict[str, Thoughts]:
        return {
            llm: Thoughts(str(inside(self.folder, t["templates"], "templates")), t["k"], t["asked"], t.get("max_words"))
            for llm, t in self.config["thoughts"].items()
        }

    def messages(self, candidate: str, chat: Chat) -> list[dict[str, Any]]:
        """The chat as it is sent to a candidate."""
        llm, mode = split_candidate(candidate)
        return in_mode(chat, mode, self._thoughts.get(llm))

    def __call__(
        self,
        queries: Sequence[str | Chat],
        tasks: Sequence[str | None] | str | None = None,
        *,
        scenario: str | None = None,
        max_cost: float | None = None,
        candidates: Collection[str] | None = None,
        folder: str | PathLike[str] | None = None,
        fallback: bool = True,
        **running: Any,
    ) -> list[FusedAnswer]:
        """Answer queries: `plan`, then ask all LLMs that were chosen at the same time.

        LLMs that run in this process are loaded once and stay until `close`.

        Args:
            queries, tasks, scenario, max_cost, candidates: See `plan`.
            folder: Where the answers are kept, so that nothing is asked twice; None keeps nothing.
            fallback: Where an LLM cannot be reached, fails, or takes no prompt of that length, ask the next best.
            **running: Options of the collector (``max_usd``, ``concurrency``, ``retries``, ``progress``, …).

        Returns:
            An answer a query, in order. One that failed for good has its ``error`` set; the others are not lost.
        """
        options = self._options(queries, tasks, scenario, max_cost, candidates)
        options = [[first, *filter(self._stands_in, others)] for first, *others in options]
        place = [0] * len(options)
        answers: dict[int, FusedAnswer] = {}
        with tempfile.TemporaryDirectory() as temporary:
            todo = list(range(len(options)))
            while todo:
                chosen = [options[i][place[i]] for i in todo]
                self._ask([queries[i] for i in todo], chosen, folder or temporary, running, todo, answers)
                failed = [i for i in todo if fallback and may_pass_on(answers[i].error)]
                todo = [i for i in failed if place[i] + 1 < len(options[i])]
                for i in todo:
                    place[i] += 1
        tried = [tuple(d.candidate for d in options[i][: place[i]]) for i in range(len(options))]
        return [replace(answers[i], tried=before) for i, before in enumerate(tried)]

    def _ask(
        self,
        queries: Sequence[str | Chat],
        decisions: list[FusedDecision],
        out: str | PathLike[str],
        running: dict[str, Any],
        numbers: list[int],
        answers: dict[int, FusedAnswer],
    ) -> None:
        """Ask the LLM of each decision, and put the answer under the query's number."""
        pool = self._needed({split_candidate(d.candidate)[0] for d in decisions})
        asked = self._asked(queries, decisions)
        unique = list({r.key: r for r in (chat.request(llm) for chat, llm in asked)}.values())
        options = {"progress": False, **running, "backends": self._open.backends}
        summary = self._open.run(collect_async(pool, unique, out, **options))
        rows = {(row["query_id"], row["llm"]): row for row in latest_rows(out)}
        lost = "budget: the rest would cost more than max_usd" if summary.dropped["budget"] else "not asked"
        for number, chosen, (chat, llm) in zip(numbers, decisions, asked, strict=True):
            answers[number] = answer_of(chosen, rows.get((chat.key, llm)), lost)

    def may_send_key(self, llm: LLM) -> bool:
        """Whether an LLM of the pool may be asked: without a key, or with one that it may be sent."""
        key = key_and_host(llm)
        return key is None or not self._own_pool or key in self.keys

    def _stands_in(self, option: FusedDecision) -> bool:
        """Whether an LLM may be asked in place of another one: it is reached, without a key that it may not get."""
        llm = self.pool.get(split_candidate(option.candidate)[0])
        return llm is not None and self.may_send_key(llm)

    @cached_property
    def _open(self) -> OpenPool:
        return OpenPool(self.pool)

    def close(self) -> None:
        """Close the LLMs that were asked; the next call opens them anew."""
        opened = self.__dict__.pop("_open", None)
        if opened is not None:
            opened.close()

    def _asked(self, queries: Sequence[str | Chat], decisions: list[FusedDecision]) -> list[tuple[AskedChat, str]]:
        """(chat, LLM) of every query."""
        result: dict[int, tuple[AskedChat, str]] = {}
        for candidate in dict.fromkeys(d.candidate for d in decisions):
            llm, mode = split_candidate(candidate)
            rows = [i for i, d in enumerate(decisions) if d.candidate == candidate]
            sent = chats([queries[i] for i in rows], mode, self._thoughts.get(llm))
            for row, messages in zip(rows, sent, strict=True):
                result[row] = (AskedChat(decisions[row].task, "", messages), llm)
        return [result[i] for i in range(len(decisions))]

    def _needed(self, llms: set[str]) -> Pool:
        pool = self.pool.select(sorted(llms))
        for name, llm in pool.items():
            if not self.may_send_key(llm):
                raise UserError(refusal(self.pool, name))
        return pool

    def save_pretrained(self, save_directory: str | PathLike[str]) -> None:
        """Copy the whole system to a folder."""
        target = Path(save_directory)
        if target.resolve() != self.folder.resolve():
            ignored = shutil.ignore_patterns(".cache", ".git*")
            with atomic_folder(target, "fused", overwrite=True) as new:
                shutil.copytree(self.folder, new, dirs_exist_ok=True, ignore=ignored)
