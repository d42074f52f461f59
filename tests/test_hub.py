"""Pushing to a loopback Hub: round trips of every kind, and what is refused. See test_hub_trouble.py for the rest."""

import json
import re

import hub_double
import pyarrow.compute as pc
import pytest
from conftest import make_rows
from huggingface_hub import ModelCard
from test_fused import PLAN, QUERIES, make, parts  # noqa: F401  a fixture
from thought_toys import template_table, unit
from tiny_bert import tiny_bert

from fusion_hf import metrics
from fusion_hf.cards import untouched
from fusion_hf.distill.report import write_adapter_card
from fusion_hf.errors import UserError
from fusion_hf.hub import kind_of, planned, push
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import Log, read_log, write_bench
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers.card import write_router_card
from fusion_hf.thoughts import TemplateIndex

SNIPPET = re.compile(r"```python\n(.*?)```", re.S)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    tables = {s: validate(rows_to_table(make_rows(24, split=s))) for s in ("train", "test")}
    return write_bench(tables, tmp_path_factory.mktemp("hub") / "bench")


@pytest.fixture(scope="module")
def router(bench, tmp_path_factory):
    from fusion_hf.routers import fit_router

    folder = tmp_path_factory.mktemp("hub") / "router"
    fit_router("knn", RoutingData.from_table(read_log(bench, "train")), encoder="none").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    import numpy as np

    index = TemplateIndex(template_table(12), unit(np.random.default_rng(0), 12, 384), "offline")
    return index.save_pretrained(tmp_path_factory.mktemp("hub") / "templates")


def pushed(writer, *argv):
    status, out, err = writer.cli("push", *argv)
    assert status == 0, err
    return out.strip()


def card_of(kind, repo_id):
    return hub_double.REPOS[kind, repo_id]["files"]["README.md"][0].decode()


def run_snippet(reader, card):
    """What the usage snippet of a pushed card prints."""
    [snippet] = SNIPPET.findall(card)
    return reader.out(snippet)


def test_a_dataset_round_trips(bench, writer, reader):
    assert "commit" in pushed(writer, bench, "user/bench")
    code = """
from datasets import load_dataset, get_dataset_config_names
import fusion_hf, sys
print(len(load_dataset("user/bench", "gsm8k", split="train")), get_dataset_config_names("user/bench"))
one = load_dataset("user/bench", "squad", split="test", streaming=True)
print(next(iter(one))["llm"])
log = fusion_hf.read_log("user/bench", "test")
print(log.num_rows, hash(tuple(log["query_id"].to_pylist())) and sorted(log["response"].to_pylist())[0])
print(log.equals(fusion_hf.read_log(sys.argv[1], "test")))
"""
    out = reader.out(f"import sys; sys.argv = ['', {str(bench)!r}]\n" + code)
    assert out.splitlines() == ["36 ['all', 'gsm8k', 'squad', 'tasks']", "ant", "72 #### 1", "True"]
    assert run_snippet(reader, card_of("datasets", "user/bench")).split() == ["ant", "1.0"]


def test_a_router_round_trips_with_its_figures(router, bench, writer, reader):
    status, _, err = writer.cli("eval-router", router, bench, "--json", router / "eval.json")
    assert status == 0, err
    before = sorted(p.name for p in router.iterdir())
    pushed(writer, router, "user/router")
    assert sorted(p.name for p in router.iterdir()) == before  # the folder is not touched
    card = card_of("models", "user/router")
    evaluation = json.loads((router / "eval.json").read_text())
    assert f"| performance | {evaluation['scenarios']['performance']['reward']:.4f} [" in card
    assert "`ant`, `bee`, `cow`" in card
    assert run_snippet(reader, card) == run_snippet(reader, card.replace("user/router", str(router)))
    code = f"""
import fusion_hf, torch
from transformers import AutoModel
from huggingface_hub import ModelCard
here, there = AutoModel.from_pretrained({str(router)!r}), AutoModel.from_pretrained("user/router")
assert all(torch.equal(a, b) for a, b in zip(here.state_dict().values(), there.state_dict().values(), strict=True))
queries = ["how many apples are 3 and 4?", "who is it?"]
print([d.candidate for d in there.route(queries)] == [d.candidate for d in here.route(queries)])
data = ModelCard.load("user/router").data
print(data.library_name, data.tags, len(data.eval_results), data.eval_results[0].metric_value)
"""
    same, metadata = reader.out(code).splitlines()
    assert same == "True"
    first = evaluation["scenarios"]["performance"]["reward"]
    assert metadata == f"fusion_hf ['fusion_hf', 'llm-routing'] 7 {first}"


