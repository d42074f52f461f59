"""Labels may be too coarse, too fine or missing: the default router finds the groups that pay."""

from dataclasses import replace

import numpy as np
import pytest
from toy_log import CANDIDATES, GOOD, toy_data

from fusion_hf.routers import fit_router

TRAIN, TEST = toy_data(570), toy_data(150, split="test")


def found(tasks, **options):
    """Share of test queries that go to the candidate that is good at them, of a router that saw these labels."""
    router = fit_router("fusion", replace(TRAIN, tasks=tasks), "none", **options)
    picks = [d.candidate for d in router.route(TEST.queries)]
    return np.mean([p == CANDIDATES[GOOD[t]] for p, t in zip(picks, TEST.tasks, strict=True)]), router


def test_one_label_for_everything_is_too_coarse():
    share, router = found(["mmlu"] * len(TRAIN))
    assert share > 0.95
    assert len(router.config.options["groups"]) > 1  # it made groups of its own


@pytest.mark.parametrize("subjects", [19, 57])
def test_many_small_subjects_do_not_hide_what_they_share(subjects):
    """Each kind of query is cut into subjects of ten to thirty rows at random."""
    rng = np.random.default_rng(0)
    fine = [f"{t} {rng.integers(subjects // 3)}" for t in TRAIN.tasks]
    share, _ = found(fine)
    assert share > 0.95


def test_labels_that_say_nothing_do_no_harm():
    rng = np.random.default_rng(1)
    share, _ = found([f"subject {rng.integers(57)}" for _ in TRAIN.tasks])
    assert share > 0.95


def test_no_labels_at_all():
    share, router = found(TRAIN.tasks, task_labels=False)
    assert share > 0.95 and router.config.tasks is None
