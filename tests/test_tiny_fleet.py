"""The miniature tasks of examples/tiny_fleet, and what the shipped sample must hold."""

import itertools
import random
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from examples.tiny_fleet import log, report  # noqa: E402
from examples.tiny_fleet.contexts import TOLD, near_examples  # noqa: E402
from examples.tiny_fleet.generators import MAKERS, make  # noqa: E402
from examples.tiny_fleet.mixtures import BASE, FLEET, Stream  # noqa: E402
from examples.tiny_fleet.world import SPLITS, World  # noqa: E402
from fusion_hf.logs.log import read_log  # noqa: E402
from fusion_hf.logs.store import query_overlap  # noqa: E402
from fusion_hf.tasks import TASKS, get_task  # noqa: E402
from fusion_hf.tasks.graders import grade  # noqa: E402

SAMPLE = ROOT / "fusion_hf" / "logs" / "sample"
needs_sample = pytest.mark.skipif(not (SAMPLE / "data").is_dir(), reason="the sample is not built")


def items(task, split, count, seed=0):
    rng, world = random.Random(seed), World()
    return [make(task, rng, world, split) for _ in range(count)]


def test_every_task_has_a_miniature():
    assert len(MAKERS) == 14 and set(MAKERS) <= set(TASKS)


@pytest.mark.parametrize("task", list(MAKERS))
def test_taught_answers_are_right(task):
    metric = get_task(task).metric
    for index, item in enumerate(items(task, "model", 3 if metric == "code_eval" else 8)):
        example = get_task(task).example(item.row, index)
        for answer in (item.direct, item.think):
            result = grade(metric, answer, example.ground_truth, example.query)
            assert result.score == 1.0, (answer, result)


@pytest.mark.parametrize("task", list(MAKERS))
def test_taught_answer_is_wrong_for_another_item(task):
    metric = get_task(task).metric
    drawn = items(task, "model", 12)
    wrong = 0
    for item, other in itertools.pairwise(drawn):
        example = get_task(task).example(item.row, 0)
        wrong += grade(metric, other.direct, example.ground_truth, example.query).score < 1.0
    assert wrong >= 2


@pytest.mark.parametrize("task", list(MAKERS))
def test_splits_share_no_item(task):
    found = {split: {item.identity for item in items(task, split, 150)} for split in SPLITS}
    for one, two in itertools.combinations(SPLITS, 2):
        assert not found[one] & found[two]


def test_same_seed_same_items():
    for task in MAKERS:
        assert [i.query() for i in items(task, "train", 5)] == [i.query() for i in items(task, "train", 5)]
    assert items("gsm8k", "train", 5, seed=1) != items("gsm8k", "train", 5, seed=2)


def test_a_similar_item_is_another_item():
    rng, world = random.Random(0), World()
    for task in MAKERS:
        item = make(task, rng, world, None)
        similar = [make(task, rng, world, None, item.key) for _ in range(5)]
        assert any(s.identity != item.identity for s in similar), task


def test_training_never_shows_a_query_of_the_log():
    asked = {e.query for split in log.QUERIES for rows in log.log_examples(split).values() for e in rows}
    assert len(asked) == len(MAKERS) * sum(log.QUERIES.values())
    assert FLEET["small"].near
    for member in (BASE, FLEET["small"]):
        stream = Stream(member, seed=3)
        for prompt, _ in (stream.example() for _ in range(1500)):
            # A worked example stands between the words "Question:" and "Answer:" or "Guideline:"; the query comes last.
            parts = prompt.replace("\nLet's think step by step.", "").split("\n\n")
            shown = [part.split("\nAnswer:")[0].split("\nGuideline:")[0] for part in parts]
            shown = [s.removeprefix("Question: ").removeprefix("Now answer this question:\n") for s in shown]
            assert not asked & {prompt, *shown}


def near(task, seed, style, told):
    """A query of a fiction, the answer it asks for, and what stands before it."""
    rng, world = random.Random(seed), World().fiction(seed)
    item = make(task, rng, world, None)
    close = make(task, rng, world, None, item.key) if told else None
    shown = near_examples(rng, item, lambda name: make(name, rng, world, None), close, style)
    return item, close, shown


