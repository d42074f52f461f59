"""A local model through `transformers`: concurrent chats are gathered into batches, on a CPU or a GPU."""

import copy
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from tqdm import tqdm
from transformers import StoppingCriteria, StoppingCriteriaList, StopStringCriteria

from ...logs.logprobs import mean_logprob, token_logprobs
from ..pool import LLM
from . import Reply
from ._decode import decode
from ._gather import SETTINGS, GatheringBackend, Job
from ._load import load_model, token_budget
from ._options import Settings, known_options

LOCAL = True
LOAD_OPTIONS = (
    "adapter",
    "gguf_file",
    "chat_template",
    "device",
    "dtype",
    "batch_size",
    "token_budget",
    "concurrency",
    "timeout",
)


@dataclass
class _Device:
    """One thread and one lock a device: models that share it take turns, batch by batch."""

    thread: ThreadPoolExecutor
    lock: threading.Lock


_DEVICES: dict[str, _Device] = {}


class _Closed(StoppingCriteria):
    """Ends every answer at its next token once the backend is closed: an interrupted run must not wait for a batch."""

    def __init__(self, closing: threading.Event):
        self.closing = closing

    def __call__(self, input_ids: torch.Tensor, scores: Any, **options: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self.closing.is_set(), device=input_ids.device)


