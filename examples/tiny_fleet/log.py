"""From trained members to the sample: queries, the pool, collection by the project's own collector, and the card."""

import random
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from fusion_hf.llms.collect import collect_examples
from fusion_hf.llms.pool import LLM, Pool, save_pool
from fusion_hf.logs.log import Log, write_bench
from fusion_hf.tasks import Example, get_task

from .generators import MAKERS, Item, make
from .mixtures import FLEET
from .world import World

SEED = 11
QUERIES = {"train": 100, "partial_test": 50, "test": 150}
MAX_TOKENS = 64
SOURCES = dict.fromkeys(MAKERS, ("examples/tiny_fleet", "apache-2.0"))
"""Where the queries come from: not from the sources that the tasks name."""
SHIPPED = "small"
"""The member whose weights are part of the sample (the others can be trained again)."""


def log_items(task: str, split: str, count: int | None = None) -> list[Item]:
    """The queries of one split: different identities, none of them in the models' own training."""
    rng, world, items = random.Random(f"{SEED}-{task}-{split}"), World(), {}
    wanted = QUERIES[split] if count is None else count
    for _ in range(100 * wanted):
        item = make(task, rng, world, split)
        items.setdefault(item.identity, item)
        if len(items) == wanted:
            return list(items.values())
    raise LookupError(f"{task}: expected {wanted} different items of {split}, found {len(items)}")


def log_examples(split: str, count: int | None = None) -> dict[str, list[Example]]:
    """The queries of every task, as the real task files write them."""
    result = {}
    for task in MAKERS:
        items = log_items(task, split, count)
        result[task] = [get_task(task).example(item.row, index) for index, item in enumerate(items)]
    return result


def make_pool(out: Path, members: Iterable[str] = FLEET) -> Pool:
    """The members that are trained, at prices in proportion to their parameters."""
    sizes = {4: "small", 5: "medium", 6: "large"}
    llms = []
    for name in members:
        member = FLEET[name]
        parameters = LlamaForCausalLM.from_pretrained(out / name).num_parameters()
        price = round(parameters / 1e6 * 0.1, 4)
        llms.append(
            LLM(
                name=f"tiny-{name}",
                size=sizes[member.layers],
                input_price=price,
                output_price=round(4 * price, 4),
                price_date="2025-01-01",
                price_source="invented, in proportion to parameters: 0.1 (input) and 0.4 (output) USD per million "
                "tokens for each million of parameters",
                description=f"{parameters / 1e6:.2f} M parameters: {member.description}.",
                backend="transformers",
                model=str((out / name).resolve()),
                options={"max_tokens": MAX_TOKENS, "temperature": 0.0},
            )
        )
    return Pool(llms)


def collect_member(out: Path, member: str) -> None:
    """Ask one member every query of every split in both modes, by the collector of fusion_hf.

    Answers that are there are not asked again.
    """
    pool = make_pool(out, [member])
    for split in QUERIES:
        collect_examples(pool, log_examples(split), out / "log" / split / member)


def graded_log(out: Path, split: str) -> pa.Table:
    """The graded log of all members."""
    return pa.concat_tables(Log(out / "log" / split / member).table() for member in FLEET)


def write_sample(out: Path, sample: Path, tables: dict[str, pa.Table], text: str) -> None:
    """The data, the pool and the shipped member (half precision) of the embedded sample."""
    pool = make_pool(out)
    reader = sample / "reader"
    shutil.rmtree(reader, ignore_errors=True)
    model = LlamaForCausalLM.from_pretrained(out / SHIPPED, dtype=torch.float16)
    model.save_pretrained(reader)
    AutoTokenizer.from_pretrained(out / SHIPPED).save_pretrained(reader)
    (reader / "model.safetensors").chmod(0o644)  # safetensors makes files that only their owner may read
    llms = [{k: getattr(llm, k) for k in _COLUMNS} for llm in pool.values()]
    write_bench(tables, sample, replace=True, llms=llms, title="FusionBench in miniature", text=text, sources=SOURCES)
    moved = []
    for llm in pool.values():
        member = llm.name.removeprefix("tiny-")
        folder = str(reader.resolve()) if member == SHIPPED else f"./tiny_fleet/{member}"
        moved.append(LLM(**{**vars(llm), "model": folder}))
    save_pool(Pool(moved), sample / "pool.yaml")


_COLUMNS = ("name", "size", "input_price", "output_price", "price_date", "price_source", "description")
