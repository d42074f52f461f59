"""The rule that stands in for a judge, and what counts as told, in the evidence for the thought level."""

import random
import sys
from pathlib import Path

import pyarrow as pa
import pytest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import thought_evidence as evidence  # noqa: E402
from thought_report import draw_radar, markdown  # noqa: E402

from examples.tiny_fleet.generators import make  # noqa: E402
from fusion_hf.logs.schema import LOG_SCHEMA  # noqa: E402
from fusion_hf.thoughts import build_prompt  # noqa: E402


def log_of(rows):
    columns = ("query_id", "mode", "response", "performance")
    full = [dict.fromkeys(LOG_SCHEMA.names) | dict(zip(columns, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(full, LOG_SCHEMA)


def test_the_rule_prefers_the_reason_that_most_right_answers_give():
    table = evidence.with_rule_judge(
        log_of(
            [
                ("q", "think", "a is b. The answer is b", 1.0),
                ("q", "think", "a is  b. The answer is b", 1.0),
                ("q", "think", "c is b. The answer is b", 1.0),
                ("q", "think", "a is b. The answer is b", 0.0),
                ("q", "direct", "b", 1.0),
                ("r", "think", "c is b. The answer is b", 1.0),
            ]
        )
    )
    assert table["judge"].to_pylist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0, 0, 1])


@pytest.mark.parametrize("task", ["commonsense_qa", "hellaswag", "natural_qa", "arc_challenge"])
def test_an_item_is_told_by_its_worked_answer_and_not_by_another_fact(task):
    rng = random.Random(3)
    item = make(task, rng, evidence.WORLD, None)
    other = make(task, rng, evidence.WORLD, None)
    while set(other.needs) & set(item.needs):
        other = make(task, rng, evidence.WORLD, None)

    def asked(text):
        return build_prompt(item.query(), [(other.query(), text)], "few-shot")

    assert evidence.tells(item, asked(item.think))
    assert not evidence.tells(item, asked(other.think))
    assert not evidence.tells(item, item.query())


def test_the_probe_tells_the_fact_or_does_not():
    for told in (True, False):
        for seed in range(1000, 1020):
            item, prompt = evidence._probe_item("openbook_qa", seed, told)
            assert prompt.endswith(item.query())
            key = item.row["question_stem"].split(" made of ")[1].removesuffix(". It")
            shown = prompt.removesuffix(item.query())
            assert not told or f"made of {key}. It" in shown, (key, shown)


def test_report_and_plot(tmp_path):
    one = {"n": 2, "mean": 0.5, "low": 0.4, "high": 0.6}
    one["difference"] = {"difference": 0.1, "se": 0.02, "low": 0.05, "high": 0.15}
    none = one | {"n": 0}
    condition = {"all": one, "domains": dict.fromkeys(("Math", "Code", "Reading"), one), "told": none, "not told": one}
    condition |= {"usd_per_1000": 0.01, "cost_ratio": 2.0}
    names = (evidence.ZERO, evidence.FEW, *(f"thought, {rule}, full" for rule in ("perf", "judge", "hybrid")))
    k = {"few-shot": (1, {1: 0.5, 2: 0.4}), "thought": (2, {1: 0.5, 2: 0.6})}
    probe = {"mmlu": {"told": (0.9, 0.8, 1.0), "not told": (0.2, 0.1, 0.3)}}
    reader = {"conditions": dict.fromkeys(names, condition), "k": k, "probe": probe}
    result = {"queries": 2, "templates": {"perf, full": 3}, "readers": {"small": reader}}
    text = markdown(result)
    assert "| zero-shot | 0.500 [0.400, 0.600] |  |" in text
    assert "+0.100 [+0.050, +0.150]" in text and "| mmlu | 0.90 / 0.20 |" in text
    draw_radar(result, tmp_path / "radar.png")
    assert (tmp_path / "radar.png").read_bytes().startswith(b"\x89PNG")