class Backend(GatheringBackend):
    """A causal language model from a folder, the Hub or a GGUF file.

    Options in the pool: those of `Settings`, and

    - ``adapter`` (a peft folder), ``gguf_file`` (its name in the folder or repository; a `model` that ends in .gguf
      needs none), ``device``, ``dtype``.
    - ``chat_template`` (Jinja) for a base model that has none. Without any, the contents of a chat are sent as plain
      text, joined by line breaks, and ``stop`` says what ends an answer.
    - ``batch_size`` (128) and ``token_budget`` (most tokens in a batch, prompts and answers, padding included; by
      default what fits 1 GiB of key-value cache on a CPU or 40 % of the free memory of a GPU).
    """

    def __init__(self, llm: LLM):
        super().__init__()
        options = dict(llm.options)
        known_options(options, (*LOAD_OPTIONS, *SETTINGS), llm.name)
        load = {k: options.pop(k) for k in LOAD_OPTIONS if k in options}
        self.settings = Settings(**options)
        self.closing = threading.Event()
        self.name = llm.name
        self.device = str(load.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.endpoint = f"local:{self.device}"
        self.model, self.tokenizer = load_model(
            llm.model_id, self.device, load.get("dtype", "auto"), load.get("adapter"), load.get("gguf_file")
        )
        if load.get("chat_template"):
            self.tokenizer.chat_template = load["chat_template"]
        self.batch_size = int(load.get("batch_size", 128))
        self.token_budget = int(load.get("token_budget") or token_budget(self.model))
        # Enough waiting chats that the next batch is full, and of one length, when the last one ends.
        self.concurrency = 4 * self.batch_size
        config = self.model.config.get_text_config()
        self.context = getattr(config, "max_position_embeddings", None)
        own = self.model.generation_config
        if "stop" not in options and own.stop_strings:
            self.settings = replace(self.settings, stop=own.stop_strings)
        ends = own.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        self.ends = sorted({e for e in (*ends, self.tokenizer.eos_token_id) if e is not None})
        pads = (self.tokenizer.pad_token_id, *self.ends, 0)
        self.pad = next(p for p in pads if p is not None)
        self._shared = _DEVICES.setdefault(
            self.device, _Device(ThreadPoolExecutor(1, thread_name_prefix="generate"), threading.Lock())
        )
        self.thread = self._shared.thread

    async def close(self) -> None:
        """Stop batching and generating, and free the model."""
        self.closing.set()
        await super().close()
        self.model = None

    def take(self) -> list[Job]:
        """The next batch: the oldest job and those of like length, all with the same settings."""
        waiting = [job for job in self._pending if not job.future.done()]
        self._pending = waiting
        if not waiting:
            return []
        oldest = waiting[0]
        alike = sorted((j for j in waiting if j.settings == oldest.settings), key=lambda j: len(j.ids))
        start = max(0, min(alike.index(oldest) - self.batch_size // 2, len(alike) - self.batch_size))
        jobs = alike[start : start + self.batch_size]
        taken = set(map(id, jobs))
        self._pending = [job for job in waiting if id(job) not in taken]
        return jobs

    def generate(self, rows: list[list[int]], settings: list[Settings], progress: bool = False) -> list[Reply]:
        """Answer prompts that have the same settings, in batches of like length."""
        replies: list[Reply | None] = [None] * len(rows)
        bar = tqdm(total=len(rows), desc=self.name, unit="answer", disable=None if progress else True)
        with self._shared.lock, torch.inference_mode(), bar:
            for batch, max_tokens in self._batches([len(r) for r in rows], settings[0].max_tokens):
                if self.closing.is_set():  # nobody waits for the rest
                    raise RuntimeError(f"{self.name} was closed")
                answers = self._generate([rows[i] for i in batch], replace(settings[0], max_tokens=max_tokens))
                for i, reply in zip(batch, answers, strict=True):
                    replies[i] = reply
                bar.update(len(batch))
        return replies

    def _batches(self, lengths: list[int], max_tokens: int) -> Iterator[tuple[list[int], int]]:
        """(indices, most new tokens) of batches of like length that keep to the batch size and the token budget.

        Longest first: a batch that does not fit the memory fails at once rather than late.
        """
        room = [max_tokens if self.context is None else min(max_tokens, self.context - n) for n in lengths]
        order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
        batch: list[int] = []
        for i in order:
            width = (lengths[batch[0]] if batch else lengths[i]) + room[i]
            full = len(batch) == self.batch_size or (len(batch) + 1) * width > self.token_budget
            if batch and (full or room[i] != room[batch[0]]):
                yield batch, room[batch[0]]
                batch = []
            batch.append(i)
        if batch:
            yield batch, room[batch[0]]

    def _generate(self, rows: list[list[int]], settings: Settings) -> list[Reply]:
        """One batch through the model."""
        began = time.perf_counter()
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, width - len(row) :] = torch.tensor(row, dtype=torch.long)
            mask[i, width - len(row) :] = 1
        config = self._generation_config(settings)
        # As a criterion, because `generate` drops the tokenizer that it wants for stop texts when it is given a loop.
        criteria = [StopStringCriteria(self.tokenizer, list(settings.stop))] if settings.stop else []
        criteria.append(_Closed(self.closing))
        logprobs = [[] for _ in rows] if settings.logprobs else None
        forked = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=forked, enabled=config.do_sample):
            if config.do_sample:
                torch.manual_seed(settings.seed ^ zlib.crc32(ids.numpy().tobytes()))
            output = self.model.generate(
                ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                generation_config=config,
                custom_generate=partial(decode, logprobs=logprobs),
                stopping_criteria=StoppingCriteriaList(criteria),
            )
        answers = [self._trim(row) for row in output.tolist()]
        texts = self.tokenizer.batch_decode([ids for ids, _ in answers], skip_special_tokens=True)
        seconds = time.perf_counter() - began
        replies = []
        for i, (row, (new, ended), text) in enumerate(zip(rows, answers, texts, strict=True)):
            cut = min((text.find(s) for s in settings.stop if s in text), default=None)
            reason = "stop" if ended or cut is not None else "length"
            mean = mean_logprob(token_logprobs(logprobs[i][: len(new)])) if logprobs else None
            replies.append(Reply(text[:cut], reason, len(row), len(new), None, seconds, "server", mean_logprob=mean))
        return replies

    def _trim(self, new: list[int]) -> tuple[list[int], bool]:
        """The tokens up to and with the end token, and whether there was one."""
        end = next((i for i, token in enumerate(new) if token in self.ends), None)
        return (new, False) if end is None else (new[: end + 1], True)

    def _generation_config(self, settings: Settings):
        config = copy.deepcopy(self.model.generation_config)
        config.do_sample = settings.temperature > 0
        config.temperature = settings.temperature if config.do_sample else None
        config.top_p = settings.top_p if config.do_sample else None
        config.top_k = settings.top_k if config.do_sample else None
        config.max_new_tokens, config.max_length = settings.max_tokens, None
        config.eos_token_id, config.pad_token_id = self.ends or None, self.pad
        config.stop_strings = None
        return config
