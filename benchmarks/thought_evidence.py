"""Do templates of similar queries help a tiny model? The thought level on the embedded sample, reader by reader.

    python benchmarks/thought_evidence.py --reader small=fusion_hf/logs/sample/reader \\
        --reader generalist=examples/tiny_fleet/out/generalist --json t.json --report t.md --plot t.png

Each reader answers the test queries in think mode, alone and with k retrieved examples before the query: answers
(few-shot) or extractive templates (thought), made of train by each rule, over the whole pool or its small LLMs. As a
control the templates come from random queries. k is chosen on partial_test, for few-shot and thought apart.

The judge is a rule: a right answer gets the share of the query's right worked answers that give the same reason.

Without templates a probe asks whether a reader reads: questions about worlds that no training has seen, with the fact
among the worked examples and without it.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from thought_report import draw_radar, markdown
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.tiny_fleet.contexts import AGAINST_MEMORY, TOLD, near_examples
from examples.tiny_fleet.generators import Item, make
from examples.tiny_fleet.log import QUERIES, log_items
from examples.tiny_fleet.world import World
from fusion_hf.llms.backends.transformers import Backend
from fusion_hf.llms.pool import LLM, Pool, load_pool
from fusion_hf.logs.grade_table import grade_table
from fusion_hf.logs.log import read_log
from fusion_hf.logs.sample import pool_path, sample_path
from fusion_hf.logs.stats import bootstrap_ci, paired
from fusion_hf.tasks import TASKS, get_task, with_mode
from fusion_hf.tasks.graders import grade
from fusion_hf.thoughts import RULES, TemplateIndex, build_prompt, make_templates, thought_prompts

ENCODER = "offline"
ZERO, FEW, RANDOM = "zero-shot", "few-shot, perf, full", "random templates"
KS = (1, 2, 3, 5)
FIRST_UNSEEN_WORLD = 1000
"""Seeds of the probe's worlds; the fleet's training uses those below 200."""


def main(argv: list[str] | None = None) -> dict:
    """Measure, print the report and write what was asked for."""
    args = make_parser().parse_args(argv)
    log = with_rule_judge(read_log(args.bench, "train"))
    indexes = make_indexes(log, load_pool(pool_path()))
    choosing, test = (Queries(args.bench, split, args.limit) for split in ("partial_test", "test"))
    result = {"queries": len(test.rows), "templates": {name: len(index) for name, index in indexes.items()}}
    result["readers"] = {n: r for file in args.also for n, r in json.loads(file.read_text())["readers"].items()}
    for name, folder in (reader.split("=", 1) for reader in args.reader):
        reader = Reader(name, folder)
        k = {style: choose_k(reader, choosing, indexes["perf, full"], style) for style in ("few-shot", "thought")}
        result["readers"][name] = measure(reader, test, indexes, {s: best for s, (best, _) in k.items()})
        result["readers"][name] |= {"k": k, "probe": probe(reader, args.probe)}
    text = markdown(result)
    print(text)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if args.report:
        args.report.write_text(text, encoding="utf-8")
    if args.plot:
        draw_radar(result, args.plot)
    return result


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reader", action="append", default=[], metavar="NAME=FOLDER", help="a member of the fleet")
    parser.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="readers of an earlier run, for the report",
    )
    parser.add_argument("--bench", type=Path, default=sample_path(), help="the sample (default: the embedded one)")
    parser.add_argument("--limit", type=int, help="so many queries a task and split only, to try it out")
    parser.add_argument("--probe", type=int, default=60, help="probe questions a task (default: %(default)s)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path, help="Markdown")
    parser.add_argument("--plot", type=Path, help="radar plot (PNG)")
    return parser


class Queries:
    """The queries of one split, with the items they were made of.

    Attributes:
        rows: dicts with query_id, task, query, ground_truth, metric.
        items: The `Item` of each row: what a query's answer rests on.
        embeddings: float32 [n, d].
    """

    def __init__(self, bench: Path, split: str, limit: int | None):
        table = read_log(bench, split, columns=["query_id", "task", "query", "ground_truth", "metric"])
        by_query = {row["query"]: row for row in table.to_pylist()}
        self.items = [item for task in TASKS for item in log_items(task, split)[: limit or QUERIES[split]]]
        self.rows = [by_query[item.query()] for item in self.items]
        self.texts = [row["query"] for row in self.rows]
        self.embeddings: np.ndarray | None = None

    def prompts(self, index: TemplateIndex, k: int, style: str) -> list[str]:
        """What is asked, by the project's own prompt builder."""
        if self.embeddings is None:
            self.embeddings = index.encode(self.texts)
        ids = [row["query_id"] for row in self.rows]
        found = thought_prompts(self.texts, index, k, style, embeddings=self.embeddings, exclude_query_ids=ids)
        return [thought.prompt for thought in found]


