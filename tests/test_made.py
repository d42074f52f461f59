"""What is made tells its settings, and with them the same is made again: templates, training data, adapter, system."""

import json

import numpy as np
import pyarrow as pa
import pytest
import yaml
from test_sft import data, flags, student  # noqa: F401  fixtures
from tiny_bert import tiny_bert
from toy_fused import toy_bench, toy_pool

import fusion_hf
from fusion_hf import Log, TemplateIndex
from fusion_hf.distill import sft
from fusion_hf.fused.config import CONFIG_FILE
from fusion_hf.hub.staging import stage
from fusion_hf.logs.sample import sample_path
from fusion_hf.made import FILE, as_options, log_record, made, shown
from fusion_hf.routers import load_router
from fusion_hf.routers.card import write_router_card


def test_a_fingerprint_knows_every_cell_and_no_order():
    table = pa.table({"query_id": ["a", "b"], "llm": ["x", "x"], "ground_truth": [["1"], ["2", "3"]], "n": [1.0, None]})
    one = log_record(table)
    assert one == log_record(table.take([1, 0])) and one["rows"] == 2
    assert one == log_record(table.set_column(1, "llm", table["llm"].dictionary_encode()))
    for name, other in (("llm", ["x", "y"]), ("ground_truth", [["1"], ["2"]]), ("n", [1.0, 0.0])):
        changed = table.set_column(table.column_names.index(name), name, pa.array(other))
        assert log_record(changed)["fingerprint"] != one["fingerprint"], name


def test_settings_are_shown_as_the_command_takes_them(tmp_path):
    settings = {"top_k": 3, "small": False, "holdout": 0.1, "llms": ["a", "b"], "weights": {"math": 2}, "pool": None,
                "k": 2, "encoder": str(tmp_path), "overwrite": True, "templates": {"": "x"}}  # fmt: skip
    assert as_options(settings) == (
        f"--top-k 3 --holdout 0.1 --llms a,b --weights math=2 -k 2 --encoder {tmp_path.name} --overwrite --templates x"
    )
    for broken in (None, 3, {"settings": {}}, {"settings": [], "log": {}, "versions": {}}):
        assert shown(broken, "make {}") is None
    record = made({"pool": object(), "out": tmp_path}, {}, "numpy")
    assert record["settings"] == {"pool": None, "out": str(tmp_path)} and record["versions"]["numpy"] == np.__version__


def test_templates_are_made_again_from_their_settings(tmp_path):
    encoder = tiny_bert(tmp_path / "bert")
    fusion_hf.templates(sample_path(), tmp_path / "one", top_k=2, threshold=0.9, encoder=encoder)
    one = TemplateIndex.from_pretrained(tmp_path / "one")
    assert one.training["settings"]["threshold"] == 0.9
    assert one.training["log"] == log_record(Log(sample_path()).table("train"))
    fusion_hf.templates(sample_path(), tmp_path / "two", **one.training["settings"])
    two = TemplateIndex.from_pretrained(tmp_path / "two")
    assert two.table.equals(one.table) and np.array_equal(two.embeddings, one.embeddings)
    assert two.training == one.training
    card = (tmp_path / "one" / "README.md").read_text()
    assert "fusion-hf templates LOG --model extractive" in card and "--threshold 0.9" in card
    assert one.training["log"]["fingerprint"] in card and str(tmp_path) not in card
    one.save_pretrained(tmp_path / "copy", self_contained=True)
    assert TemplateIndex.from_pretrained(tmp_path / "copy").training == one.training
    # What is pushed tells no path of this machine.
    stage(tmp_path / "copy", tmp_path / "staged", "templates", "dataset", "me/templates")
    assert str(tmp_path) not in (tmp_path / "staged" / "thought_templates" / "index_config.json").read_text()


def test_training_data_are_made_again_from_their_settings(tmp_path):
    options = {"select": "perf", "top_k": 2, "task_cap": 20, "max_rows": 150, "weights": {"gsm8k": 2.0}, "holdout": 0.1}
    fusion_hf.sft_data(sample_path(), tmp_path / "one", **options)
    told = json.loads((tmp_path / "one" / FILE).read_text())
    again = fusion_hf.sft_data(sample_path(), tmp_path / "two", **told["settings"])
    rows = [json.loads((tmp_path / place / FILE).read_text()) for place in ("one", "two")]
    assert rows[0] == rows[1] and again.kept > 100
    tables = [Log(sample_path()).table("train"), again.dataset.data.table]
    assert told["log"] == log_record(tables[0])
    names = [sorted(p.name for p in (tmp_path / place / "data").iterdir()) for place in ("one", "two")]
    assert names[0] == names[1]  # files are named by their content
    assert "--weights gsm8k=2.0" in (tmp_path / "one" / "README.md").read_text()


