"""Sources -> dataset repository in one go: a real endpoint on loopback, small source files, the script itself."""

import importlib.util
import json
from pathlib import Path

import pytest
from datasets import get_dataset_config_names, load_dataset
from loopback_llm import Act, LoopbackLLM

from fusion_hf.logs.log import read_log

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "dataset_scripts" / "build_fusionbench.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="dataset_scripts/ is not in an installed wheel")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("build_fusionbench", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sources(tmp_path):
    """Ten rows a split of two tasks, in the schemas of their sources."""
    rows = {
        "gsm8k": lambda i: {"question": f"What is {i} plus {i}?", "answer": f"Twice.\n#### {2 * i}"},
        "arc_challenge": lambda i: {
            "id": f"q{i}", "question": f"Which one is number {i}?", "answerKey": "B",
            "choices": {"text": ["no", f"number {i}", "neither"], "label": ["A", "B", "C"]},
        },
    }  # fmt: skip
    for task, make in rows.items():
        (tmp_path / "sources" / task).mkdir(parents=True)
        for split, start in (("train", 0), ("test", 100)):
            lines = [json.dumps(make(start + i)) for i in range(10)]
            (tmp_path / "sources" / task / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path / "sources"


def pool_file(tmp_path, url):
    entry = "- {{name: {n}, size: small, input_price: 1.0, output_price: 2.0, backend: openai, base_url: '{u}', " \
            "options: {{max_tokens: 64}}}}"  # fmt: skip
    path = tmp_path / "pool.yaml"
    path.write_text("llms:\n" + "\n".join(entry.format(n=n, u=url) for n in ("ant", "bee")) + "\n")
    return path


def test_sources_to_repository_and_again_without_asking(script, sources, tmp_path, capsys):
    argv = ["--tasks", "gsm8k,arc_challenge", "--source", str(sources), "--train", "4", "--out", str(tmp_path / "b")]
    with LoopbackLLM(lambda prompt, times: Act("I choose (B). #### 2")) as server:
        argv += ["--pool", str(pool_file(tmp_path, server.url)), "--no-progress"]
        assert script.run(argv) == 0
        asked = len(server.seen)
        result = json.loads(capsys.readouterr().out)
        # 2 tasks x 2 LLMs x 2 modes; partial_test is a part of test (10 rows, fewer than 50), and is not asked twice.
        assert asked == 2 * 2 * 2 * (4 + 10)
        assert script.run(argv) == 0
        assert len(server.seen) == asked
    assert {split: row["queries"] for split, row in result["splits"].items()} == {
        "train": 8, "partial_test": 20, "test": 20,
    }  # fmt: skip
    assert result["splits"]["train"]["missing"] == 0 and result["splits"]["train"]["usd"] > 0
    assert json.loads(capsys.readouterr().out)["collected"]["train"]["resumed"] == 32
    names = ["all", "arc_challenge", "gsm8k", "llms", "tasks"]
    assert get_dataset_config_names(str(tmp_path / "b")) == names
    rows = load_dataset(str(tmp_path / "b"), "arc_challenge", split="test", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 40 and set(rows["performance"]) == {1.0}
    assert set(read_log(tmp_path / "b", "train")["usage_source"].to_pylist()) <= {"server", None}


def test_dry_run_asks_nothing_and_names_the_price(script, sources, tmp_path, capsys):
    pool = pool_file(tmp_path, "http://127.0.0.1:9/v1")
    argv = [
        "--tasks",
        "gsm8k",
        "--source",
        str(sources),
        "--pool",
        str(pool),
        "--out",
        str(tmp_path / "b"),
        "--dry-run",
    ]
    assert script.run(argv) == 0
    assert set(json.loads(capsys.readouterr().out)["collected"]) == {"train", "test"}
    assert not (tmp_path / "b").exists()


def test_the_cap_counts_both_groups(script, sources, tmp_path, capsys):
    with LoopbackLLM(lambda prompt, times: Act("#### 2")) as server:
        pool = pool_file(tmp_path, server.url)
        argv = ["--tasks", "gsm8k", "--source", str(sources), "--pool", str(pool), "--out", str(tmp_path / "b"),
                "--max-usd", "0.003", "--no-progress", "--splits", "train,test"]  # fmt: skip
        script.run(argv)
    spent = sum(c["usd_total"] for c in json.loads(capsys.readouterr().out)["collected"].values())
    assert 0 < spent <= 0.003


def test_a_judge_scores_every_answer_within_the_same_cap(script, sources, tmp_path, capsys):
    def answer(prompt, times):
        return Act("fine <answer>0.6</answer>" if "<answer>" in prompt else "#### 2")

    with LoopbackLLM(answer) as server:
        pool = pool_file(tmp_path, server.url)
        text = pool.read_text().replace("name: ant", "name: judge").splitlines()
        (tmp_path / "judge.yaml").write_text("\n".join(text[:2]) + "\n")
        argv = ["--tasks", "gsm8k", "--source", str(sources), "--pool", str(pool), "--out", str(tmp_path / "b"),
                "--judge", "judge", "--judge-pool", str(tmp_path / "judge.yaml"), "--max-usd", "1.0", "--no-progress",
                "--splits", "train,test"]  # fmt: skip
        assert script.run(argv) == 0
        first = json.loads(capsys.readouterr().out)
        asked = len(server.seen)
        assert script.run(argv) == 0
        assert len(server.seen) == asked == 160  # 20 queries x 2 LLMs x 2 modes, and each answer judged
    assert first["judged"]["train"]["kept"] == 40 and first["judged"]["train"]["judge"] == pytest.approx(0.6)
    table = read_log(tmp_path / "b", "test")
    assert set(table["judge_model"].to_pylist()) == {"judge"} and "judge" not in set(table["llm"].to_pylist())


def test_a_public_log(script, tmp_path, capsys):
    log = [{"question": f"q{i}", "scores": {"ant": 1.0, "bee": 0.0}} for i in range(3)]
    (tmp_path / "t.json").write_text(json.dumps(log))
    assert script.run(["--import", "routerdc", str(tmp_path / "t.json"), "--out", str(tmp_path / "b")]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 6
    assert read_log(tmp_path / "b").num_rows == 6


def test_wrong_input_is_one_line(script, tmp_path, capsys):
    assert script.run(["--out", str(tmp_path / "b")]) == 2
    assert "expected --pool" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.run(["--help"])
    assert "--import llmrouter" in capsys.readouterr().out