def with_rule_judge(table: pa.Table) -> pa.Table:
    """Fill the judge column by the rule: of a right answer, the share of the query's right worked answers that agree.

    Wrong answers get 0. The reason is what stands before the final answer; a bare answer has none and gets 0 too.
    """
    rows = table.select(["query_id", "mode", "response", "performance"]).to_pylist()
    worked = [row["mode"] == "think" and row["performance"] >= 0.5 for row in rows]
    reasons = [" ".join(row["response"].split()) for row in rows]
    same = Counter((row["query_id"], reason) for row, reason, w in zip(rows, reasons, worked, strict=True) if w)
    all_of = Counter(row["query_id"] for row, w in zip(rows, worked, strict=True) if w)
    values = [
        same[row["query_id"], reason] / all_of[row["query_id"]] if w else 0.0
        for row, reason, w in zip(rows, reasons, worked, strict=True)
    ]
    place = table.schema.get_field_index("judge")
    return table.set_column(place, "judge", pa.array(values, table.schema.field("judge").type))


def make_indexes(log: pa.Table, pool: Pool) -> dict[str, TemplateIndex]:
    """An index for each rule and pool: ``perf, full`` and so on."""
    small = [llm.name for llm in pool.values() if llm.size == "small"]
    indexes = {}
    for label, llms in (("full", None), ("small", small)):
        for rule in RULES:
            made = make_templates(log, select=rule, llms=llms, progress=False)
            indexes[f"{rule}, {label}"] = TemplateIndex.build(made.dataset, ENCODER)
    return indexes


class Reader:
    """A member of the fleet on this machine; equal prompts are asked once."""

    def __init__(self, name: str, folder: str):
        llms = load_pool(pool_path())
        known = llms.get_llm(f"tiny-{name}") if f"tiny-{name}" in llms else llms.get_llm("tiny-small")
        self.llm: LLM = replace(known, model=folder, options=known.options | {"dtype": "float32"})
        self.name, self.prices = name, Pool([self.llm])
        self.backend = Backend(self.llm)
        self._known: dict[str, object] = {}

    def ask(self, prompts: list[str], label: str) -> list:
        """Replies in think mode, greedy."""
        new = [p for p in dict.fromkeys(prompts) if p not in self._known]
        for start in tqdm(range(0, len(new), 1024), desc=f"{self.name}: {label}", disable=None):
            part = new[start : start + 1024]
            chats = [[{"role": "user", "content": with_mode(prompt, "think")}] for prompt in part]
            self._known |= dict(zip(part, self.backend.generate_batch(chats), strict=True))
        return [self._known[prompt] for prompt in prompts]

    def score(self, queries: Queries, prompts: list[str], label: str) -> tuple[np.ndarray, np.ndarray]:
        """(performance, USD) of every query."""
        replies = self.ask(prompts, label)
        columns = {name: [row[name] for row in queries.rows] for name in ("metric", "ground_truth", "query")}
        graded = grade_table(pa.table(columns | {"response": [reply.text for reply in replies]}))
        usd = [self.prices.cost(self.llm.name, reply.input_tokens, reply.output_tokens) for reply in replies]
        return graded["performance"].to_numpy().astype(float), np.array(usd)


def choose_k(reader: Reader, queries: Queries, index: TemplateIndex, style: str) -> tuple[int, dict[int, float]]:
    """(the best k, accuracy by k) on partial_test; equal ones: the smaller, which is cheaper."""
    means = {}
    for k in KS:
        scores, _ = reader.score(queries, queries.prompts(index, k, style), f"{style}, k={k}")
        means[k] = float(scores.mean())
    return max(KS, key=lambda k: (means[k], -k)), means


