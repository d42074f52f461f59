"""The training stages: tokenizer, warm-up with its gate, shared base, members. Each writes a folder and a record."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from .mixtures import BASE, FLEET, Stream
from .train import group_rank, group_size, grow, new_model, train

SEED = 7
WARMUP_PARTS, WARMUP_TOKENS = 8, 2e5
GATE = 0.95
"""Least share of held-out recall drills whose letter must be right: without it multiple choice stays at chance."""


def load_tokenizer(out: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(out / "tokenizer")


def load_model(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def answer(model: LlamaForCausalLM, tokenizer, prompts: list[str], new_tokens: int, size: int = 64) -> list[str]:
    """Greedy answers, for checks during training; the log itself is made by the project's collector."""
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        turns = [[{"role": "user", "content": prompts[i]}] for i in rows]
        texts = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        ids = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=new_tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        for i, text in zip(rows, tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :]), strict=True):
            answers[i] = text.split(tokenizer.eos_token)[0].strip()
    return answers


def letters_right(model: LlamaForCausalLM, tokenizer, count: int = 200) -> float:
    """Share of held-out drills in which the model names the letter that its option's text has in the prompt."""
    stream = Stream(BASE, seed=SEED + 1000)
    drills = [stream.recall(options_only=True) for _ in range(count)]
    given = answer(model, tokenizer, [prompt for prompt, _ in drills], new_tokens=8)
    letter = re.compile(r"\([A-E]\)")
    return (
        sum(letter.findall(text)[-1:] == letter.findall(gold) for text, (_, gold) in zip(given, drills, strict=True))
        / count
    )


def fit_warmup(out: Path, log: Callable[[str], None], scale: float = 1.0) -> None:
    """Recall drills until the gate opens, or for as long as the budget allows (the share reached is in the record).

    Processes of one group (see `train.join_group`) share the work.
    """
    tokenizer = load_tokenizer(out)
    torch.manual_seed(SEED)
    model = new_model(tokenizer, BASE.layers)
    log(f"base: {model.num_parameters()} parameters, {len(tokenizer)} tokens in the vocabulary")
    drills, records = Stream(BASE, SEED + group_rank()), []
    for part in range(WARMUP_PARTS):
        tokens, seed = WARMUP_TOKENS * scale / group_size(), SEED + group_rank() + 10 * part
        size = 2048 // group_size()
        records.append(
            train(model, tokenizer, lambda _: drills.recall(), tokens, BASE.rate, seed, size, log, decay=False)
        )
        right = letters_right(model, tokenizer)
        log(f"warm-up part {part}: loss {records[-1]['loss']}, letters right {right:.3f}")
        if right > GATE:
            break
    if group_rank() == 0:
        _save(model, tokenizer, out / "warmup", records, letters_right=right)


def fit_base(out: Path, log: Callable[[str], None], scale: float = 1.0) -> None:
    """All tasks and drills, on the warm-up. Processes of one group (see `train.join_group`) share the work."""
    tokenizer = load_tokenizer(out)
    model = load_model(out / "warmup")
    rank = group_rank()
    stream = Stream(BASE, SEED + 50 + rank)
    tokens = BASE.tokens * 1e6 * scale / group_size()
    record = train(
        model,
        tokenizer,
        lambda progress: stream.example(contexts=progress > 0.35),
        tokens,
        BASE.rate,
        SEED + rank,
        4096 // group_size(),
        log,
    )
    if rank == 0:
        right = letters_right(model, tokenizer)
        log(f"base: letters right {right:.3f}")
        _save(model, tokenizer, out / "base", [record], letters_right=right)


def fit_member(name: str, out: Path, log: Callable[[str], None], scale: float = 1.0) -> None:
    """Continue the base as the member `name`."""
    member = FLEET[name]
    tokenizer = load_tokenizer(out)
    seed = SEED + 100 * (1 + list(FLEET).index(name))
    torch.manual_seed(seed)
    model = grow(load_model(out / "base"), member.layers)
    stream = Stream(member, seed)
    tokens = member.tokens * 1e6 * scale
    record = train(model, tokenizer, lambda _: stream.example(), tokens, member.rate, seed, 2048, log)
    right = letters_right(model, tokenizer)
    log(f"{name}: {model.num_parameters()} parameters, letters right {right:.3f}")
    _save(model, tokenizer, out / name, [record], letters_right=right)


def _save(model, tokenizer, folder: Path, records: list[dict], **extra) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    total = {key: round(sum(r[key] for r in records), 1) for key in ("tokens", "steps", "wall_s", "cpu_s")}
    total |= {"loss": records[-1]["loss"], "parameters": model.num_parameters(), **extra}
    (folder / "training.json").write_text(json.dumps(total, indent=1) + "\n", encoding="utf-8")