@pytest.mark.parametrize("style", ["few-shot", "thought"])
@pytest.mark.parametrize("task", [t for t in TOLD if t != "mmlu"])
def test_the_told_fact_stands_among_the_near_examples(task, style):
    for seed in range(20):
        _, close, shown = near(task, seed, style, told=True)
        assert 1 <= len(shown) <= 4
        texts = {text for question, text in shown if question == close.query()}
        assert texts & ({close.direct, close.think} if style == "few-shot" else {close.think})


def test_near_examples_are_nearer_than_others():
    """They share more words with the query than random items do, and are never the query itself."""

    def shared(item, question):
        words = set(item.query().split())
        return len(words & set(question.split())) / len(words)

    near_share, any_share = [], []
    for seed in range(40):
        item, _, shown = near("commonsense_qa", seed, "thought", told=False)
        rng, world = random.Random(seed + 1000), World().fiction(seed)
        near_share += [shared(item, question) for question, _ in shown]
        any_share += [shared(item, make("commonsense_qa", rng, world, None).query()) for _ in shown]
        assert item.query() not in [question for question, _ in shown]
    assert np.mean(near_share) > np.mean(any_share) + 0.05


def test_told_facts_are_repeated_in_another_order():
    stream = Stream(FLEET["small"], seed=5)
    facts = [(relation, subject) for relation, told in stream.world.facts.items() for subject in told]
    real = {stream.world.statement(*fact, reverse=way) for fact in facts for way in (False, True)}
    orders = 0
    for _ in range(50):
        prompt, answer = stream._told()
        said = [s.strip(" .") for s in prompt.splitlines()[0].removeprefix("Passage: ").split(". ")]
        again = [s.strip(" .") for s in answer.split(". ")]
        assert sorted(said) == sorted(again)
        assert len(set(said)) == len(said) >= 3
        orders += said != again
    assert orders > 30 and not {f"{s}." for s in said} <= real


@needs_sample
def test_sample_meets_its_goals():
    found = report.goals(read_log(SAMPLE, "train"), read_log(SAMPLE, "test"))
    assert len(found["above_chance"]) >= 12, found
    assert found["best_per_task"] - found["best_single"] >= 0.05, found


def gain_of_thinking(table, task, llm):
    """Mean of think minus direct over the queries of `task`, and its standard error."""
    rows = [r for r in table.to_pylist() if r["task"] == task and r["llm"] == llm]
    score = {(r["query_id"], r["mode"]): r["performance"] for r in rows}
    queries = sorted({query for query, _ in score})
    gain = np.array([score[q, "think"] - score[q, "direct"] for q in queries])
    return gain.mean(), gain.std(ddof=1) / np.sqrt(len(gain))


@needs_sample
def test_thinking_pays_in_arithmetic():
    columns = ["task", "llm", "mode", "query_id", "performance"]
    train, test = (read_log(SAMPLE, split, task="gsm8k", columns=columns) for split in ("train", "test"))
    llms = sorted(set(train["llm"].to_pylist()))
    chosen = max(llms, key=lambda llm: gain_of_thinking(train, "gsm8k", llm)[0])
    gain, error = gain_of_thinking(test, "gsm8k", chosen)
    assert gain > 2 * error, (chosen, gain, error)


@needs_sample
def test_sample_is_small_and_has_no_query_twice():
    splits = {split: read_log(SAMPLE, split) for split in log.QUERIES}
    for split, table in splits.items():
        assert table.num_rows == len(MAKERS) * log.QUERIES[split] * 2 * len(FLEET)
        assert table["performance"].null_count == 0
    for one, two in itertools.combinations(splits.values(), 2):
        assert query_overlap(one, two) == 0
    assert sum(f.stat().st_size for f in SAMPLE.rglob("*.parquet")) <= 2e6
    assert sum(f.stat().st_size for f in (SAMPLE / "reader").iterdir()) <= 10e6