def measure(reader: Reader, test: Queries, indexes: dict[str, TemplateIndex], k: dict[str, int]) -> dict:
    """Every condition on test: by domain, against zero-shot, by whether the context tells the answer, and its cost."""
    prompts = {ZERO: test.texts, FEW: test.prompts(indexes["perf, full"], k["few-shot"], "few-shot")}
    prompts |= {f"thought, {name}": test.prompts(index, k["thought"], "thought") for name, index in indexes.items()}
    prompts[RANDOM] = random_prompts(test, indexes["perf, full"], k["thought"])
    domain = np.array([get_task(row["task"]).domain for row in test.rows])
    plain, plain_usd = reader.score(test, prompts[ZERO], ZERO)
    found = {}
    for name, asked in prompts.items():
        scores, usd = reader.score(test, asked, name)
        told = np.array([tells(item, prompt) for item, prompt in zip(test.items, asked, strict=True)])
        found[name] = {
            "all": summary(scores, plain),
            "domains": {d: summary(scores[domain == d], plain[domain == d]) for d in dict.fromkeys(domain)},
            "told": summary(scores[told], plain[told]),
            "not told": summary(scores[~told], plain[~told]),
            "usd_per_1000": 1000 * usd.mean(),
            "cost_ratio": usd.sum() / plain_usd.sum(),
        }
    return {"conditions": found, "model": str(reader.llm.model)}


def summary(scores: np.ndarray, plain: np.ndarray) -> dict:
    """n, mean with its 95 % bootstrap interval, and the paired difference to zero-shot."""
    mean, low, high = bootstrap_ci(scores)
    return {"n": len(scores), "mean": mean, "low": low, "high": high, "difference": paired(scores, plain)}


def random_prompts(test: Queries, index: TemplateIndex, k: int) -> list[str]:
    """The control: as many templates, of random queries."""
    rng = random.Random(0)
    rows = index.table.select(["query", "template"]).to_pylist()
    return [
        build_prompt(query, [(row["query"], row["template"]) for row in rng.sample(rows, k)], "thought")
        for query in test.texts
    ]


WORLD = World()


def tells(item: Item, prompt: str) -> bool:
    """Whether the examples before the query state every fact that its answer rests on, word for word."""
    context = prompt.removesuffix(item.query())
    return bool(context and item.needs) and all(_states(context, *need) for need in item.needs)


def _states(context: str, relation: str, subject) -> bool:
    if relation == "weight":
        return re.search(rf"\b{subject} {WORLD.facts[relation][subject]}\b", context) is not None
    return any(WORLD.statement(relation, subject, way)[:-1] in context for way in (False, True))


def probe(reader: Reader, count: int) -> dict:
    """Accuracy with the fact among the worked answers, and with near misses alone, in worlds nobody was trained on."""
    result: dict[str, dict] = {}
    for label, task, altered in [(t, t, False) for t in TOLD] + [
        (f"{t}, known names", t, True) for t in AGAINST_MEMORY
    ]:
        for told in (True, False):
            drawn = [_probe_item(task, FIRST_UNSEEN_WORLD + seed, told, altered) for seed in range(count)]
            replies = reader.ask([prompt for _, prompt in drawn], f"probe, {label}")
            scores = []
            for (item, _), reply in zip(drawn, replies, strict=True):
                example = get_task(task).example(item.row, 0)
                scores.append(grade(get_task(task).metric, reply.text, example.ground_truth, example.query).score)
            result.setdefault(label, {})["told" if told else "not told"] = bootstrap_ci(np.array(scores))
    return result


def _probe_item(task: str, seed: int, told: bool, altered: bool = False) -> tuple[Item, str]:
    """A query of another world and its prompt; an altered one has known names with other facts than were learned."""
    rng, world = random.Random(f"{task}-{seed}"), WORLD.altered(seed) if altered else WORLD.fiction(seed)
    item = close = None
    while item is None or item.key == "sum":  # a sum needs no fact
        item = make(task, rng, world, None)
    if told:
        while close is None or close.identity == item.identity:
            close = make(task, rng, world, None, item.key)
    shown = near_examples(rng, item, lambda _: make(task, rng, world, None), close, "few-shot")
    return item, build_prompt(item.query(), shown, "few-shot")


if __name__ == "__main__":
    main()