def test_a_log_from_the_hub_is_named_on_the_card(bench, writer, tmp_path):
    pushed(writer, bench, "user/named-bench")
    for argv in (
        ["train-router", "user/named-bench", "--kind", "linear", "--encoder", "none", "--out", tmp_path / "r"],
        ["eval-router", tmp_path / "r", "user/named-bench", "--json", tmp_path / "r" / "eval.json"],
        ["push", tmp_path / "r", "user/named-router"],
    ):
        status, _, err = writer.cli(*argv)
        assert status == 0, err
    data = ModelCard(card_of("models", "user/named-router")).data
    assert data.datasets == ["user/named-bench"] and data.eval_results[0].dataset_type == "user/named-bench"


def test_figures_of_another_router_do_not_get_onto_a_card(router, bench, tmp_path, capsys):
    import shutil

    from fusion_hf.routers import fit_router

    shutil.copytree(router, tmp_path / "router")
    write_router_card(tmp_path / "router", evaluation={"scenarios": {}, "split": "test", "queries": 24, "aiq": 0.5})
    assert "Measured on the split `test` (24 queries)" in (tmp_path / "router" / "README.md").read_text()
    fit_router("cheapest", RoutingData.from_table(read_log(bench, "train")), encoder="none").save_pretrained(
        tmp_path / "router"
    )
    write_router_card(tmp_path / "router")
    assert "Measured on" not in (tmp_path / "router" / "README.md").read_text()
    assert "measured another router" in capsys.readouterr().err


def test_templates_round_trip(templates, writer, reader):
    pushed(writer, templates, "user/templates")
    assert len(run_snippet(reader, card_of("datasets", "user/templates")).splitlines()) == 2
    code = f"""
import numpy as np
from fusion_hf import TemplateIndex
from datasets import load_dataset
here, there = TemplateIndex.from_pretrained({str(templates)!r}), TemplateIndex.from_pretrained("user/templates")
print(here.table.equals(there.table), np.array_equal(here.embeddings, there.embeddings), there.encoder_name)
print(load_dataset("user/templates", "thought_templates", split="train")["template"][3])
"""
    assert reader.out(code).splitlines() == ["True True offline", "plan 3"]


def test_training_data_round_trips(bench, writer, reader, tmp_path):
    status, _, err = writer.cli("sft-data", bench, "--top-k", "2", "--out", tmp_path / "sft", "--push", "user/sft")
    assert status == 0, err
    code = f"""
from datasets import load_dataset
here, there = load_dataset({str(tmp_path / "sft")!r}, split="train"), load_dataset("user/sft", split="train")
print(len(there), here.to_list() == there.to_list(), there.column_names[:2])
"""
    assert reader.out(code).splitlines() == ["24 True ['prompt', 'completion']"]
    assert run_snippet(reader, card_of("datasets", "user/sft")).startswith("train ")


def test_an_adapter_round_trips_on_its_base(writer, reader, tmp_path):
    from peft import LoraConfig, get_peft_model
    from tiny_llm import make_tiny_llm
    from transformers import AutoModelForCausalLM

    base = make_tiny_llm(tmp_path / "base")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.5)
    model.save_pretrained(tmp_path / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / "adapter" / name).write_bytes((base / name).read_bytes())
    (tmp_path / "adapter" / "training_args.bin").write_bytes(b"pickle")
    report = {
        "dataset": str(tmp_path), "teachers": ["ant"], "rows": 7, "model": str(base), "method": "lora",
        "world_size": 1, "steps": 3, "final_loss": 0.5, "seconds": 61.4, "settings": {"learning_rate": 0.003},
    }  # fmt: skip
    (tmp_path / "adapter" / "train_report.json").write_text(json.dumps(report))
    row = {"queries": 4, "base": 0.25, "performance": 0.5, "difference": 0.25, "ci95": [0.0, 0.5]}
    results = [{**row, "mode": "direct", "split": "test", "by_task": {"gsm8k": row}}]
    (tmp_path / "adapter" / "results.json").write_text(json.dumps(results))
    write_adapter_card(tmp_path / "adapter")
    status, _, err = writer.cli("push", tmp_path / "adapter", "user/adapter")
    assert status == 2 and "base_model, such as user/base" in err
    pushed(writer, base, "user/base")
    pushed(writer, tmp_path / "adapter", "user/adapter", "--base-model", "user/base")
    files = hub_double.REPOS["models", "user/adapter"]["files"]
    assert "training_args.bin" not in files and "README.md" in files
    assert not [name for name, (data, _) in files.items() if str(tmp_path).encode() in data]
    card = card_of("models", "user/adapter")
    assert "base_model: user/base" in card and "| gsm8k | 4 | 0.250 | 0.500 | +0.250 |" in card
    code = f"""
import torch
from transformers import AutoModelForCausalLM
here, there = (AutoModelForCausalLM.from_pretrained(p) for p in ({str(tmp_path / "adapter")!r}, "user/adapter"))
ids = torch.arange(2, 40)[None]
a, b, base = (m(ids).logits for m in (here, there, AutoModelForCausalLM.from_pretrained("user/base")))
print(torch.equal(a, b), not torch.allclose(a, base))
"""
    assert reader.out(code).split() == ["True", "True"]
    run_snippet(reader, card)


