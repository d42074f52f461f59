"""Every step on the embedded sample: from a log to three levels and one fused system, offline, in minutes."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from .comparison import gather
from .comparison.autofuse import fuse
from .comparison.given import stated_logs
from .comparison.measure import measure
from .comparison.render import terminal, write_report
from .comparison.report import build_report, draw_report
from .distill.report import write_adapter_card
from .distill.student import student_llm
from .distill.verbs import sft_data
from .errors import UserError, require
from .fused import FusedSystem, Thoughts, collect_candidate
from .llms.pool import load_pool
from .logs.log import read_log
from .logs.sample import pool_path, reader_path, sample_path
from .outputs import check_folder, clear_folder, mark_folder
from .results import Result, jsonable
from .routers.card import write_router_card
from .tasks.graders import grade
from .terminal import say

ROUTER_ENCODER = "none"  # MiniLM finds nothing more in these queries, and takes longer for them than all the rest
READER = "tiny-small"
SHOWN_TASKS = ("math", "human_eval")  # of which a query is answered at the end
SHOWN = {"k": 2, "asked": "think"}  # templates before a query in thought mode
SFT_SETTINGS = [
    "--max_rows", "1500", "--max_length", "1024", "--num_train_epochs", "1", "--learning_rate", "3e-3",
    "--lr_scheduler_type", "cosine", "--per_device_train_batch_size", "32",
    "--train_sampling_strategy", "group_by_length", "--use_peft", "--lora_r", "16", "--lora_alpha", "32",
    "--lora_dropout", "0", "--gradient_checkpointing", "False", "--use_cpu", "--bf16", "False",
    "--save_strategy", "no", "--logging_steps", "10", "--report_to", "none", "--seed", "0",
]  # fmt: skip
MADE = ("bench", "reader", "router", "router_eval.json", "templates", "sft", "sft.log", "adapter", "logs", "combined",
        "fused", *(f"report.{name}" for name in ("html", "md", "json", "csv", "tex", "png")),
        *(f"report_{name}.png" for name in ("calls", "domains", "tasks", "wins")))  # fmt: skip
"""What the demo writes into its folder, and replaces when it runs again."""


@dataclass
class Demo(Result):
    """What the demo made.

    Attributes:
        out: The folder.
        made: What lies in it: name -> in a line.
        asked: Two test queries that the fused system answered with the one LLM that ships: who, what, and whether it
            was right.
        report: The comparison, as `fusion_hf.compare` gives it.
        choice: The fused system, as `fusion_hf.autofuse` gives it.
        seconds: It took so long.
    """

    out: str
    made: dict[str, str]
    asked: list[dict[str, Any]]
    report: dict[str, Any]
    choice: dict[str, Any]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The fields; ``report`` is the content of ``report.json``."""
        return jsonable(vars(self))

    def __str__(self) -> str:
        made = [f"  {name:<11} {line}" for name, line in self.made.items()]
        answers = [
            f"  {'right' if a['right'] else 'wrong'}: {a['candidate']} answered {a['text']!r:.40} to {a['query']!r:.40}"
            for a in self.asked
        ]
        better = ", ".join(self.choice["better"]) or "no task"
        fused = (
            f"The fused system is better than the best single LLM on: {better}. (Five of its six LLMs do not ship, so "
            "here it may ask the sixth only.)"
        )
        return "\n".join([
            f"In {self.out}/, in {self.seconds:.0f} s:", *made, "", terminal(build_report(self.report)), "",
            textwrap.fill(fused, 116), *answers, "",
            f"Look at   {Path(self.out, 'report.html')}",
            f"Go on     fusion-hf ask {Path(self.out, 'fused')} --plan \"What is 7 * 8?\"",
            f"          fusion-hf route {Path(self.out, 'router')} --explain \"What is 7 * 8?\"",
        ])  # fmt: skip


