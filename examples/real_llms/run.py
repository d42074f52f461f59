"""All steps on real LLMs as one script. Each resumes, so it may run for hours in the background.

    python -m examples.real_llms.run --work fleet --source ../shared/data --limit 40
    python -m examples.real_llms.run --work fleet --source ../shared/data --tasks gsm8k --steps collect,report

Weights come from Python packages, llama.cpp's server from a source package (see `packages` and `server`), questions
from files on this machine (see `sources`). ``--steps report`` only reads what is there. Ctrl-C keeps every answer.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

import fusion_hf
from examples.real_llms import levels, report
from examples.real_llms.packages import LLMS, assemble
from examples.real_llms.server import build, serving
from examples.real_llms.sources import sample
from fusion_hf.fused.asking import Thoughts
from fusion_hf.llms.collect import collect_examples
from fusion_hf.llms.pool import Pool

STRONG, STUDENT = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
TASKS = ("arc_challenge", "commonsense_qa", "openbook_qa", "gsm8k", "mmlu", "mbpp", "math", "human_eval")
STEPS = ("assemble", "build", "collect", "prompts", "templates", "thoughts", "students", "compare", "fuse", "report")
GROUPS = {"choice": ("arc_challenge", "commonsense_qa", "openbook_qa", "mmlu"), "math": ("gsm8k", "math")}
THOUGHTS = {  # setting -> (templates, mode, how many of them, mode in which the query behind them is asked)
    "fewshot-2": ("worked", "fewshot", 2, "direct"),
    "extractive-1": ("extractive", "thought", 1, "direct"),
    "extractive-3": ("extractive", "thought", 3, "direct"),
    "llm-1": ("llm", "thought", 1, "direct"),
    "llm-3": ("llm", "thought", 3, "direct"),
    "extractive-1-think": ("extractive", "thought", 1, "think"),
    "llm-1-think": ("llm", "thought", 1, "think"),
}
STUDENTS = tuple(f"{group}-{kind}" for group in GROUPS for kind in ("answers", "golds", "both"))
RECIPE = Path(__file__).parent / "student.yaml"


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--work", required=True, type=Path, help="folder of everything that is made; outside the repository")
    add("--source", type=Path, help="folder of the questions")
    add("--steps", default=",".join(STEPS), help="default: %(default)s")
    add("--tasks", default=",".join(TASKS), help="in this order; default: %(default)s")
    add("--llms", default=",".join(LLMS), help="default: %(default)s")
    add("--modes", default="direct,think", help="of the step collect; default: %(default)s")
    add("--settings", default=",".join(THOUGHTS), help="of the step thoughts; default: %(default)s")
    add("--students", default=",".join(STUDENTS), help="of the step students; default: %(default)s")
    add("--limit", type=int, default=100, help="test queries a task; default: %(default)s")
    add("--train-limit", type=int, default=0, help="train queries a task, for templates and students; default: 0")
    add("--hours", type=float, default=24.0, help="begin nothing new after so long; default: %(default)s")
    add("--encoder", default="offline", help="of queries and templates; default: %(default)s")
    add("--slots", type=int, default=16, help="requests that a server answers at once; default: %(default)s")
    add("--threads", type=int, default=1, help="threads of a server; default: %(default)s")
    add("--out", type=Path, default=Path(__file__).parent / "results", help="figures and scores; default: %(default)s")
    return parser


class Run:
    """What the steps share.

    Args:
        args: Of `make_parser`.
    """

    def __init__(self, args: argparse.Namespace):
        self.args, self.work = args, args.work
        self.tasks, self.llms = args.tasks.split(","), args.llms.split(",")
        self.ends = time.monotonic() + 3600 * args.hours

    def assemble(self) -> None:
        """The weights."""
        for name in self.llms:
            print(f"{name}: {assemble(LLMS[name], self.work / 'gguf')}", flush=True)

    def build(self) -> None:
        """The server."""
        print(f"server: {build(self.work, 2)}", flush=True)

    def collect(self) -> None:
        """Every LLM in every mode, task by task."""
        for name in self.llms:
            with self.served(name) as pool:
                for split, limit in (("test", self.args.limit), ("train", self.args.train_limit)):
                    for task in self.tasks if limit else ():
                        self.ask(pool, task, split, limit, self.args.modes.split(","), self.answers(split, name))

    def prompts(self) -> None:
        """The published prompts, whose example answer can be copied, beside the plain ones."""
        for name in self.llms:
            with self.served(name) as pool:
                for task in {"gsm8k", "arc_challenge"}.intersection(self.tasks):
                    out = self.work / "log" / "paper" / name
                    self.ask(pool, task, "test", self.args.limit, ["direct"], out, version="paper")

    def templates(self) -> None:
        """From the right answers to train queries: as they are, their steps, and plans that the strong LLM writes."""
        bench, home, encoder = self.bench(), self.work / "templates", self.args.encoder
        for kind in ("worked", "extractive"):
            if not (home / kind).exists():
                made = fusion_hf.templates(bench, home / kind, model=kind, encoder=encoder)
                print(f"templates {kind}: {made}", flush=True)
        if not (home / "llm").exists():
            with self.served(STRONG) as pool:
                made = fusion_hf.templates(bench, home / "llm", model=STRONG, pool=pool, encoder=encoder)
                print(f"templates llm: {made}", flush=True)

    def thoughts(self) -> None:
        """The strong LLM with examples or templates before each test query."""
        with self.served(STRONG) as pool:
            for setting in self.args.settings.split(","):
                templates, mode, k, asked = THOUGHTS[setting]
                folder = self.work / "templates" / templates
                for task in self.tasks if folder.exists() else ():
                    prompts = Thoughts(str(folder), k, asked).prompts
                    shown = {mode: lambda queries, ids, p=prompts, m=mode: p(queries, ids, m)}
                    out = self.work / "log" / "thoughts" / setting
                    self.ask(pool, task, "test", self.args.limit, [mode], out, prompts=shown)

    def students(self) -> None:
        """LoRA students of the 0.5B: from the strong LLM's right answers, from reference answers, and from both."""
        bench = self.bench()
        for group, tasks in GROUPS.items():
            table = fusion_hf.Log(bench).table("train")
            table = table.filter(pc.is_in(table["task"], pa.array(tasks)))
            if not table.num_rows or time.monotonic() > self.ends:
                continue
            part = self.work / "students" / f"{group}-bench"
            fusion_hf.write_bench({"train": table, "test": fusion_hf.Log(bench).table("test")}, part, replace=True)
            data = {"answers": {"select": "perf", "top_k": 1, "llms": [STRONG]}, "golds": {"select": "baseline"}}
            for kind, how in data.items():
                if not (self.work / "students" / f"{group}-{kind}-data").exists():
                    fusion_hf.sft_data(part, self.work / "students" / f"{group}-{kind}-data", **how)
            for kind in (*data, "both"):
                if f"{group}-{kind}" not in self.args.students.split(","):
                    continue
                self.student(f"{group}-{kind}", [f"{group}-{k}-data" for k in data if kind in (k, "both")], tasks)

    def student(self, name: str, data: list[str], tasks: tuple[str, ...]) -> None:
        """Train one student and ask it the test queries of its group."""
        home = self.work / "students"
        adapter = home / name
        if not (adapter / "adapter_model.safetensors").exists():
            _rows(home, data).to_parquet(home / f"{name}.parquet")
            base = ["--model_name_or_path", str(self.work / "gguf" / f"{STUDENT}.gguf")]
            command = [sys.executable, "-m", "fusion_hf.distill.sft", "--dataset_name", str(home / f"{name}.parquet")]
            subprocess.run([*command, *base, "--output_dir", str(adapter), "--config", str(RECIPE)], check=True)
        llm = LLMS[STUDENT].llm(
            f"{STUDENT}+{name}", backend="transformers", model=str(self.work / "gguf" / f"{STUDENT}.gguf"),
            options={"adapter": str(adapter), "temperature": 0.0, "batch_size": 16},
        )  # fmt: skip
        for task in [t for t in tasks if t in self.tasks]:
            self.ask(Pool([llm]), task, "test", self.args.limit, ["direct"], self.work / "log" / "students" / name)

    def compare(self) -> None:
        """The levels on the same queries, as every user compares them."""
        print(levels.compare(self.work / "log", self.work, self.tasks), flush=True)

    def fuse(self) -> None:
        """The configuration of each task as one system, and its answers to some test queries from running servers."""
        with contextlib.ExitStack() as stack:
            llms = [llm for name in LLMS for llm in stack.enter_context(self.served(name)).values()]
            shown = {}
            for setting, (templates, _, k, asked) in THOUGHTS.items():
                strong = next(llm for llm in llms if llm.name == STRONG)
                llms.append(replace(strong, name=f"{STRONG}+{setting}"))
                shown[llms[-1].name] = Thoughts(str(self.work / "templates" / templates), k, asked)
            print(levels.fuse(self.work / "log", self.work, self.tasks, Pool(llms), shown), flush=True)

    def report(self) -> None:
        """Figures and scores by query id, without texts, into the repository."""
        report.write(self.work / "log", self.args.out)
        if (fused := self.work / "fused.md").exists():
            shutil.copyfile(fused, self.args.out / "fused.md")
        if (made := self.work / "comparison").exists():
            shutil.copyfile(made / "report.csv", self.args.out / "comparison.csv")
            lines = (made / "report.md").read_text(encoding="utf-8").splitlines(keepends=True)
            text = "".join(line for line in lines if not line.startswith("!["))  # pictures stay where they are
            (self.args.out / "comparison.md").write_text(text, encoding="utf-8")

    @contextlib.contextmanager
    def served(self, name: str) -> Iterator[Pool]:
        """The pool of one LLM whose server runs."""
        packed = LLMS[name]
        gguf, binary = self.work / "gguf" / f"{name}.gguf", self.work / "build" / "bin" / "llama-server"
        with serving(binary, gguf, self.args.slots, self.args.threads) as url:
            # Slow, not dead: on busy cores a word may take minutes.
            options = {"temperature": 0.0, "concurrency": self.args.slots, "stream": True}
            options |= {"first_token_timeout": 7200, "next_token_timeout": 3600}
            yield Pool([packed.llm(base_url=url, options=options)])

    def ask(self, pool, task, split, limit, modes, out, version="plain", prompts=None) -> None:
        """Ask a sample of a task what is not answered yet."""
        if time.monotonic() > self.ends:
            return
        if self.args.source is None:
            raise SystemExit("expected --source FOLDER with the questions, found none")
        examples = {task: sample(task, split, limit, self.args.source, version)}
        done = collect_examples(pool, examples, out, modes, prompts=prompts, progress=sys.stderr.isatty())
        figures = {
            "kept": done.kept,
            "asked": done.kept - done.resumed,
            "dropped": dict(done.dropped),
            "cut": dict(done.cut),
        }
        print(f"{next(iter(pool))} {split} {task} {'+'.join(modes)}: {figures} in {done.seconds:.0f} s", flush=True)
        if done.interrupted:
            raise SystemExit(130)

    def answers(self, split: str, name: str) -> Path:
        """Where the answers of an LLM to a split are."""
        return self.work / "log" / split / name

    def logs(self, kind: str) -> dict[str, Path]:
        """Folders of answers by name."""
        return {p.name: p for p in sorted((self.work / "log" / kind).glob("*")) if list(p.glob("shard-*"))}

    def bench(self) -> Path:
        """The answers of all LLMs as a FusionBench; written anew, because there may be more of them."""
        splits = {}
        for split in ("train", "test"):
            found = [fusion_hf.read_log(folder) for folder in self.logs(split).values()]
            if found:
                splits[split] = pa.concat_tables(found)
        if "train" not in splits:
            raise SystemExit("expected answers to train queries, found none: run the step collect with --train-limit")
        return fusion_hf.write_bench(splits, self.work / "bench", replace=True)


def _rows(home: Path, data: list[str]):
    """Prompts and completions of several SFT datasets."""
    from datasets import concatenate_datasets, load_dataset

    parts = [load_dataset(str(home / d), split="train").select_columns(["prompt", "completion", "task"]) for d in data]
    return concatenate_datasets(parts)


def main(args: argparse.Namespace) -> None:
    """Do the steps."""
    run = Run(args)
    for step in args.steps.split(","):
        if step not in STEPS:
            raise SystemExit(f"unknown step {step!r}: expected {', '.join(STEPS)}")
        print(f"== {step}", flush=True)
        getattr(run, step)()


if __name__ == "__main__":
    main(make_parser().parse_args())
