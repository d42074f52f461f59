"""What was trained: merged, asked, measured, added to the log; and on-policy distillation."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
pytest.importorskip("peft")

import torch
from conftest import make_rows
from peft import PeftModel
from test_sft import data, flags, student, train  # noqa: F401  (fixtures)
from transformers import AutoModelForCausalLM, AutoTokenizer

from fusion_hf.cli import main
from fusion_hf.distill import on_policy
from fusion_hf.distill.base_model import read_base
from fusion_hf.distill.merge import merge
from fusion_hf.distill.student import student_llm
from fusion_hf.errors import UserError
from fusion_hf.llms.pool import load_pool
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import Log, read_log, write_bench
from fusion_hf.logs.schema import rows_to_table

LORA = ["--use_peft", "--lora_r", 4, "--lora_alpha", 16, "--learning_rate", 2e-2, "--max_steps", 4]


@pytest.fixture(scope="module")
def adapter(student, data, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("distill") / "adapter"
    train(student, data, folder, *LORA, "--per_device_train_batch_size", 8)
    return folder


def test_a_merged_model_is_the_adapter_on_its_base_in_one_folder(adapter, tmp_path, capsys):
    assert main(["merge", str(adapter), "--out", str(tmp_path / "merged")]) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(merged, "peft_config") and not (tmp_path / "merged" / "adapter_config.json").exists()
    # A base that is a folder of this machine is named relative to the adapter, so it is loaded by where that leads.
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(read_base(adapter)), str(adapter))
    ids = AutoTokenizer.from_pretrained(tmp_path / "merged")("How much is 1 plus 2?", return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(merged(**ids).logits, tuned(**ids).logits, atol=1e-4, rtol=1e-4)
    assert "taught by many LLMs" in (tmp_path / "merged" / "README.md").read_text()
    with pytest.raises(UserError, match=r"expected a LoRA adapter \(adapter_config.json\), found none"):
        merge(tmp_path / "merged", tmp_path / "again")
    with pytest.raises(UserError, match="is the adapter itself"):
        merge(adapter, adapter)
    with pytest.raises(UserError, match="found empty text"):
        merge(adapter, "")


def test_a_student_joins_the_log_as_one_more_candidate(adapter, tmp_path, capsys):
    llms = [{"name": "ant", "size": "small", "input_price": 1.0, "output_price": 2.0}]
    tables = {s: rows_to_table(make_rows(6, split=s)) for s in ("train", "test")}
    bench = write_bench(tables, tmp_path / "bench", llms, title="A log of ants", text="What it is.")
    (tmp_path / "pool.yaml").write_text(
        "llms:\n- {name: ant, size: small, input_price: 1.0, output_price: 2.0, backend: transformers, model: x,\n"
        "   options: {max_tokens: 8, temperature: 0.0}}\n"
    )
    command = ["eval-student", str(bench), str(adapter), "--base", "ant", "--pool", str(tmp_path / "pool.yaml")]
    command += ["--logs", str(tmp_path / "logs"), "--out", str(tmp_path / "more"), "--json", str(tmp_path / "r.json")]
    for _ in range(2):  # again: nothing is asked twice, nothing stands twice
        assert main(command) == 0
    more = tmp_path / "more"
    assert Log(more).splits == ("train", "test")
    for split in ("train", "test"):
        old, new = read_log(bench, split), read_log(more, split)
        assert new.num_rows == old.num_rows + 2 * 6  # direct and think
        rows = [r for r in new.to_pylist() if r["llm"] == "ant+adapter"]
        assert {r["mode"] for r in rows} == {"direct", "think"} and len({r["query_id"] for r in rows}) == 6
        assert all(r["performance"] is not None and r["cost"] > 0 and "/strict@" in r["grader"] for r in rows)
    assert {"ant+adapter", "ant+adapter_think"} <= set(RoutingData.from_table(read_log(more, "train")).candidates)
    assert [row["name"] for row in Log(more).extra("llms").to_pylist()] == ["ant", "ant+adapter"]
    card = (more / "README.md").read_text()
    assert "# A log of ants" in card and "What it is." in card
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["student"] == "ant+adapter"
    direct, think = result["results"]
    assert (direct["mode"], direct["queries"], think["base"]) == ("direct", 6, None)  # ant did not think
    assert direct["base"] == pytest.approx(0.5) and set(direct["by_task"]) == {"gsm8k", "squad"}
    assert direct["difference"] == pytest.approx(direct["performance"] - 0.5)
    assert direct["ci95"][0] <= direct["difference"] <= direct["ci95"][1]
    card = (adapter / "README.md").read_text()
    assert f"| gsm8k | 3 | 1.000 | {direct['by_task']['gsm8k']['performance']:.3f} |" in card
    assert "ant+adapter, direct mode, test:" in capsys.readouterr().out


def test_a_student_for_vllm_is_merged_first_and_its_name_says_its_base(adapter, student, tmp_path):  # noqa: F811
    llm = student_llm(adapter, backend="vllm", merged=tmp_path / "merged")
    assert llm.name == f"{student.name}+adapter" and llm.model == str(tmp_path / "merged")
    assert (tmp_path / "merged" / "config.json").is_file() and "adapter" not in llm.options
    assert (llm.input_price, llm.output_price) == (None, None)
    local = student_llm(adapter, base="ant")
    assert local.options["adapter"] == str(adapter) and local.model == str(student)
    with pytest.raises(UserError, match=r"expected an adapter or a model .* found neither"):
        student_llm(tmp_path)
    with pytest.raises(UserError, match="the pool has no LLM 'bee'"):
        student_llm(adapter, base="bee", pool=load_pool("fusionbench"))


def on_policy_flags(student, data, teacher, out, *more):  # noqa: F811
    more = ["--teacher_model_name_or_path", str(teacher), "--max_completion_length", "8", *map(str, more)]
    return [*flags(student, data, out), *more]


def test_on_policy_the_student_comes_nearer_to_its_teacher(student, data, tmp_path):  # noqa: F811
    teacher = tmp_path / "teacher"
    train(student, data, teacher, "--max_steps", 40, "--learning_rate", 1e-2, "--per_device_train_batch_size", 8)
    steps = ["--max_steps", 30, "--learning_rate", 5e-3, "--per_device_train_batch_size", 16, "--beta", 0.0]
    parsed = on_policy.parse(on_policy_flags(student, data, teacher, tmp_path / "out", *steps))
    report = on_policy.main(*parsed)
    losses = [loss for _, loss in report["losses"]]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert (report["kind"], report["teachers"], report["rows"]) == ("on-policy", [str(teacher)], 16)
    assert json.loads((tmp_path / "out" / "train_report.json").read_text()) == report | {"local": ["model", "dataset"]}
    assert "on-policy" in (tmp_path / "out" / "README.md").read_text()
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_on_policy_needs_a_teacher_with_the_same_vocabulary(student, data, tmp_path, capsys):  # noqa: F811
    other = shutil.copytree(student, tmp_path / "other")
    text = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(text.replace('"<user>"', '"<human>"'))
    assert on_policy.run(on_policy_flags(student, data, other, tmp_path / "out")) == 2
    assert "teacher and student must share a vocabulary: 2 entries differ" in capsys.readouterr().err
    assert on_policy.run(flags(student, data, tmp_path / "out")) == 2
    assert "--teacher_model_name_or_path is missing" in capsys.readouterr().err
    assert on_policy.run(on_policy_flags(student, data, tmp_path / "none", tmp_path / "out")) == 2


def test_the_on_policy_recipe_parses():
    from test_sft import ROOT

    recipe = ROOT / "examples" / "recipes" / "on_policy_qwen3.yaml"
    script, training, model, _ = on_policy.parse(["--config", str(recipe), "--use_cpu", "--bf16", "False"])
    assert script.dataset_name and training.teacher_model_name_or_path and model.use_peft


@pytest.mark.slow
def test_one_command_leads_from_the_log_to_an_evaluated_adapter(tmp_path):
    from test_sft import ROOT

    from fusion_hf.logs.sample import pool_path, reader_path, sample_path

    examples = ROOT / "examples"
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1",
        "BASE": "tiny-small", "POOL": str(pool_path()), "SPLITS": "test", "LIMIT": "1", "SELECT": "baseline",
        "CONFIG": str(examples / "accelerate" / "one_cpu.yaml"),
    }  # fmt: skip
    command = ["bash", str(examples / "distill.sh"), str(sample_path()), str(reader_path()), str(tmp_path / "taught")]
    command += [str(examples / "recipes" / "sft_small.yaml"), "--max_steps", "2", "--max_rows", "64"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "taught" / "results.json").read_text())
    assert result["student"] == "tiny-small+taught" and [r["queries"] for r in result["results"]] == [14, 14]
    log = read_log(tmp_path / "taught" / "bench", "test", columns=["llm"])
    assert log["llm"].to_pylist().count("tiny-small+taught") == 28
    assert "| gsm8k | 1 |" in (tmp_path / "taught" / "taught" / "README.md").read_text()


def test_a_trained_model_is_pushed_with_its_card_and_without_a_pickle(student, data, tmp_path):  # noqa: F811
    import hub_double

    server = hub_double.start()
    argv = flags(student, data, tmp_path / "out", "--max_steps", 1, "--use_peft", "--push_to_hub")
    argv += ["--hub_model_id", "user/taught"]
    code = "import sys; from fusion_hf.distill import sft; sys.exit(sft.run(sys.argv[1:]))"
    env = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": "hf_" + "x" * 20, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code, *argv], env=env, capture_output=True, text=True, timeout=300)
    server.shutdown()
    assert done.returncode == 0, done.stderr[-3000:]
    files = hub_double.REPOS["models", "user/taught"]["files"]
    assert {"README.md", "adapter_model.safetensors", "train_report.json"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pkl", ".pt"))]


def test_the_throughput_benchmark_runs_on_a_tiny_shape(tmp_path, monkeypatch):
    from test_sft import ROOT

    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import sft_throughput

    out = tmp_path / "figures.json"
    assert sft_throughput.main(["--shape", "tiny", "--length", "64", "--steps", "2", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    assert figures["tokens_per_second"] > 0 and 0 < figures["share_of_peak"] < 1
    assert 64 < figures["tokens_per_step"] <= 128 and figures["peak_memory_gib"] > 0
    # Two matrices of attention and one in three parts, twice; the output layer; LoRA needs no gradient of the weights.
    weights = 2 * (64 * 64 * 3 + 64 * 128 * 3) + 64 * 4096
    assert sft_throughput.flops_per_token("tiny", 64, lora=True) == 4 * weights + 3 * 2 * 2 * 2 * 64 * 32