def demo(out: str | PathLike[str] = "demo", overwrite: bool = False) -> Demo:
    """Build a FusionBench, a router, templates, an adapter, their comparison and a fused system in `out`.

    Needs the extras ``train`` and ``plots``. The same call again starts afresh: what an earlier demo made
    there is replaced, and everything else stays.

    Args:
        out: The folder.
        overwrite: Also a folder that holds something else: what has the name of something in `MADE` is replaced.
    """
    out = check_folder(out, "demo", overwrite)
    for module, extra in (("trl", "train"), ("matplotlib", "plots")):
        require(module, extra)
    start = time.time()
    mark_folder(out, "demo", list(MADE))
    clear_folder(out)
    made = {}
    with step(1, "FusionBench"):
        bench, made["bench"] = make_bench(out / "bench")
        reader = Path(shutil.copytree(reader_path(), out / "reader"))
        made["reader"] = "the LLM of the log that ships"
    with step(2, "query level: a router"):
        made["router"] = make_router(bench, out / "router")
    with step(3, "thought level: templates"):
        made["templates"] = make_templates(bench, out / "templates", reader)
    with step(4, "model level: SFT on the best answers; meanwhile the reader answers with templates"):
        made["sft"], made["adapter"] = make_adapter(bench, out, reader, partial(answer_with_templates, bench, out))
    with step(5, "the reader answers with the adapter"):
        logs = answer_with_adapter(bench, out)
        made["logs"] = "their answers to the queries of partial_test and test"
    with step(6, "comparison"):
        report, gathered = make_report(bench, out, logs)
    with step(7, "the configuration of each task as one system"):
        choice, asked = make_fused(bench, out, logs, gathered)
        made["fused"] = f"what won on each of {len(choice['tasks'])} tasks, as one system"
    return Demo(str(out), made, asked, report, choice, time.time() - start)


@contextmanager
def step(number: int, title: str) -> Iterator[None]:
    """Say that a step begins, and how long it took."""
    say(f"[{number}/7] {title}")
    start = time.time()
    yield
    say(f"      {time.time() - start:.0f} s")


def make_bench(out: Path) -> tuple[Path, str]:
    """The embedded sample, copied as a FusionBench of the user's own."""
    out.mkdir(parents=True)
    for name in ("data", "llms", "tasks", "README.md", "performance.png"):
        copy = shutil.copytree if (sample_path() / name).is_dir() else shutil.copy2
        copy(sample_path() / name, out / name)
    mark_folder(out, "log", [p.relative_to(out).as_posix() for p in sorted(out.rglob("*")) if p.is_file()])
    log = read_log(out, "test", columns=["query_id", "task"])
    queries, tasks = len(set(log["query_id"].to_pylist())), len(set(log["task"].to_pylist()))
    return out, f"a log of six LLMs: {tasks} tasks, {queries} test queries"


def make_router(bench: Path, out: Path) -> str:
    """Train the default router on train, measure it on test, and write its card."""
    from .routers.measuring.verbs import eval_router
    from .routers.verbs import train_router

    train_router(bench, "fusion", encoder=ROUTER_ENCODER, out=out)
    evaluation = eval_router(out, bench).to_dict()
    (out.parent / "router_eval.json").write_text(json.dumps(evaluation, indent=1) + "\n", encoding="utf-8")
    write_router_card(out, str(out), evaluation)
    scenario = evaluation["scenarios"]["performance"]
    best = scenario["anchors"]["best-single"]["performance"]
    return f"chooses an LLM for each query: {scenario['performance']:.3f} on test (best single LLM {best:.3f})"


def make_templates(bench: Path, out: Path, reader: Path) -> str:
    """Templates without an LLM (extractive), because the sample's LLMs are too small to summarise.

    The reader is its own text encoder: with MiniLM it answers no better.
    """
    from transformers import pipeline

    from .thoughts import build_templates

    counts = build_templates(bench, out, model="extractive", encoder=str(reader))
    think = pipeline("thought-fusion", model=str(reader), templates=str(out), device="cpu")
    query = read_log(bench, "test", task="gsm8k", columns=["query"])["query"][0].as_py()
    [result] = think(query, k=2, return_prompt=True, do_sample=False, max_new_tokens=64)
    say("      pipeline('thought-fusion') asks the reader:")
    say(textwrap.indent(textwrap.shorten(result["prompt"], 300), "      | "))
    return f"{counts['kept']} plans from solved queries, put before queries like them"


