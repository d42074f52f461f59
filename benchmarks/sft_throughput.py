"""Speed of the SFT script for a model of a given shape with random weights: what share of the card does it use?

    python benchmarks/sft_throughput.py --shape llama-3.1-8b --batch 2 --length 2048     # a GPU: LoRA, packed, bf16
    python benchmarks/sft_throughput.py --shape tiny --batch 2 --length 128              # a CPU: tries the script out

Tokens a second are those of the steps after the warm-up, by the Trainer's own steps. The share of peak is the work that
the mathematics needs (recomputed activations do not count) over a matrix product measured in the same run.
"""

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from fusion_hf.distill import sft
from fusion_hf.logs.sample import reader_path

# hidden, intermediate, layers, heads, key-value heads, vocabulary
SHAPES = {
    "tiny": (64, 128, 2, 4, 2, 4096),
    "qwen3-0.6b": (1024, 3072, 28, 16, 8, 151_936),
    "llama-3.1-8b": (4096, 14_336, 32, 32, 8, 128_256),
}
WARM_UP = 3


class Clock(TrainerCallback):
    """When each step ended, in seconds."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def make_model(shape: str, length: int, device: str, dtype: torch.dtype):
    """A Llama of that shape with random weights, built where it will train."""
    hidden, inner, layers, heads, kv, vocabulary = SHAPES[shape]
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv, vocab_size=vocabulary, max_position_embeddings=max(length, 2048),
    )  # fmt: skip
    if device == "cuda":
        from transformers.utils import is_flash_attn_2_available

        config._attn_implementation = "flash_attention_2" if is_flash_attn_2_available() else "sdpa"
    with torch.device(device):
        return LlamaForCausalLM(config).to(dtype)


def make_rows(path: Path, tokens: int, length: int, seed: int = 0) -> None:
    """Pairs of random words, of many lengths, together at least `tokens` tokens of the reader's tokenizer."""
    rng = random.Random(seed)
    words = ["apple", "river", "seven", "what", "takes", "gold", "home", "under"]
    rows, made = [], 0
    while made < tokens:
        n = rng.randint(max(2, length // 64), length // 6)
        texts = [" ".join(rng.choices(words, k=n)) for _ in range(2)]
        rows.append({role: [{"role": who, "content": text}] for (role, who), text in
                     zip((("prompt", "user"), ("completion", "assistant")), texts, strict=True)})  # fmt: skip
        made += 2 * n  # a word is a token or more
    Dataset.from_list(rows).to_parquet(str(path))


def matrix_peak(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of the best of five square matrix products, the size that suits the device."""
    n = 8192 if device == "cuda" else 1024
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        for _ in range(10 if device == "cuda" else 1):
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() - start) / (10 if device == "cuda" else 1))
    return 2 * n**3 / min(seconds[3:])


def flops_per_token(shape: str, length: int, lora: bool) -> float:
    """Multiply-adds that training needs, times two: 2 a weight forwards, 2 backwards, and 2 for its own gradient.

    Frozen weights (LoRA) have no gradient of their own. Embeddings are looked up and cost nothing. Attention reads half
    of `length` on average (Kaplan et al. 2020, arXiv 2001.08361; packed documents read less).
    """
    hidden, inner, layers, heads, kv, vocabulary = SHAPES[shape]
    layer = 2 * hidden * hidden + 2 * hidden * hidden * kv // heads + 3 * hidden * inner
    weights = layers * layer + hidden * vocabulary
    attention = 2 * 2 * layers * hidden * length / 2
    return weights * (4 if lora else 6) + attention * 3


def measure(args) -> dict:
    """Train a few steps with the script's `main`, and the figures."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    peak = matrix_peak(device, dtype)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.parquet")
        make_rows(rows, (args.steps + WARM_UP + 1) * args.batch * args.length, args.length)
        flags = {
            "dataset_name": rows, "model_name_or_path": reader_path(), "output_dir": Path(folder, "out"),
            "max_steps": args.steps + WARM_UP, "per_device_train_batch_size": args.batch, "packing": True,
            "max_length": args.length, "learning_rate": 1e-5, "bf16": device == "cuda", "use_cpu": device == "cpu",
            "gradient_checkpointing": args.checkpointing, "use_peft": args.method == "lora", "lora_r": 16,
            "save_strategy": "no", "logging_steps": 1, "report_to": "none", "disable_tqdm": True,
            "optim": args.optim, "torch_compile": args.compile, "use_liger_kernel": args.liger,
        }  # fmt: skip
        parsed = sft.parse([part for name, value in flags.items() for part in (f"--{name}", str(value))])
        model = make_model(args.shape, args.length, device, dtype)
        report = sft.main(*parsed, model=model, callbacks=[clock])
    seconds = statistics.median(b - a for a, b in zip(clock.ends[WARM_UP:], clock.ends[WARM_UP + 1 :], strict=False))
    tokens = report["tokens"] / report["steps"]
    needed = flops_per_token(args.shape, args.length, args.method == "lora")
    on_gpu = device == "cuda"
    memory = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu", "dtype": str(dtype).removeprefix("torch."),
        "shape": args.shape, "method": args.method, "parameters": report["parameters"], "batch": args.batch,
        "length": args.length, "attention": report["attention"], "tokens_per_step": tokens, "step_seconds": seconds,
        "tokens_per_second": tokens / seconds, "flops_per_token": needed, "matrix_peak_flops": peak,
        "share_of_peak": tokens / seconds * needed / peak, "peak_memory_gib": memory / 2**30,
    }  # fmt: skip


def make_parser() -> argparse.ArgumentParser:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="tiny", choices=SHAPES)
    parser.add_argument("--method", default="lora", choices=("lora", "full"))
    parser.add_argument("--batch", type=int, default=2, help="packed sequences a step (default: %(default)s)")
    parser.add_argument("--length", type=int, default=2048, help="tokens of a packed sequence (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="measured steps (default: %(default)s)")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations to save memory")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--liger", action="store_true", help="Liger kernels (pip install liger-kernel)")
    parser.add_argument("--optim", default="adamw_torch", help="the Trainer's optimizer (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    args = make_parser().parse_args(argv)
    result = measure(args)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
