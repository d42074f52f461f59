"""vLLM in this process (`vllm.LLM`): concurrent chats are handed over together, and vLLM batches them itself."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ...errors import UserError, require
from . import BackendError, Reply
from ._options import Settings, known_options

if TYPE_CHECKING:
    from ..pool import LLM

# Options that go to `vllm.LLM`; the others are ours.
ENGINE_OPTIONS = (
    "dtype", "max_model_len", "max_num_seqs", "enforce_eager", "gpu_memory_utilization", "tensor_parallel_size",
    "pipeline_parallel_size", "quantization", "kv_cache_dtype", "enable_prefix_caching", "swap_space",
)  # fmt: skip
LOAD_OPTIONS = (*ENGINE_OPTIONS, "concurrency", "timeout")
SETTINGS = tuple(f.name for f in fields(Settings))
GATHER_S = 0.005  # how long a first chat waits for others


@dataclass(frozen=True, eq=False)
class _Job:
    ids: list[int]
    settings: Settings
    future: asyncio.Future


class Backend:
    """A model from a folder or the Hub in vLLM's offline engine.

    Options in the pool: those of `Settings` and `ENGINE_OPTIONS`, and ``concurrency`` (chats that wait at once; 256).
    On a CPU the memory of the key-value cache is set by vLLM's own variable ``VLLM_CPU_KVCACHE_SPACE`` (GiB).
    A tokenizer without a chat template gets the contents of the messages as plain text.
    """

    def __init__(self, llm: "LLM"):
        known_options(llm.options, (*LOAD_OPTIONS, *SETTINGS), llm.name)
        self.settings = Settings(**{k: v for k, v in llm.options.items() if k in SETTINGS})
        engine = {k: v for k, v in llm.options.items() if k in ENGINE_OPTIONS}
        self._vllm = require("vllm", "vllm")
        self.name = llm.name
        self.endpoint = f"vllm:{llm.name}"
        self.concurrency = llm.options.get("concurrency", 256)
        try:
            self.engine = self._vllm.LLM(model=llm.model_id, disable_log_stats=True, **engine)
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"expected a model that vLLM can load at {llm.model_id!r}: {reason:.300}") from error
        self.tokenizer = self.engine.get_tokenizer()
        self.context = self.engine.llm_engine.model_config.max_model_len
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vllm")
        self._pending: list[_Job] = []
        self._pump: asyncio.Task | None = None

    async def chat(self, messages: list[dict[str, str]], *, timeout: float | None = None, **options: Any) -> Reply:
        """Answer one chat, together with those that wait at the same time. `timeout` is for servers and ignored."""
        settings = self._with(options)
        ids = self.encode([messages])[0]
        self._check_length(ids)
        job = _Job(ids, settings, asyncio.get_running_loop().create_future())
        self._pending.append(job)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        return await job.future

    async def close(self) -> None:
        """Stop the engine's process and free its memory."""
        if self._pump is not None:
            self._pump.cancel()
        engine, self.engine = self.engine, None
        if engine is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, engine.llm_engine.engine_core.shutdown)
            self._thread.shutdown(wait=False)

    def generate_batch(
        self, chats: Sequence[list[dict[str, str]]], progress: bool = False, **options: Any
    ) -> list[Reply]:
        """Answer many chats at once, in the order given. For callers without an event loop.

        Raises `BackendError` (kind ``context_length``) if a prompt does not fit the model.
        """
        settings = self._with(options)
        rows = self.encode(chats)
        for ids in rows:
            self._check_length(ids)
        return self._answer(rows, [settings] * len(rows), progress)

    def encode(self, chats: Sequence[list[dict[str, str]]]) -> list[list[int]]:
        """Token ids of the prompts, as the model sees them."""
        if self.tokenizer.chat_template:
            texts = [self.tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in chats]
            return self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return self.tokenizer(["\n".join(m["content"] for m in chat) for chat in chats])["input_ids"]

    def _with(self, options: dict[str, Any]) -> Settings:
        known_options(options, SETTINGS, self.name)
        return replace(self.settings, **options) if options else self.settings

    def _check_length(self, ids: list[int]) -> None:
        if len(ids) >= self.context:
            raise BackendError("context_length", f"the prompt has {len(ids)} tokens, {self.name} reads {self.context}")

    async def _run(self) -> None:
        """Hand over what waits, until nothing does."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(GATHER_S)
            jobs = [job for job in self._pending if not job.future.done()]
            self._pending = []
            if not jobs:
                return
            rows, settings = [job.ids for job in jobs], [job.settings for job in jobs]
            try:
                replies = await loop.run_in_executor(self._thread, self._answer, rows, settings)
            except Exception as error:
                failure = f"{self.name}: generating {len(jobs)} answers failed: {type(error).__name__}: {error}"
                for job in jobs:
                    if not job.future.done():
                        job.future.set_exception(BackendError("server", failure))
                continue
            for job, reply in zip(jobs, replies, strict=True):
                if not job.future.done():
                    job.future.set_result(reply)

    def _answer(self, rows: list[list[int]], settings: list[Settings], progress: bool = False) -> list[Reply]:
        began = time.perf_counter()
        prompts = [{"prompt_token_ids": ids} for ids in rows]
        outputs = self.engine.generate(prompts, [self._sampling(s) for s in settings], use_tqdm=progress)
        seconds = time.perf_counter() - began
        return [
            Reply(
                text=output.outputs[0].text,
                finish_reason=output.outputs[0].finish_reason,
                input_tokens=len(ids),
                output_tokens=len(output.outputs[0].token_ids),
                reasoning_tokens=None,
                latency_s=seconds,
                usage_source="server",
            )
            for ids, output in zip(rows, outputs, strict=True)
        ]

    def _sampling(self, settings: Settings):
        return self._vllm.SamplingParams(
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=settings.seed if settings.temperature > 0 else None,
            stop=list(settings.stop) or None,
        )