def make_adapter(bench: Path, out: Path, reader: Path, meanwhile: Callable[[], object]) -> tuple[str, str]:
    """SFT data from the best answers, then the SFT script in a process of its own, as a user would run it.

    Args:
        bench, out, reader: The log, the demo's folder and the LLM to train.
        meanwhile: Called while it trains.
    """
    data = sft_data(bench, out / "sft", top_k=2, min_agreement=2)
    command = [
        sys.executable, "-m", "fusion_hf.distill.sft", "--dataset_name", str(out / "sft"),
        "--model_name_or_path", str(reader), "--output_dir", str(out / "adapter"), *SFT_SETTINGS,
    ]  # fmt: skip
    # A model of a million parameters has nothing to share among threads: where several OpenMP threads of one process
    # wait actively for each other on busy cores, a step takes ten times as long.
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    with (
        open(out / "sft.log", "w", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=one) as training,
    ):
        try:
            with one_thread_fewer():
                meanwhile()
        except BaseException:
            training.terminate()
            raise
    if training.returncode:
        last = "".join((out / "sft.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:])
        raise UserError(f"the training ended with code {training.returncode}: {last} (all of it: {out}/sft.log)")
    write_adapter_card(out / "adapter")
    report = json.loads((out / "adapter" / "train_report.json").read_text(encoding="utf-8"))
    loss = "" if report["final_loss"] is None else f", final loss {report['final_loss']:.3f}"
    return (
        f"{data.kept} pairs of query and best answer, of {data.read} log rows",
        f"the reader, trained on them: {report['steps']} steps{loss} (sft.log)",
    )


@contextmanager
def one_thread_fewer() -> Iterator[None]:
    """Leave a core to another process."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def answer_with_templates(bench: Path, out: Path) -> None:
    """Collect the reader's answers to partial_test and test, with templates before the query.

    The query itself is asked in think mode only, in which the reader is better, so that the demo ends in time.
    """
    reader = replace(load_pool(pool_path()).get_llm(READER), model=str(out / "reader"))
    shown = Thoughts(str(out / "templates"), **SHOWN)
    collect_candidate(bench, reader, "thought", out / "logs" / "thought", thoughts=shown)


def answer_with_adapter(bench: Path, out: Path) -> dict[str, dict[str, Path]]:
    """Collect the trained reader's answers to the same queries.

    Returns:
        The logs of both by level, as `fusion_hf.compare` takes them.
    """
    student = student_llm(out / "adapter", READER, load_pool(pool_path()))
    collect_candidate(bench, student, "think", out / "logs" / "model")
    return {
        "thoughts": {"thought level": out / "logs" / "thought"},
        "models": {"model level": out / "logs" / "model"},
    }


def make_report(bench: Path, out: Path, logs: dict) -> tuple[dict[str, Any], tuple]:
    """Every system on the same test queries: the content of report.json, and what `gather` gave."""
    systems, splits, notes = gathered = gather(bench, {"router": out / "router"}, **logs, combine="fusion", out=out)
    result = measure(systems, splits) | {"title": "Three levels on the embedded sample", "notes": notes}
    write_report(draw_report(result, out), out)
    return result, gathered


def make_fused(bench: Path, out: Path, logs: dict, gathered: tuple) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The configuration of each task as one system; it answers with what ships, the reader and its adapter."""
    choice = fuse(bench, gathered, out / "fused", pool_path(), stated_logs(**logs))
    fused = FusedSystem.from_pretrained(out / "fused")
    columns = ["query", "ground_truth", "metric"]
    rows = [read_log(bench, "test", task=task, columns=columns).slice(0, 1).to_pylist()[0] for task in SHOWN_TASKS]
    here = [c for c in fused.candidates if c.startswith(READER)]
    answers = fused([row["query"] for row in rows], candidates=here)
    asked = [
        {"query": row["query"], "candidate": a.decision.candidate, "text": a.text, "right":
            a.error is None and grade(row["metric"], a.text, row["ground_truth"], row["query"]).score == 1.0}
        for row, a in zip(rows, answers, strict=True)
    ]  # fmt: skip
    return choice, asked
