"""vLLM in this process (`vllm.LLM`): concurrent chats are handed over together, and vLLM batches them itself."""

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from ...errors import UserError, require
from ...logs.logprobs import mean_logprob, token_logprobs
from ..pool import LLM
from . import Reply
from ._gather import SETTINGS, GatheringBackend
from ._options import Settings, known_options

LOCAL = True
# Options that go to `vllm.LLM`; the others are ours.
ENGINE_OPTIONS = (
    "dtype", "max_model_len", "max_num_seqs", "enforce_eager", "gpu_memory_utilization", "tensor_parallel_size",
    "pipeline_parallel_size", "quantization", "kv_cache_dtype", "enable_prefix_caching", "swap_space",
)  # fmt: skip
LOAD_OPTIONS = (*ENGINE_OPTIONS, "concurrency", "timeout")


class Backend(GatheringBackend):
    """A model from a folder or the Hub in vLLM's offline engine.

    Options in the pool: those of `Settings` and `ENGINE_OPTIONS`, and ``concurrency`` (chats that wait at once; 256).
    On a CPU the memory of the key-value cache is set by vLLM's own variable ``VLLM_CPU_KVCACHE_SPACE`` (GiB).
    """

    def __init__(self, llm: LLM):
        super().__init__()
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
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="vllm")

    async def close(self) -> None:
        """Stop the engine's process and free its memory."""
        await super().close()
        engine, self.engine = self.engine, None
        if engine is not None:
            await asyncio.get_running_loop().run_in_executor(self.thread, engine.llm_engine.engine_core.shutdown)
            self.thread.shutdown(wait=False)

    def generate(self, rows: list[list[int]], settings: list[Settings], progress: bool = False) -> list[Reply]:
        """Hand all prompts to vLLM, which batches them itself."""
        began = time.perf_counter()
        prompts = [{"prompt_token_ids": ids} for ids in rows]
        outputs = self.engine.generate(
            prompts, [self._sampling(s) for s in settings], use_tqdm=progress and sys.stderr.isatty()
        )
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
                mean_logprob=_mean(output.outputs[0]) if asked.logprobs else None,
            )
            for ids, output, asked in zip(rows, outputs, settings, strict=True)
        ]

    def _sampling(self, settings: Settings):
        return self._vllm.SamplingParams(
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            seed=settings.seed if settings.temperature > 0 else None,
            stop=list(settings.stop) or None,
            logprobs=0 if settings.logprobs else None,  # 0: of the token itself alone
        )


def _mean(answer) -> float | None:
    """Mean log-probability of the tokens of a vLLM answer."""
    total, tokens = answer.cumulative_logprob, len(answer.token_ids)
    return mean_logprob(token_logprobs([total / tokens])) if total is not None and tokens else None
