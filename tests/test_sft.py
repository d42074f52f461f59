"""The SFT script: real training of a tiny Llama, on one rank and on two."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl")
pytest.importorskip("peft")

import torch
from datasets import Dataset
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fusion_hf.distill import sft
from fusion_hf.errors import UserError

ROOT = Path(__file__).parent.parent
ACCELERATE = sorted((ROOT / "examples" / "accelerate").glob("*.yaml"))
RECIPES = sorted((ROOT / "examples" / "recipes").glob("sft_*.yaml"))
PAIRS = [(f"How much is {a} plus {b}?", f"It is #### {a + b}") for a in range(4) for b in range(4)]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if m['role'] == 'assistant' %}<eos>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """Folder of a random Llama of 30 k parameters with a small BPE tokenizer and a chat template."""
    folder = tmp_path_factory.mktemp("student")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<eos>", "<user>", "<assistant>"]
    bpe.train_from_iterator(
        [text for pair in PAIRS for text in pair],
        trainers.BpeTrainer(
            vocab_size=320, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>", eos_token="<eos>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        initializer_range=0.2,  # a frozen output layer of smaller weights could not tell tokens apart under LoRA
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A Parquet file as `fusion-hf sft-data` writes it: messages and provenance."""
    path = tmp_path_factory.mktemp("sft") / "train.parquet"
    columns = {
        "prompt": [[{"role": "user", "content": q}] for q, _ in PAIRS],
        "completion": [[{"role": "assistant", "content": a}] for _, a in PAIRS],
        "llm": ["bee", "ant"] * (len(PAIRS) // 2),
        "task": ["gsm8k"] * 8 + ["squad"] * 4 + ["mine"] * 4,
    }
    Dataset.from_dict(columns).to_parquet(str(path))
    return path


def flags(student, data, out, *more):
    fixed = ["--use_cpu", "--bf16", "False", "--gradient_checkpointing", "False", "--save_strategy", "no"]
    fixed += ["--logging_steps", "1", "--disable_tqdm", "True", "--lr_scheduler_type", "constant", "--seed", "0"]
    where = ["--model_name_or_path", student, "--dataset_name", data, "--output_dir", out]
    return [str(flag) for flag in (*where, *fixed, *more)]


def train(*args):
    return sft.main(*sft.parse(flags(*args)))


def test_full_training_learns_and_saves_a_model_that_loads(student, data, tmp_path):
    report = train(
        student, data, tmp_path, "--max_steps", 40, "--learning_rate", 1e-2, "--per_device_train_batch_size", 8
    )
    losses = [loss for _, loss in report["losses"]]
    assert losses[-1] < 0.5 * losses[0]
    assert report["method"] == "full" and report["trained_parameters"] == report["parameters"]
    assert json.loads((tmp_path / sft.REPORT).read_text()) == report | {"local": ["model", "dataset"]}
    assert (report["world_size"], report["rows"], report["steps"]) == (1, 16, 40)
    assert report["final_loss"] == losses[-1] and report["seconds"] > 0
    assert report["teachers"] == ["ant", "bee"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    chats = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in PAIRS]
    one_epoch = sum(len(ids) for ids in tokenizer.apply_chat_template(chats, return_dict=True)["input_ids"])
    assert report["tokens"] == 20 * one_epoch
    # What was saved is what was trained, and it stops where the answer ends.
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    query = tokenizer.apply_chat_template(
        chats[5][:1], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    text = tokenizer.decode(model.generate(**query, max_new_tokens=20, do_sample=False)[0])
    assert text.split("<assistant>")[1].startswith("It is #### ") and text.endswith("<eos>")
    assert not (tmp_path / "training_args.bin").exists()


def test_lora_learns_leaves_the_base_alone_and_evaluates(student, data, tmp_path):
    base = (student / "model.safetensors").read_bytes()
    lora = ["--use_peft", "--lora_r", 16, "--lora_alpha", 64, "--lora_dropout", 0, "--learning_rate", 2e-2]
    evaluation = ["--eval_strategy", "steps", "--eval_steps", 30, "--dataset_test_split", "train"]
    report = train(student, data, tmp_path, *lora, *evaluation, "--max_steps", 60, "--per_device_train_batch_size", 16)
    assert report["losses"][-1][1] < 0.7 * report["losses"][0][1]
    assert [step for step, _ in report["eval_losses"]] == [30, 60]
    assert report["eval_losses"][1][1] < report["eval_losses"][0][1]
    domains = {name: [loss for _, loss in curve] for name, curve in report["eval_losses_by_domain"].items()}
    assert set(domains) == {"Math", "Reading", "mine"}  # of gsm8k, squad, and a task of the user's own
    last = [domains[name][-1] for name in ("Math", "Reading", "mine")]
    assert report["eval_losses"][1][1] == pytest.approx((8 * last[0] + 4 * last[1] + 4 * last[2]) / 16)
    card = (tmp_path / "README.md").read_text()
    for line in (
        "16 rows (fingerprint `",
        "), from ant, bee",
        "gsm8k 8, mine 4, squad 4",
        "- lora_r: 16",
        f"| Math | {domains['Math'][0]:.4f}",
    ):
        assert line in card
    assert report["method"] == "lora" and report["trained_parameters"] < report["parameters"]
    assert (student / "model.safetensors").read_bytes() == base
    adapter = load_file(tmp_path / "adapter_model.safetensors")
    layers = {name.split(".")[-3] for name in adapter}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path)  # transformers reads the adapter and its base
    assert completion_loss(tuned, AutoTokenizer.from_pretrained(tmp_path)) < 0.7 * report["losses"][0][1]


def completion_loss(model, tokenizer):
    """Mean negative log-likelihood of the completion tokens of all pairs, worked out by hand."""
    total, count = 0.0, 0
    for question, answer in PAIRS:
        prompt = tokenizer(f"<user>{question}<assistant>")["input_ids"]
        whole = tokenizer(f"<user>{question}<assistant>{answer}<eos>")["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        for i in range(len(prompt), len(whole)):
            total -= logits[i - 1, whole[i]].item()
            count += 1
    return total / count


def test_the_loss_is_on_the_completion_only(student, data, tmp_path):
    report = train(student, data, tmp_path, "--max_steps", 1, "--learning_rate", 0, "--per_device_train_batch_size", 16)
    by_hand = completion_loss(AutoModelForCausalLM.from_pretrained(student), AutoTokenizer.from_pretrained(student))
    assert math.isclose(report["final_loss"], by_hand, rel_tol=1e-4)


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(student, data, tmp_path):
    settings = ["--max_steps", 6, "--per_device_train_batch_size", 4, "--learning_rate", 5e-3]
    settings += ["--save_strategy", "steps", "--save_steps", 3]
    whole = train(student, data, tmp_path / "whole", *settings)
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "broken" / "checkpoint-3")
    resumed = train(student, data, tmp_path / "broken", *settings, "--resume_from_checkpoint", "last")
    assert len(whole["losses"]) == 6
    for key in (0, 1):  # step, loss
        assert [x[key] for x in resumed["losses"]] == pytest.approx([x[key] for x in whole["losses"]], rel=1e-5)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name])