def test_an_adapter_of_a_relative_folder_needs_its_base_named(writer, tmp_path):
    """From here `models/base` looks like an id of the Hub; the report says that it was a folder."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "models/base"}))
    report = {"model": "models/base", "dataset": "user/sft", "local": ["model"], "settings": {}}
    (tmp_path / "train_report.json").write_text(json.dumps(report))
    status, _, err = writer.cli("push", tmp_path, "user/relative")
    assert status == 2 and "its base model 'models/base' is a folder of this machine" in err


def test_a_router_says_nothing_about_the_machine_that_trained_it(bench, tmp_path):
    from fusion_hf.encoders.encoder import load_encoder
    from fusion_hf.routers import fit_router

    encoder = load_encoder(tiny_bert(tmp_path / "encoder"))
    encoder.model.name_or_path = "a-small-bert"
    router = fit_router("knn", RoutingData.from_table(read_log(bench, "train")), encoder=encoder)
    router.save_pretrained(tmp_path / "router")
    for file in (tmp_path / "router").glob("*.json"):
        assert str(tmp_path) not in file.read_text(), file.name


def test_a_pipeline_round_trips(templates, writer, reader, tmp_path):
    from tiny_llm import make_tiny_llm
    from transformers import pipeline

    base = make_tiny_llm(tmp_path / "base", context=2048)
    pipeline("thought-fusion", model=str(base), templates=str(templates)).save_pretrained(tmp_path / "thinker")
    assert kind_of(tmp_path / "thinker") == ("pipeline", "model")
    pushed(writer, tmp_path / "thinker", "user/thinker")
    run_snippet(reader, card_of("models", "user/thinker"))
    load = "import fusion_hf; from transformers import pipeline\n"
    load += f"p = pipeline('thought-fusion', {str(tmp_path / 'thinker')!r})"
    assert "/commit/" in writer.out(load + "; print(p.push_to_hub('user/thinker2'))")
    repos = [hub_double.REPOS["models", f"user/{name}"]["files"] for name in ("thinker", "thinker2")]
    assert set(repos[0]) == set(repos[1]) > {
        "thought_templates/embeddings.safetensors", "thought_templates/encoder/model.safetensors",
    }  # fmt: skip
    code = "import fusion_hf; from transformers import pipeline\nask = 'What is 7 * 8?'\n" + "\n".join(
        f"print(repr(pipeline('thought-fusion', model={where!r}, device='cpu')(ask, k=2, do_sample=False, "
        "max_new_tokens=9, return_prompt=True)))"
        for where in (str(tmp_path / "thinker"), "user/thinker")
    )
    here, there = reader.out(code).splitlines()
    assert here == there and "plan" in there


def test_objects_push_themselves_with_a_card(router, templates, writer, reader):
    code = f"""
