"""A real GGUF file of a few thousand parameters, through every door that takes a model."""

import pytest
import torch
from tiny_llm import TEMPLATE, make_tiny_llm
from transformers import AutoModelForCausalLM, AutoTokenizer

from fusion_hf.errors import UserError
from fusion_hf.gguf import load_causal_lm, load_tokenizer, split_gguf
from fusion_hf.llms.backends import open_backend
from fusion_hf.llms.pool import LLM, load_pool

gguf = pytest.importorskip("gguf", reason="needs the extra gguf")
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def permuted(weight, heads):
    """llama.cpp keeps the rows of query and key heads in another order."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(folder, path, template=None):
    """The tiny LLM of a folder as llama.cpp's converter writes one: float32, and 8 bits where the rows allow it."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    config, writer = model.config, gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    words[-1] = "!!"  # a BPE needs a merge; the byte that it replaces is in no text here
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3, 3] + [1] * (len(words) - 2))
    writer.add_token_merges(["! !"])
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_add_bos_token(False)
    if template:
        writer.add_chat_template(template)
    for name, weight in model.state_dict().items():
        parts, array = name.removeprefix("model.").removesuffix(".weight").split("."), weight.numpy()
        if parts[0] == "layers":
            short = NAMES[".".join(parts[2:])]
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(short)
            array = permuted(array, heads) if heads else array
            short = f"blk.{parts[1]}.{short}"
        else:
            short = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}[parts[0]]
        kind = gguf.GGMLQuantizationType.Q8_0 if "ffn" in short and array.ndim == 2 else None
        if kind is not None:
            array = gguf.quantize(array, kind)
        writer.add_tensor(f"{short}.weight", array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = make_tiny_llm(tmp_path_factory.mktemp("tiny"), head_dim=16)
    return folder, write_gguf(folder, tmp_path_factory.mktemp("gguf") / "tiny.gguf", TEMPLATE)


def answers(**fields):
    options = {"max_tokens": 12} | fields.pop("options", {})
    backend = open_backend(LLM("near", "small", 0, 0, backend="transformers", options=options, **fields))
    chats = [[{"role": "user", "content": f"{i} apples?"}] for i in range(5)]
    return [reply.text for reply in backend.generate_batch(chats)], backend


def test_the_weights_are_those_of_the_model_and_can_be_saved(tiny, tmp_path):
    folder, file = tiny
    model, plain = load_causal_lm(str(file)), AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32 and model.config.eos_token_id == 1
    for (name, ours), (_, theirs) in zip(model.named_parameters(), plain.named_parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=0.02 if "mlp" in name else 0), name
    tokenizer = load_tokenizer(str(file))
    assert tokenizer.chat_template == TEMPLATE
    text = "Two  apples, 12 + 30?"
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again.model.layers[0].mlp.up_proj.weight, model.model.layers[0].mlp.up_proj.weight)


def test_a_pool_names_the_file_by_its_path_or_in_its_folder(tiny, tmp_path):
    file = tiny[1]
    folder = file.parent
    by_path, backend = answers(model=str(file))
    assert by_path == answers(model=str(folder), options={"gguf_file": "tiny.gguf"})[0]
    assert backend.ends == [1] and backend.tokenizer.chat_template == TEMPLATE
    entry = "{name: m, size: small, input_price: 0, output_price: 0, backend: transformers, model: tiny.gguf}"
    (folder / "pool.yaml").write_text(f"llms:\n- {entry}\n")
    assert load_pool(folder / "pool.yaml")["m"].model == str(file)


def test_a_base_model_without_a_template_reads_plain_text_until_a_stop(tiny, tmp_path):
    folder, _ = tiny
    file = write_gguf(folder, tmp_path / "base.gguf")
    texts, backend = answers(model=str(file))
    assert backend.tokenizer.chat_template is None
    ids = backend.encode([[{"role": "user", "content": "1 apples?"}]])
    assert backend.tokenizer.decode(ids[0]) == "1 apples?"
    assert len(texts[0]) > 3
    stopped, _ = answers(model=str(file), options={"stop": [texts[0][2]]})
    assert stopped[0] == texts[0][: texts[0].index(texts[0][2])]
    _, backend = answers(model=str(file), options={"chat_template": TEMPLATE})
    ids = backend.encode([[{"role": "user", "content": "1 apples?"}]])
    assert backend.tokenizer.decode(ids[0]) == "1 apples?\nAnswer:"


def test_thought_prompts_go_to_it_too(tiny):
    from fusion_hf.thoughts.answer import think_with

    (thought,) = think_with("none", ["Two apples?"], str(tiny[1]), style="zero-shot", max_tokens=8)
    assert thought.text and thought.error is None


def test_a_student_is_trained_on_it_merged_and_asked(tiny, tmp_path):
    pytest.importorskip("trl")
    import pandas as pd

    from fusion_hf.distill.base_model import read_base
    from fusion_hf.distill.merge import merge
    from fusion_hf.distill.sft import main, parse
    from fusion_hf.distill.student import student_llm

    pd.DataFrame({"prompt": ["1 + 1?"] * 4, "completion": ["2"] * 4}).to_parquet(tmp_path / "sft.parquet")
    out = tmp_path / "adapter"
    main(*parse(
        f"--dataset_name {tmp_path / 'sft.parquet'} --model_name_or_path {tiny[1].parent} --gguf_file tiny.gguf"
        f" --output_dir {out}"
        " --use_peft --use_cpu --bf16 false --max_steps 1 --per_device_train_batch_size 2 --report_to none"
        " --disable_tqdm true".split()
    ))  # fmt: skip
    assert read_base(out) == str(tiny[1])
    llm = student_llm(out)
    assert llm.name == "tiny.gguf+adapter" and open_backend(llm).generate_batch(
        [[{"role": "user", "content": "1 + 1?"}]]
    )
    merged = AutoModelForCausalLM.from_pretrained(merge(out, tmp_path / "merged"))
    assert sum(p.numel() for p in merged.parameters()) == sum(
        p.numel() for p in load_causal_lm(str(tiny[1])).parameters()
    )


def test_what_is_not_there_is_told_in_one_line(tiny, tmp_path):
    assert split_gguf("org/repo") == ("org/repo", None) and split_gguf("a/b.gguf") == ("a", "b.gguf")
    with pytest.raises(UserError, match=r"expected the GGUF file other.gguf, found tiny.gguf"):
        load_causal_lm(str(tiny[1].parent), "other.gguf")
    with pytest.raises(UserError, match="expected a GGUF file, found nothing there"):
        load_tokenizer(str(tmp_path / "no" / "x.gguf"))
