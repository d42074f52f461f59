"""The leaderboard: every kind under one protocol, paired tests with Holm's correction, tables for a paper."""

import csv
import json

import pytest
from conftest import make_rows

import fusion_hf
from fusion_hf.errors import UserError
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers.measuring.leaderboard import holm


@pytest.fixture(scope="module")
def log():
    return validate(rows_to_table(make_rows(40, ("ant", "bee_1", "cow"))))


@pytest.fixture(scope="module")
def board(log, tmp_path_factory):
    out = tmp_path_factory.mktemp("board") / "board"
    kinds = ["knn", "linear", "encoder"]
    return fusion_hf.leaderboard(log, kind=kinds, encoder="none", folds=4, seeds=2, out=out), out


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_every_kind_stands_beside_best_single_and_the_reference(board):
    result = board[0]
    assert set(result.kinds) == {"knn", "linear", "fusion"} and result.reference == "fusion"
    rewards = [line["reward"] for line in result.kinds.values()]
    assert rewards == sorted(rewards, reverse=True)
    assert result.kinds["fusion"]["vs_reference"] is None
    for name, line in result.kinds.items():
        assert 0 <= line["vs_best_single"]["p"] <= 1 and line["vs_best_single"]["difference"] > 0.1, name
        assert line["best_single"] <= line["reward"] <= line["oracle"]


def test_a_kind_that_cannot_be_trained_is_named_and_the_others_go_on(board):
    assert list(board[0].left_out) == ["encoder"] and "text encoder to train" in board[0].left_out["encoder"]
    assert "encoder is left out: " in str(board[0])


def test_the_files_hold_the_same_figures(board):
    result, out = board
    assert json.loads((out / "leaderboard.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    rows = list(csv.DictReader((out / "leaderboard.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == list(result.kinds)
    assert [float(row["reward"]) for row in rows] == [line["reward"] for line in result.kinds.values()]
    latex, markdown = ((out / f"leaderboard.{s}").read_text() for s in ("tex", "md"))
    for line in result.kinds.values():
        assert f"{line['reward']:.4f}" in latex and f"{line['reward']:.4f}" in markdown
    assert latex.count(r"\begin{tabular}") == 1 and "Holm" in latex and "95 \\% bootstrap" in latex


def test_the_same_seeds_give_the_same_board(log, board):
    again = fusion_hf.leaderboard(log, kind=["linear", "knn"], encoder="none", folds=4, seeds=2)
    for name in ("knn", "linear", "fusion"):
        assert again.kinds[name]["reward"] == board[0].kinds[name]["reward"]


def test_data_frame(board):
    frame = board[0].to_pandas()
    assert list(frame["kind"]) == list(board[0].kinds) and frame["reward"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("options", "message"),
    [({"seeds": 0}, "seeds: expected at least 1"), ({"kind": "nope"}, "unknown router kind 'nope'"),
     ({"reference": "encoder", "kind": "knn"}, "reference: encoder cannot be trained")],
)  # fmt: skip
def test_wrong_input_is_one_line(log, options, message):
    with pytest.raises(UserError, match=message):
        fusion_hf.leaderboard(log, **({"encoder": "none", "folds": 2, "seeds": 1, "kind": "knn"} | options))