import fusion_hf
from transformers import AutoModel
router = AutoModel.from_pretrained({str(router)!r})
print(router.push_to_hub("user/own-router", commit_message="mine", private=True))
router.save_pretrained({str(router.parent / "saved-too")!r}, push_to_hub=True)
fusion_hf.TemplateIndex.from_pretrained({str(templates)!r}).push_to_hub("user/own-templates", revision="v2")
"""
    assert "/commit/" in writer.out(code)
    repo = hub_double.REPOS["models", "user/own-router"]
    assert repo["private"] and repo["log"][-1]["message"] == "mine"
    for kind, name in (("models", "own-router"), ("models", "saved-too")):
        assert f'from_pretrained("user/{name}")' in card_of(kind, f"user/{name}")
    v2 = hub_double.REPOS["datasets", "user/own-templates"]
    assert "README.md" not in v2["files"] and "README.md" in v2["history"][v2["refs"]["v2"]]
    code = "from fusion_hf import TemplateIndex; print(len(TemplateIndex.from_pretrained('user/own-templates', 'v2')))"
    assert reader.out(code).strip() == "12"


def test_branches_messages_and_pull_requests(router, writer, reader):
    pushed(writer, router, "user/branched", "--revision", "exp/1", "--message", "first try")
    repo = hub_double.REPOS["models", "user/branched"]
    assert set(repo["files"]) == {".gitattributes"} and repo["log"][-1] == {
        "ref": "exp/1", "sha": repo["refs"]["exp/1"], "message": "first try",
    }  # fmt: skip
    load = "import fusion_hf; from transformers import AutoModel\nAutoModel.from_pretrained('user/branched', revision="
    reader.out(load + "'exp/1')")
    assert pushed(writer, router, "user/branched", "--pull-request").endswith("/discussions/1")
    assert set(repo["files"]) == {".gitattributes"} and "config.json" in repo["history"][repo["refs"]["refs/pr/1"]]
    # A branch that is there already, and a pull request that is open.
    pushed(writer, router, "user/branched", "--revision", "exp/1", "--message", "second")
    pushed(writer, router, "user/branched", "--revision", "refs/pr/1")
    reader.out(load + "'refs/pr/1')")
    with pytest.raises(UserError, match="expected revision or pull_request, found both"):
        push(router, "user/branched", revision="x", pull_request=True)


def test_what_is_there_already_is_not_sent_again(bench, writer, tmp_path):
    import shutil

    shutil.copytree(bench, tmp_path / "bench")
    pushed(writer, tmp_path / "bench", "user/again")
    repo = hub_double.REPOS["datasets", "user/again"]
    start, commits = len(hub_double.REQUESTS), repo["commits"]
    pushed(writer, tmp_path / "bench", "user/again")
    assert repo["commits"] == commits and not [r for r in hub_double.REQUESTS[start:] if r.startswith("PUT")]
    # A task that the folder no longer holds goes from the repository; files of other origin stay.
    hub_double.new_commit(repo, "main", repo["files"] | {"notes.md": (b"mine", False)}, "by hand")
    log = Log(tmp_path / "bench")
    log.map(lambda table: table.filter(pc.not_equal(table["task"], "squad"))).write(tmp_path / "bench", replace=True)
    pushed(writer, tmp_path / "bench", "user/again")
    assert not [f for f in repo["files"] if "squad" in f] and {"notes.md", "README.md"} <= set(repo["files"])


def test_a_card_that_somebody_changed_is_kept(router, writer, tmp_path):
    import shutil

    shutil.copytree(router, tmp_path / "mine")
    write_router_card(tmp_path / "mine")
    card = tmp_path / "mine" / "README.md"
    card.write_text(card.read_text().replace("# knn router", "# The best router"))
    pushed(writer, tmp_path / "mine", "user/mine")
    assert "# The best router" in card_of("models", "user/mine")
    assert 'from_pretrained("user/mine")' in card_of("models", "user/mine")
    # One that nobody changed is signed again with the repository's name in it.
    assert untouched(card_of("datasets", "user/bench")) and "user/bench" in card_of("datasets", "user/bench")
    card.write_text("---\nbase_model: /home/me/encoder\n---\n# Mine\n")
    status, _, err = writer.cli("push", tmp_path / "mine", "user/mine")
    assert status == 2 and "base_model: expected a Hub id such as user/name, found '/home/me/encoder'" in err


def test_only_what_belongs_to_the_folder_is_pushed(router, writer, tmp_path):
    import shutil

    shutil.copytree(router, tmp_path / "router")
    (tmp_path / "secret.txt").write_text("of this machine")
    folder = tmp_path / "router"
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "outside").symlink_to(tmp_path)
    (folder / ".git").mkdir()
    for name in (".git/config", ".env", "half.tmp", "old.pkl", "note.txt"):
        (folder / name).write_text("x")
    plan = planned(folder)
    assert plan["links"] == ["outside", "link.txt"] and plan["kind"] == "router"
    status, out, _ = writer.cli("push", folder, "user/clean", "--dry-run")
    assert status == 0 and "not pushed, a link: link.txt" in out and "note.txt" in out
    assert ("models", "user/clean") not in hub_double.REPOS
    pushed(writer, folder, "user/clean")
    files = set(hub_double.REPOS["models", "user/clean"]["files"])
    assert "note.txt" in files and not files & {"link.txt", ".env", "half.tmp", "old.pkl", ".git/config"}
    assert not [name for name in files if name.startswith("outside")]


def test_a_card_that_promises_missing_files_is_refused(bench, writer, tmp_path):
    import shutil

    shutil.copytree(bench, tmp_path / "bench")
    shutil.rmtree(tmp_path / "bench" / "tasks")
    status, _, err = writer.cli("push", tmp_path / "bench", "user/promise")
    assert status == 2 and "config 'tasks' reads tasks/train-" in err and ", and no file fits" in err
    assert ("datasets", "user/promise") not in hub_double.REPOS


def test_templates_that_only_this_machine_could_search_are_refused(templates, writer, tmp_path):
    import shutil

    shutil.copytree(templates, tmp_path / "templates")
    file = tmp_path / "templates" / "thought_templates" / "index_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"encoder": str(tmp_path)}))
    status, _, err = writer.cli("push", tmp_path / "templates", "user/mine-only")
    assert status == 2 and "the encoder of its templates is a folder of this machine" in err
    # With the encoder beside them anyone can, and the name of the folder stays here.
    TemplateIndex.from_pretrained(templates).save_pretrained(tmp_path / "whole", self_contained=True)
    file = tmp_path / "whole" / "thought_templates" / "index_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"encoder": str(tmp_path)}))
    pushed(writer, tmp_path / "whole", "user/whole")
    files = hub_double.REPOS["datasets", "user/whole"]["files"]
    assert {"thought_templates/encoder/model.safetensors", "thought_templates/encoder/tokenizer.json"} <= set(files)
    assert str(tmp_path) not in str(files["thought_templates/index_config.json"])


@pytest.mark.parametrize("secret", ["hf_" + "A1" * 17, "hf_" + "x" * 20])
def test_a_token_is_never_pushed(router, writer, tmp_path, secret):
    import shutil

    shutil.copytree(router, tmp_path / "router")
    (tmp_path / "router" / "notes.txt").write_text(f"token: {secret}")
    status, out, err = writer.cli("push", tmp_path / "router", "user/leak")
    assert status == 2 and "notes.txt: it seems to hold an access token" in err and secret not in err + out
    assert ("models", "user/leak") not in hub_double.REPOS


def test_kinds(bench, router, templates, tmp_path):
    assert kind_of(bench) == ("dataset", "dataset")
    assert kind_of(router) == ("router", "model")
    assert kind_of(templates) == ("templates", "dataset")
    for name in metrics.METRICS:
        assert kind_of(metrics.path(name)) == ("metric", "space")
    with pytest.raises(UserError, match="found an empty folder"):
        kind_of(tmp_path)
    with pytest.raises(UserError, match="nothing there"):
        push(tmp_path / "none", "user/x")
    with pytest.raises(UserError, match="expected a Hub id such as user/name"):
        push(router, "not an id")


def test_a_fused_system_is_pushed_whole(writer, reader, parts, tmp_path):  # noqa: F811
    folder = make(tmp_path / "fused", parts)
    assert kind_of(folder) == ("fused", "model")
    (folder / "routers" / "old").mkdir()
    (folder / "routers" / "old" / "config.json").write_text("{}")
    pushed(writer, folder, "user/whole", "--private")
    repo = hub_double.REPOS["models", "user/whole"]
    assert "routers/old/config.json" in repo["files"] and repo["private"]
    (folder / "routers" / "old" / "config.json").unlink()
    pushed(writer, folder, "user/whole")
    assert "routers/old/config.json" not in repo["files"]
    code = f"import sys; sys.argv = ['', %r, {json.dumps(QUERIES)!r}]\n{PLAN}"
    assert reader.out(code % "user/whole") == reader.out(code % str(folder)) != ""
    assert run_snippet(reader, card_of("models", "user/whole"))