@pytest.mark.parametrize("method", ["full", "lora"])
def test_an_adapter_is_trained_again_from_its_settings(method, student, tmp_path):  # noqa: F811
    fusion_hf.sft_data(sample_path(), tmp_path / "sft", task_cap=3)
    more = ["--max_steps", 3, "--max_length", 64, "--learning_rate", 1e-2, "--weight_decay", 0.1, "--keep_long_rows"]
    more += ["--per_device_train_batch_size", 2, "--max_rows", 9, "--max_grad_norm", 0.5]
    more += ["--use_peft", "--lora_r", 4, "--lora_dropout", 0.1] if method == "lora" else []
    report = sft.main(*sft.parse(flags(student, tmp_path / "sft", tmp_path / "one", *more)))
    told = json.loads((tmp_path / "one" / sft.REPORT).read_text())
    assert told["settings"]["max_grad_norm"] == 0.5 and told["settings"]["max_rows"] == 9
    assert told["data_made"]["settings"]["task_cap"] == 3 and "trl" in told["versions"]
    places = {"model_name_or_path": told["model"], "dataset_name": told["dataset"], "output_dir": str(tmp_path / "two")}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(told["settings"] | places))
    again = sft.main(*sft.parse(["--config", str(tmp_path / "again.yaml")]))
    assert again["losses"] == report["losses"] and again["settings"] == report["settings"]
    assert again["data_fingerprint"] == report["data_fingerprint"]
    name = "adapter_model.safetensors" if method == "lora" else "model.safetensors"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    card = (tmp_path / "one" / "README.md").read_text()
    assert "max_grad_norm: 0.5" in card and "fusion-hf sft-data LOG" in card and told["data_fingerprint"] in card
    assert str(tmp_path) not in card


def test_a_router_says_what_was_changed_after_it_was_trained(tmp_path):
    bench = toy_bench(tmp_path / "bench")
    fusion_hf.train_router(bench, kind="knn", encoder="none", seed=3, out=tmp_path / "router")
    gone = fusion_hf.remove_llm(tmp_path / "router", llm="bee", out=tmp_path / "smaller").router
    fusion_hf.add_llm(tmp_path / "smaller", bench, llm="bee", out=tmp_path / "whole")
    fusion_hf.calibrate(tmp_path / "whole", bench, min_quality=0.9, name="frugal", out=tmp_path / "frugal")
    router = load_router(tmp_path / "frugal")
    changes = router.config.training["changes"]
    assert [c["command"] for c in changes] == ["remove-llm", "add-llm", "calibrate"]
    assert gone.config.training["changes"] == changes[:1] and changes[1]["log"]["fingerprint"]
    assert "changes" not in load_router(tmp_path / "router").config.training
    write_router_card(tmp_path / "frugal")
    card = (tmp_path / "frugal" / "README.md").read_text()
    assert "--kind knn --encoder none --split train --seed 3" in card
    assert "fusion-hf remove-llm ROUTER --llm bee\nfusion-hf add-llm ROUTER --llm bee --split train\n" in card
    assert "fusion-hf calibrate ROUTER --min-quality 0.9" in card
    # The same steps again choose the same.
    settings = router.config.training["settings"]
    again = fusion_hf.train_router(bench, **settings).router
    for change in changes:
        options = {name: value for name, value in change["settings"].items() if value is not None}
        if change["command"] == "remove-llm":
            fusion_hf.remove_llm(again, **options)
        elif change["command"] == "add-llm":
            fusion_hf.add_llm(again, bench, **options)
        else:
            fusion_hf.calibrate(again, bench, **options)
    queries = Log(bench).table("test")["query"].unique().to_pylist()
    for scenario in ("performance", "frugal"):
        assert [d.candidate for d in again.route(queries, scenario)] == [
            d.candidate for d in router.route(queries, scenario)
        ]


def test_a_fused_system_is_made_again_from_its_settings(tmp_path):
    bench = toy_bench(tmp_path / "bench")
    router = fusion_hf.train_router(bench, kind="linear", encoder="none", out=tmp_path / "router")
    pool = tmp_path / "pool.yaml"
    fusion_hf.llms.pool.save_pool(toy_pool(), pool)
    fusion_hf.autofuse(bench, pool, tmp_path / "one", routers=tmp_path / "router")
    told = json.loads((tmp_path / "one" / CONFIG_FILE).read_text())
    assert told["training"]["log"]["train"] == router.router.config.training["log"]["fingerprint"]
    fusion_hf.autofuse(bench, out=tmp_path / "two", **told["training"]["settings"])
    assert json.loads((tmp_path / "two" / CONFIG_FILE).read_text()) == told
    card = (tmp_path / "one" / "README.md").read_text()
    assert "fusion-hf autofuse LOG --routers router=router" in card and str(tmp_path) not in card
