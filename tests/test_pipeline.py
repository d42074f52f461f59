"""``pipeline("thought-fusion")`` on a tiny real model: prompts, batches, chats, contexts."""

# ruff: noqa: F811  fixtures

import itertools
import logging
import warnings

import pytest
from thought_pipe import CONTEXT, QUERIES, base_model, index, model, pipe, task, texts, thought_pipeline  # noqa: F401
from transformers import (
    GenerationConfig,
    TextStreamer,
    pipeline,
)
from transformers.pipelines.pt_utils import KeyDataset

from fusion_hf.errors import UserError
from fusion_hf.thoughts import build_prompt
from fusion_hf.thoughts.pipeline import ThoughtFusionPipeline, register

pytestmark = pytest.mark.filterwarnings("ignore:.*pad_token_id.*")


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