def test_packing_checkpointing_and_bf16_leave_the_loss_as_it_is(student, data, tmp_path):
    """Packed neighbours do not see each other, and memory is saved without changing what is learned."""
    common = ["--num_train_epochs", 1, "--learning_rate", 0, "--per_device_train_batch_size", 16]
    plain = train(student, data, tmp_path / "plain", *common)
    packed = train(student, data, tmp_path / "packed", *common, "--packing", "--max_length", 64)
    assert packed["sequences"] < packed["rows"] == 16
    assert packed["tokens"] == plain["tokens"] and packed["settings"]["packing"]
    assert math.isclose(packed["final_loss"], plain["final_loss"], rel_tol=1e-4)
    train_it = ["--max_steps", 3, "--learning_rate", 1e-2, "--per_device_train_batch_size", 8]
    whole = train(student, data, tmp_path / "whole", *train_it)
    saving = train(student, data, tmp_path / "saving", *train_it, "--gradient_checkpointing", "True")
    for (_, ours), (_, exact) in zip(saving["losses"], whole["losses"], strict=True):
        assert math.isclose(ours, exact, rel_tol=1e-4)
    half = train(student, data, tmp_path / "half", *train_it, "--bf16", "True")
    for (_, ours), (_, exact) in zip(half["losses"], whole["losses"], strict=True):
        assert ours != exact and math.isclose(ours, exact, rel_tol=3e-2)


