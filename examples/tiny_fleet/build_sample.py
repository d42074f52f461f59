"""Train the fleet, ask it everything, and write the embedded sample.

    python -m examples.tiny_fleet.build_sample              # everything; within an hour on two cores
    python -m examples.tiny_fleet.build_sample --step report

Run it from the root of the repository. A step that has run is not repeated: delete its folder under --out to do so.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from fusion_hf.logs.log import read_log

from . import fit, log
from .mixtures import FLEET
from .report import card_text, table_text
from .tokenizer import build_tokenizer
from .train import join_group

HERE = Path(__file__).parent
STEPS = ("base", "members", "write", "report")


def main(argv: list[str] | None = None) -> None:
    """Run the steps asked for, in their order."""
    args = _parser().parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if args.member:
        _member(args)
        return
    if args.rank is not None:
        _share_base(args)
        return
    for step in STEPS:
        if args.step in (None, step):
            start = time.time()
            globals()[f"_{step}"](args)
            _say(f"{step}: {time.time() - start:.0f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "out", help="checkpoints and shards (default: %(default)s)")
    parser.add_argument(
        "--sample", type=Path, default=HERE.parents[1] / "fusion_hf" / "bench" / "sample", help="the sample to write"
    )
    parser.add_argument("--step", choices=STEPS, help="only this step (default: all of them)")
    parser.add_argument("--member", choices=list(FLEET), help="only this member, on the base that is there")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every training budget (0.01 to try it out)")
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes at a time, of one thread each (default: %(default)s)"
    )
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    return parser


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _base(args: argparse.Namespace) -> None:
    """The tokenizer, then warm-up and base in `jobs` processes that share the work."""
    if (args.out / "base" / "training.json").exists():
        return
    build_tokenizer(args.out / "tokenizer")
    (args.out / "group").unlink(missing_ok=True)
    running = {f"base-{rank}": _start(args, f"base-{rank}", "--rank", str(rank)) for rank in range(args.jobs)}
    _wait(args, running, until=0)


def _share_base(args: argparse.Namespace) -> None:
    """One process of the group that trains the base."""
    say = _say if args.rank == 0 else lambda _: None
    join_group(args.out / "group", args.rank, args.jobs)
    fit.fit_warmup(args.out, say, args.scale)
    dist.barrier()
    fit.fit_base(args.out, say, args.scale)


def _members(args: argparse.Namespace) -> None:
    """Train each member and log its answers, `jobs` at a time, each in a process of its own."""
    running: dict[str, subprocess.Popen] = {}
    for name in sorted(FLEET, key=lambda name: -FLEET[name].layers * FLEET[name].tokens):
        _wait(args, running, until=args.jobs - 1)
        running[name] = _start(args, name, "--member", name)
    _wait(args, running, until=0)


def _member(args: argparse.Namespace) -> None:
    if not (args.out / args.member / "training.json").exists():
        fit.fit_member(args.member, args.out, _say, args.scale)
    log.collect_member(args.out, args.member)


def _start(args: argparse.Namespace, name: str, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "examples.tiny_fleet.build_sample", "--out", str(args.out)]
    command += ["--jobs", str(args.jobs), "--scale", str(args.scale), *options]
    with open(args.out / f"{name}.log", "a", encoding="utf-8") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def _wait(args: argparse.Namespace, running: dict[str, subprocess.Popen], until: int) -> None:
    """Wait until at most `until` processes run; take those that ended out of `running`."""
    while len(running) > until:
        time.sleep(0.2)
        for name in [n for n, process in running.items() if process.poll() is not None]:
            if running.pop(name).returncode != 0:
                raise RuntimeError(f"{name} failed: see {args.out / f'{name}.log'}")
            _say(f"{name}: done")


def _write(args: argparse.Namespace) -> None:
    tables = {split: log.graded_log(args.out, split) for split in log.QUERIES}
    log.write_sample(args.out, args.sample, tables, card_text(log.make_pool(args.out), tables["train"], tables["test"]))


def _report(args: argparse.Namespace) -> None:
    """Accuracy of each candidate on each task (test), and what the training took."""
    print(table_text(read_log(args.sample, "train"), read_log(args.sample, "test")))
    for name in ("warmup", "base", *FLEET):
        record = json.loads((args.out / name / "training.json").read_text(encoding="utf-8"))
        print(f"{name}: {json.dumps(record)}")


if __name__ == "__main__":
    main()
