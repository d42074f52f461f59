"""What the card does for us, in one command under eight minutes, beside a matrix product's FLOP/s of the same run.

    python benchmarks/gpu.py --json gpu.json             # a GPU: the shape of Llama-3.1-8B
    python benchmarks/gpu.py --tiny --json gpu.json      # a CPU: tries everything out on tiny shapes

Every stage writes its row as soon as it is done, so a run that is cut off leaves what it has measured. A stage that
fails says why in its row, and the others go on.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import torch
from transformers import AutoTokenizer, LlamaModel
from transformers import logging as transformers_logging

sys.path.insert(0, str(Path(__file__).parent))
import retrieval
import sft_throughput

from fusion_hf.encoders.encoder import TextEncoder, load_encoder
from fusion_hf.llms.backends import open_backend
from fusion_hf.llms.pool import LLM
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.logs.sample import reader_path, sample_path
from fusion_hf.routers import fit_router

KINDS = ("fusion", "linear", "mlp", "knn", "irt", "pairwise", "graph", "dc")


def name_of(device: str) -> str:
    """The card's name."""
    return torch.cuda.get_device_name() if device == "cuda" else "cpu"


def seconds_of(work: Callable[[], object], repeats: int = 3) -> float:
    """Median wall time after a warm-up, the card's work included."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def sft(args) -> dict:
    """The SFT script with LoRA, packed, in bf16: its share of the matrix product."""
    shape, length = ("tiny", 128) if args.tiny else (args.shape, 2048)
    best: dict = {}
    for batch in (2,) if args.tiny else (2, 4):
        settings = SimpleNamespace(
            shape=shape, method="lora", batch=batch, length=length, steps=3 if args.tiny else 6, checkpointing=False,
            compile=False, liger=False, optim="adamw_torch", json=None,
        )  # fmt: skip
        try:
            found = sft_throughput.measure(settings)
        except torch.cuda.OutOfMemoryError:
            break
        if found["share_of_peak"] > best.get("share_of_peak", 0):
            best = found
        free()
    return best


def routers(args) -> dict:
    """Training and scoring of router kinds: seconds, and queries a second of a trained one."""
    table = read_log(sample_path(), "train")
    if args.tiny:
        table = table.filter(pc.is_in(table["task"], pc.unique(table["task"]).slice(0, 2)))
    data = RoutingData.from_table(table)
    encoder = load_encoder("offline")
    encoder.model.to(args.device)
    vectors = encoder.encode(data.queries)
    texts, many = data.queries[:1000], vectors[:1000]
    result = {}
    for kind in KINDS[:2] if args.tiny else KINDS:
        start = time.perf_counter()
        try:
            router = fit_router(kind, data, encoder=encoder, embeddings=vectors, progress=False).to(args.device)
            trained = time.perf_counter() - start
            scored = seconds_of(lambda r=router: r.predict(texts, embeddings=many))
        except Exception as error:
            result[kind] = {"error": f"{type(error).__name__}: {error}"[:200]}
            continue
        result[kind] = {"queries": len(data), "train_seconds": trained, "queries_per_second": len(texts) / scored}
    return result


def encoders(args) -> dict:
    """Texts a second of the offline text encoder, and of the mean hidden states of an LLM of the shape."""
    texts = (
        read_log(sample_path(), "train", columns=["query"])["query"].unique().to_pylist()[: 64 if args.tiny else 2048]
    )
    encoder = load_encoder("offline")
    encoder.model.to(args.device)
    result = {"offline": {"queries_per_second": len(texts) / seconds_of(lambda: encoder.encode(texts))}}
    model = random_llm(args, LlamaModel)
    states = TextEncoder(model, AutoTokenizer.from_pretrained(reader_path()))
    some = texts[: 16 if args.tiny else 512]
    seconds = seconds_of(lambda: states.encode(some), 1)
    return result | {"hidden states": {"shape": shape_of(args), "queries_per_second": len(some) / seconds}}


def generation(args) -> dict:
    """New tokens a second of the backend `transformers`, all answers equally long."""
    new, rows = (8, 4) if args.tiny else (128, 128)
    with tempfile.TemporaryDirectory() as folder:
        model = random_llm(args)
        model.generation_config.eos_token_id = None
        AutoTokenizer.from_pretrained(reader_path()).save_pretrained(folder)
        model.save_pretrained(folder)
        del model
        free()
        options = {"max_tokens": new, "device": args.device, "batch_size": rows}
        backend = open_backend(LLM("m", "small", 0, 0, backend="transformers", model=folder, options=options))
        backend.ends = []  # random weights end an answer by chance
        chats = [[{"role": "user", "content": f"How many apples are {i} and {i}?"}] for i in range(rows)]
        seconds = seconds_of(lambda: backend.generate_batch(chats), 1)
        written = sum(reply.output_tokens for reply in backend.generate_batch(chats))
    return {
        "shape": shape_of(args),
        "answers": rows,
        "tokens_per_second": written / seconds,
        "dtype": str(backend.model.dtype),
    }


def templates(args) -> dict:
    """Searches a second over a million templates; the index is numpy's and runs on the CPU beside the card."""
    size = 2_000 if args.tiny else 1_000_000
    queries, vectors = (retrieval.unit(np.random.default_rng(s), n) for s, n in ((1, 256), (0, size)))
    names = [str(i) for i in range(size)]
    index = retrieval.index_of(vectors, names, ["-"] * size, names)
    seconds = seconds_of(lambda: index.search(embeddings=queries, k=3, min_similarity=-1), 1)
    return {"templates": size, "queries_per_second": len(queries) / seconds}


def shape_of(args) -> str:
    """The shape of the random LLM."""
    return "tiny" if args.tiny else args.shape


def random_llm(args, kind=None):
    """An LLM of the shape with random weights on the device."""
    dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
    model = sft_throughput.make_model(shape_of(args), 2048, args.device, dtype)
    if kind is not None:
        model = model.model
    return model.eval()


def free() -> None:
    """Give memory back between stages."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


STAGES = {"sft": sft, "generation": generation, "encoders": encoders, "routers": routers, "templates": templates}


def make_parser() -> argparse.ArgumentParser:
    """Arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="llama-3.1-8b", choices=sft_throughput.SHAPES)
    parser.add_argument("--stages", default=",".join(STAGES), help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try it out on a CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="begin no stage after so long (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="rows, written after every stage")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure stage by stage."""
    args = make_parser().parse_args(argv)
    transformers_logging.set_verbosity_error()
    began = time.perf_counter()
    dtype = torch.bfloat16 if args.device == "cuda" else torch.float32
    result: dict = {"device": name_of(args.device), "torch": torch.__version__}
    result["matrix_peak_flops"] = sft_throughput.matrix_peak(args.device, dtype)
    for name in args.stages.split(","):
        if time.perf_counter() - began > 60 * args.minutes:
            result[name] = {"error": "no time was left"}
        else:
            start = time.perf_counter()
            try:
                result[name] = STAGES[name](args)
            except Exception as error:
                result[name] = {"error": f"{type(error).__name__}: {error}"[:300]}
            result[name]["stage_seconds"] = time.perf_counter() - start
        free()
        print(json.dumps({name: result[name]}), flush=True)
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(any("error" in found for found in result.values() if isinstance(found, dict)))


if __name__ == "__main__":
    sys.exit(main())