def test_long_rows_are_left_out_and_counted(student, data, tmp_path):
    extra = {
        "prompt": [[{"role": "user", "content": "x" * 400}]],
        "completion": [[{"role": "assistant", "content": "y"}]],
    }
    rows = Dataset.from_parquet(str(data), cache_dir=str(tmp_path)).select_columns(["prompt", "completion"])
    rows = Dataset.from_list([*rows.to_list(), *Dataset.from_dict(extra).to_list()])
    rows.to_parquet(str(tmp_path / "long.parquet"))
    report = train(student, tmp_path / "long.parquet", tmp_path / "out", "--max_length", 100, "--max_steps", 1)
    assert (report["rows"], report["rows_too_long"]) == (16, 1)
    with pytest.raises(UserError, match="all 16 rows are longer than --max_length 3 tokens: raise it"):
        train(student, data, tmp_path / "out", "--max_length", 3)
    assert train(student, data, tmp_path / "out", "--max_rows", 5, "--max_steps", 1)["rows"] == 5


WATCH = """
import os, signal, sys
rank, log, out, fatal = (os.environ.get(name) for name in ("RANK", "WATCH_LOG", "WATCH_OUT", "WATCH_KILL"))
def hook(event, args):
    if rank is not None and event == "open" and isinstance(args[0], str) and os.path.abspath(args[0]).startswith(out):
        if args[2] & (os.O_WRONLY | os.O_RDWR):
            fd = os.open(log + rank, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(fd, (args[0] + "\\n").encode()); os.close(fd)
            if fatal and args[0].endswith(fatal):
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


def launch(launcher, script_flags, folder, out, kill_at=None):
    """Run the script under a launcher with an audit hook that notes which rank opens what below `out` for writing.

    `kill_at`: the rank that opens a file whose path ends so is killed on the spot, and the launcher ends the others.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WATCH)
    env = os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "WATCH_LOG": str(folder / "rank"),
        "WATCH_OUT": str(out),
        "WATCH_KILL": kill_at or "",
    }
    command = [sys.executable, "-m", *launcher, "-m", "fusion_hf.distill.sft", *script_flags]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, start_new_session=True, **pipes)
    try:
        _, errors = process.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the ranks too, not only the launcher
        raise
    assert bool(process.returncode) == bool(kill_at), errors[-3000:]
    written = {rank: folder / f"rank{rank}" for rank in (0, 1)}
    return {rank: path.read_text().splitlines() if path.exists() else [] for rank, path in written.items()}


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE_LAUNCH = [
    "accelerate.commands.launch", "--config_file", str(ROOT / "examples" / "accelerate" / "multi_gpu.yaml"),
    "--num_processes", "2", "--mixed_precision", "no", "--main_process_port", "0",
]  # fmt: skip
SIX_STEPS = ["--max_steps", 6, "--learning_rate", 5e-3]


def same_losses(report, other):
    assert report["tokens"] == other["tokens"] and report["steps"] == other["steps"] == 6
    for (_, both), (_, single) in zip(report["losses"], other["losses"], strict=True):
        assert math.isclose(both, single, rel_tol=1e-3)


@pytest.mark.slow
def test_two_ranks_train_as_one_with_twice_the_batch(student, data, tmp_path):
    """Each rank sees its half of every batch, gradients are shared, and rank 0 alone writes."""
    out = tmp_path / "out"
    two = flags(student, data, out, *SIX_STEPS, "--per_device_train_batch_size", 4)
    written = launch(TORCHRUN, two, tmp_path / "watch", out)
    report = json.loads((out / sft.REPORT).read_text())
    assert (report["world_size"], report["distributed"]) == (2, "MULTI_CPU")
    assert written[1] == []
    assert any(sft.REPORT in path for path in written[0])  # beside its place, and renamed
    one = train(student, data, tmp_path / "one", *SIX_STEPS, "--per_device_train_batch_size", 8)
    assert (one["world_size"], one["distributed"]) == (1, "NO")
    same_losses(report, one)
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("out", "one")]
    start = load_file(student / "model.safetensors")
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=2e-3, rtol=2e-2)
        assert not torch.equal(tensor, start[name])


