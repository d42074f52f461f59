"""Cards: metadata that the Hub reads, no section without content, and ours told from the user's."""

import json
import re
from pathlib import Path

import pytest
from conftest import make_rows
from huggingface_hub import DatasetCard, ModelCard
from thought_toys import template_table, unit

from fusion_hf.cards import PLACE, check_metadata, render_card, sign, untouched
from fusion_hf.distill.report import write_adapter_card, write_report
from fusion_hf.errors import UserError, hub_reason
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.sample import sample_path
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers.card import write_router_card
from fusion_hf.thoughts.card import write_pipeline_card

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cards(tmp_path_factory):
    """Name -> card, one of every template at its barest and one with all that it can show."""
    return dict(_cards(tmp_path_factory.mktemp("cards")))


def _cards(root):
    tables = {s: validate(rows_to_table(make_rows(24, split=s))) for s in ("train", "test")}
    yield "dataset", _text(write_bench(tables, root / "bench"))
    unscored = [row | {"performance": None, "cost": None} for row in make_rows(4)]
    yield "bare dataset", _text(write_bench({"train": rows_to_table(unscored)}, root / "unscored"))
    from fusion_hf import eval_router
    from fusion_hf.routers import fit_router

    router = root / "router"
    fit_router("knn", RoutingData.from_table(read_log(root / "bench", "train")), encoder="none").save_pretrained(router)
    write_router_card(router)
    yield "bare router", _text(router)
    write_router_card(router, "user/router", eval_router(router, root / "bench").to_dict() | {"bench": "user/bench"})
    yield "router", _text(router)
    yield from _distilled(root)
    import numpy as np

    from fusion_hf.thoughts import TemplateIndex

    index = TemplateIndex(template_table(6), unit(np.random.default_rng(0), 6), "offline")
    yield "templates", _text(index.save_pretrained(root / "templates"))
    write_pipeline_card(root / "templates", "user/thinker")
    yield "pipeline", _text(root / "templates")


def _distilled(root):
    from fusion_hf.distill import Choice, save, sft_dataset

    log = read_log(root / "bench", "train")
    yield "sft", _text(save(*sft_dataset(log, Choice(top_k=2)), root / "sft"))
    report = {
        "dataset": "user/sft", "teachers": [], "rows": 7, "model": "user/base", "method": "lora", "world_size": 1,
        "steps": 3, "final_loss": None, "seconds": None, "settings": {},
    }  # fmt: skip
    yield "bare adapter", _adapter(root / "bare", report)
    full = {
        **report,
        "settings": {"learning_rate": 0.003},
        "teachers": ["ant", "bee"],
        "world_size": 2,
        "seconds": 61.4,
    }
    full |= {"final_loss": 0.5, "eval_losses_by_domain": {"Math": [[1, 2.0], [2, 1.5]]}}
    yield "adapter with losses", _adapter(root / "losses", full)
    row = {"queries": 4, "base": None, "performance": 0.5, "difference": None, "ci95": [0.0, 0.5]}
    results = [{**row, "mode": "direct", "split": "test", "by_task": {"gsm8k": row}}]
    yield "adapter", _adapter(root / "full", full, results)


def _adapter(folder, report, results=None):
    folder.mkdir()
    (folder / "train_report.json").write_text(json.dumps(report))
    if results:
        (folder / "results.json").write_text(json.dumps(results))
    write_adapter_card(folder)
    return _text(folder)


def _text(folder):
    return (Path(folder) / "README.md").read_text()


def test_no_section_is_empty(cards):
    for name, text in cards.items():
        body = text.split("\n---\n", 1)[1]
        parts = re.split(r"(?m)^#+ (.*)$", body)[1:]
        for title, content in zip(parts[::2], parts[1::2], strict=True):
            assert re.sub(r"<!--.*?-->", "", content).strip(), f"{name}: nothing under {title!r}"
        for table in re.findall(r"(?m)(?:^\|.*\n)+", body):
            assert re.match(r"\|.*\n\|[-|]+\|\n\|", table), f"{name}: a table without a head or a row: {table}"
        assert "None" not in body and "nan" not in body.lower().split(), name


