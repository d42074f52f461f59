"""Training of the fleet: streams to batches, Muon for matrices and AdamW for the rest, growth by identity layers."""

import copy
import math
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Example = tuple[str, str]
Encoded = tuple[list[int], int]


def new_model(tokenizer: PreTrainedTokenizerFast, layers: int, width: int = 128) -> LlamaForCausalLM:
    """A Llama with random weights."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.04,
    )
    model = LlamaForCausalLM(config)
    for layer in model.model.layers[1:]:
        # Keys equal queries at first, so that a token attends to its own earlier occurrence (mimetic initialisation,
        # Trockman and Kolter, 2023): copying from the prompt is learned in a fraction of the steps.
        torch.nn.init.orthogonal_(layer.self_attn.q_proj.weight)
        with torch.no_grad():
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    return model


def grow(model: LlamaForCausalLM, layers: int) -> LlamaForCausalLM:
    """A copy with more layers; a new one is a copy of an old one whose outputs are zero: the identity."""
    model = copy.deepcopy(model)
    while len(model.model.layers) < layers:
        place = len(model.model.layers) - 1
        layer = copy.deepcopy(model.model.layers[place - 1])
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
        model.model.layers.insert(place, layer)
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = index
    model.config.num_hidden_layers = layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = ["full_attention"] * layers
    return model


def join_group(meeting: Path, rank: int, size: int) -> None:
    """Join the processes that train one model together: each has its own stream, and gradients are averaged.

    On a busy machine this is far quicker than two threads in one process, which wait for each other in every operation.
    """
    dist.init_process_group("gloo", init_method=f"file://{meeting.resolve()}", rank=rank, world_size=size)


def group_rank() -> int:
    """Place of this process in its group; 0 alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def group_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def _average_gradients(params: list[torch.nn.Parameter]) -> None:
    if not dist.is_initialized():
        return
    flat = torch.cat([p.grad.flatten() for p in params])
    dist.all_reduce(flat)
    for p, part in zip(params, flat.div_(group_size()).split([p.numel() for p in params]), strict=True):
        p.grad.copy_(part.view_as(p))


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised update (Jordan et al., 2024); matrices of one shape are done together."""

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.01):
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                updates = []
                for p in params:
                    if "momentum" not in self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                    buffer = self.state[p]["momentum"].lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(buffer, group["momentum"]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(params, orthogonal(torch.stack(updates)), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonal(x: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Nearest semi-orthogonal matrices of a stack [k, n, m], by quintic Newton-Schulz iterations."""
    transposed = x.shape[1] > x.shape[2]
    x = x.mT if transposed else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if transposed else x


def encode(tokenizer: PreTrainedTokenizerFast, examples: list[Example]) -> list[Encoded]:
    """(tokens, number of tokens without a loss) of each example in the chat template; too long ones are dropped."""
    prompts = [prompt + "\nAnswer:" if prompt else "" for prompt, _ in examples]
    answers = [" " + answer + tokenizer.eos_token for _, answer in examples]
    heads = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    tails = tokenizer(answers, add_special_tokens=False)["input_ids"]
    return [(h + t, len(h)) for h, t in zip(heads, tails, strict=True) if len(h) + len(t) <= 700]


def batches(encoded: list[Encoded], size: int, rng: random.Random) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of about `size` tokens, of like lengths: (ids, labels), padded right, labels -100 where no loss is."""
    groups: list[list[Encoded]] = [[]]
    for example in sorted(encoded, key=lambda e: len(e[0])):
        if groups[-1] and len(example[0]) * (len(groups[-1]) + 1) > size:
            groups.append([])
        groups[-1].append(example)
    rng.shuffle(groups)
    for group in groups:
        width = max(len(ids) for ids, _ in group)
        ids = torch.zeros(len(group), width, dtype=torch.long)
        labels = torch.full((len(group), width), -100)
        for row, (tokens, start) in enumerate(group):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, start : len(tokens)] = ids[row, start : len(tokens)]
        yield ids, labels


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the labelled tokens; the head runs on these alone."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    target = labels[:, 1:]
    mask = target != -100
    return F.cross_entropy(model.lm_head(hidden[mask]), target[mask])


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    draw: Callable[[float], Example],
    tokens: float,
    rate: float,
    seed: int,
    batch_tokens: int = 4096,
    log: Callable[[str], None] = print,
    decay: bool = True,
    adam: float = 0.3,
) -> dict:
    """Train on `tokens` tokens of ``draw(progress)``.

    Args:
        rate: Peak learning rate of Muon; AdamW has `adam` times it. Linear warm-up, linear decay over the last 60 %.

    Returns:
        tokens, steps, wall and CPU seconds, mean loss of the last 100 steps.
    """
    params = list(model.parameters())
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    others = [p for p in params if id(p) not in chosen]
    optimizers = [Muon(matrices, rate), torch.optim.AdamW(others, rate * adam, betas=(0.9, 0.97), weight_decay=0.0)]
    rng = random.Random(seed)
    start, cpu = time.time(), _cpu_seconds()
    seen = steps = 0
    recent: list[float] = []
    model.train()
    total = math.ceil(tokens / batch_tokens)  # steps, not tokens: every process of a group must take as many
    while steps < total:
        examples = [draw(steps / total) for _ in range(1500)]
        for ids, labels in batches(encode(tokenizer, examples), batch_tokens, rng):
            factor = min(1.0, (steps + 1) / 30, max(0.03, (1 - steps / total) / 0.6) if decay else 1.0)
            for optimizer, peak in zip(optimizers, (rate, rate * adam), strict=True):
                optimizer.param_groups[0]["lr"] = peak * factor
            loss = loss_of(model, ids, labels)
            loss.backward()
            _average_gradients(params)
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            seen += ids.numel()
            steps += 1
            recent.append(loss.item())
            if steps % 100 == 0:
                speed = seen / (time.time() - start)
                mean = sum(recent[-100:]) / 100
                log(f"step {steps}, {seen / 1e6:.2f} M tokens, loss {mean:.3f}, {speed:.0f} tokens/s")
            if steps == total:
                break
    model.eval()
    return {
        "tokens": seen,
        "steps": steps,
        "wall_s": round(time.time() - start, 1),
        "cpu_s": round(_cpu_seconds() - cpu, 1),
        "loss": round(sum(recent[-100:]) / len(recent[-100:]), 4),
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