@pytest.mark.slow
def test_two_ranks_killed_while_they_save_resume_from_the_last_whole_checkpoint(student, data, tmp_path):
    out = tmp_path / "out"
    saving = ["--save_strategy", "steps", "--save_steps", 2, "--per_device_train_batch_size", 4]
    two = flags(student, data, out, *SIX_STEPS, *saving)
    launch(ACCELERATE_LAUNCH, two, tmp_path / "first", out, kill_at="checkpoint-4/trainer_state.json")
    assert json.loads((out / sft.REPORT).read_text())["seconds"] is None  # so far
    assert (out / "checkpoint-4").is_dir()  # half of it
    written = launch(ACCELERATE_LAUNCH, [*two, "--resume_from_checkpoint", "last"], tmp_path / "second", out)
    assert {Path(path).name for path in written[1]} <= {"rng_state_1.pth"}  # each rank's own random numbers
    report = json.loads((out / sft.REPORT).read_text())
    assert report["world_size"] == 2
    same_losses(report, train(student, data, tmp_path / "one", *SIX_STEPS, "--per_device_train_batch_size", 8))


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda p: p.stem)
def test_accelerate_reads_every_config(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))  # raises for unknown keys
    kinds = {"one_cpu": "NO", "one_gpu": "NO", "multi_gpu": "MULTI_GPU", "multi_node": "MULTI_GPU", "fsdp2": "FSDP",
             "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}  # fmt: skip
    assert config.distributed_type.value == kinds[path.stem]
    processes = {"one_cpu": 1, "one_gpu": 1, "multi_node": 16}
    assert config.num_processes == processes.get(path.stem, 8)
    assert config.num_machines == (2 if path.stem == "multi_node" else 1)
    if path.stem == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    if path.stem.startswith("zero"):
        assert config.deepspeed_config["zero_stage"] == int(path.stem[-1])


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_every_recipe_parses_and_flags_win_over_it(path):
    script, training, model, _ = sft.parse(["--config", str(path), "--use_cpu", "--bf16", "False", "--lora_r", "3"])
    assert script.dataset_name and training.output_dir
    assert model.lora_r == 3 and training.report_to == []
    if training.eval_strategy.value != "no":
        assert script.dataset_test_split == "validation"


def test_on_a_cpu_bf16_is_off_unless_asked_for(tmp_path):
    training = sft.parse(["--use_cpu", "--output_dir", str(tmp_path)])[1]
    assert training.bf16 == torch.accelerator.is_available()
    assert sft.parse(["--use_cpu", "--bf16", "True", "--output_dir", str(tmp_path)])[1].bf16


@pytest.fixture
def wrong(student, data, tmp_path):
    """Folders that are wrong in one way each."""
    Dataset.from_dict({"text": ["a"]}).to_parquet(str(tmp_path / "text.parquet"))
    shutil.copytree(student, tmp_path / "mute")
    (tmp_path / "mute" / "chat_template.jinja").unlink()
    (tmp_path / "bad.yaml").write_text("learning_rat: 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--dataset_name", "{}/text.parquet"], "expected columns prompt and completion, found text"),
        (["--dataset_name", "{}/none"], "split 'train' cannot be read"),
        (["--dataset_train_split", "dev", "--dataset_name", "{}/none"], "split 'dev' cannot be read"),
        (["--model_name_or_path", "{}/none"], "none' cannot be loaded"),
        (["--model_name_or_path", "{}/mute"], "has no chat template: give one with --chat_template_path"),
        (["--resume_from_checkpoint", "last"], "holds no checkpoint"),
        (["--resume_from_checkpoint", "{}/none"], "expected a checkpoint folder, found nothing at"),
        (["--learn_rate", "1"], "--learn_rate"),
        (["--config", "{}/bad.yaml"], "learning_rat"),
        (["--config", "{}/none.yaml"], "none.yaml"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(student, data, wrong, capsys, change, message):
    change = [part.format(wrong) for part in change]
    assert sft.run(flags(student, data, wrong / "out", *change)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


def test_a_missing_package_names_its_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trl", None)
    assert sft.run([]) == 2
    assert "pip install 'fusion_hf[train]'" in capsys.readouterr().err


def test_the_module_runs_and_importing_it_loads_no_training_library(tmp_path):
    code = (
        "import runpy, sys, fusion_hf.distill\n"
        "import fusion_hf.distill.sft as sft\n"
        "print({'trl', 'peft'} & set(sys.modules), flush=True)\n"
        "del sys.modules[sft.__name__]\n"
        "runpy.run_module(sft.__name__, run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code, "--dataset_name", str(tmp_path / "none")]
    command += ["--output_dir", str(tmp_path), "--model_name_or_path", "x"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("set()")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: dataset")


def test_help_lists_the_arguments_of_all_four_classes(capsys):
    with pytest.raises(SystemExit) as stop:
        sft.parse(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--dataset_name", "--learning_rate", "--use_peft", "--max_rows"):
        assert flag in text