def test_what_a_template_has_is_shown_only_when_it_was_measured(cards):
    assert "## Results" not in cards["bare adapter"] and "Hyper-parameters" not in cards["bare adapter"]
    assert "## Results" in cards["adapter with losses"] and "| Math | 2.0000 -> 1.5000 |" in cards["adapter"]
    assert "3 steps on 2 processes, 61 s, final loss 0.5000" in cards["adapter"]
    assert "7 rows, from ant, bee" in cards["adapter"] and "learning_rate: 0.003" in cards["adapter"]
    assert "Measured on" not in cards["bare router"] and "Measured on the split `test`" in cards["router"]


def test_a_relative_folder_is_no_id_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "models" / "base").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    report = {
        "dataset": "user/sft", "teachers": [], "rows": 7, "model": "models/base", "method": "lora", "world_size": 1,
        "steps": 3, "final_loss": None, "seconds": None, "settings": {},
    }  # fmt: skip
    write_report("out", report)
    monkeypatch.chdir("/")
    write_adapter_card(tmp_path / "out")
    data = ModelCard(_text(tmp_path / "out")).data
    assert data.base_model is None and data.datasets == ["user/sft"]


def test_metadata_is_what_the_hub_understands(cards):
    router = ModelCard(cards["router"]).data
    assert router.library_name == "fusion_hf" and router.pipeline_tag == "text-classification"
    first = router.eval_results[0]
    assert (first.dataset_type, first.dataset_split, first.metric_type) == ("user/bench", "test", "reward")
    assert {r.metric_type for r in router.eval_results} == {"reward", "performance", "aiq"}
    assert ModelCard(cards["bare router"]).data.eval_results is None
    adapter = ModelCard(cards["adapter"]).data
    assert adapter.base_model == "user/base" and adapter.datasets == ["user/sft"] and adapter.library_name == "peft"
    assert [r.metric_value for r in adapter.eval_results] == [0.5, 0.5]
    dataset = DatasetCard(cards["dataset"]).data
    assert [c["config_name"] for c in dataset.configs] == ["all", "gsm8k", "squad", "tasks"]
    assert dataset.configs[0]["default"] is True and "fusion_hf" in dataset.tags
    for name in ("sft", "templates", "dataset"):
        assert "fusion_hf" in DatasetCard(cards[name]).data.tags


def test_every_card_has_one_snippet_that_names_its_place(cards):
    for name, text in cards.items():
        [snippet] = re.findall(r"```python\n(.*?)```", text, re.S)
        compile(snippet, name, "exec")
        assert PLACE in snippet or "user/" in snippet, name


def test_every_template_is_rendered_somewhere(cards):
    used = {name.split()[-1] for name in cards} - {"losses"} | {"fused"}  # see test_fused
    included = {"made"}  # by the others; see test_made
    assert {p.name.removesuffix(".md.jinja") for p in (ROOT / "model_cards").iterdir()} == used | included


def test_a_changed_card_is_known(cards):
    for name, text in cards.items():
        assert untouched(text), name
        assert not untouched(text.replace("# ", "# My ", 1)) and not untouched(text + "More.\n")
        assert untouched(sign(text + "More.\n"))
    assert not untouched("# By hand\n")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("base_model: /home/me/encoder", "base_model: expected a Hub id such as user/name, found '/home/me/encoder'"),
        ("datasets: [a/b/c]", "datasets: expected a Hub id"),
        ("tags: [1, 2]", "tags: expected a list of texts, found"),
        ("- just a list", "its metadata cannot be read"),
        ("model-index: [{name: x, results: [{task: {}}]}]", "its metadata cannot be read"),
        ("tags: [unclosed", "its metadata cannot be read"),
    ],
)
def test_metadata_that_the_hub_cannot_read_is_refused(metadata, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check_metadata(f"---\n{metadata}\n---\n# A card\n", "model")


def test_a_missing_value_is_an_error():
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        render_card("pipeline", {"tags": ["x"]}, repo_id="user/x")


def test_the_cards_that_ship_can_be_read():
    check_metadata(_text(sample_path()), "dataset")


def test_reasons_hold_no_signed_address():
    error = OSError("Client error '403' for url 'https://store.example/blob?X-Amz-Signature=abc&x=1'\nmore")
    assert hub_reason(error) == "Client error '403' for url 'https://store.example/blob"
    assert hub_reason(ValueError()) == "ValueError"
