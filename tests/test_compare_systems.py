"""What becomes a system, of which level, how it is rebuilt, and what a combination may learn from."""

from pathlib import Path

import numpy as np
import pytest
from conftest import make_rows
from test_cascade import SAID, TEST, TEST_SAID, TRAIN, rows_of

from fusion_hf import eval_router
from fusion_hf.comparison import Splits, gather, read_logs
from fusion_hf.comparison.given import stated_logs
from fusion_hf.comparison.logged import join
from fusion_hf.comparison.systems import BEST_SINGLE, ORACLE
from fusion_hf.errors import UserError
from fusion_hf.logs.arrays import RoutingData
from fusion_hf.logs.files import write_file
from fusion_hf.logs.log import read_log, write_bench
from fusion_hf.logs.schema import rows_to_table, validate
from fusion_hf.routers import fit_router, load_router

SIZES = {"train": 60, "partial_test": 30, "test": 40}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    tables = {s: validate(rows_to_table(make_rows(n, split=s))) for s, n in SIZES.items()}
    return write_bench(tables, tmp_path_factory.mktemp("systems") / "bench")


@pytest.fixture(scope="module")
def router(bench):
    data = RoutingData.from_table(read_log(bench, "train"))
    folder = bench.parent / "router"
    fit_router("fusion", data, encoder="none").save_pretrained(folder)
    return folder


def other_log(bench, path, llm, mode="direct", splits=("partial_test", "test"), score=lambda row: 1.0, **more):
    """Answers of one more LLM to the same queries."""
    rows = [r for s in splits for r in read_log(bench, s).to_pylist() if r["llm"] == "ant"]
    rows = [r | {"llm": llm, "mode": mode, "performance": score(r)} | more for r in rows]
    write_file(validate(rows_to_table(rows)), Path(path))
    return path


def test_every_system_can_be_rebuilt_as_it_says(bench, router):
    systems, splits, _ = gather(bench, {"mine": router})
    test = splits.test
    assert {s.name for s in systems if s.spec is None} == {"random", ORACLE}
    for s in systems:
        if s.spec is None:
            continue
        match s.spec:
            case {"kind": "candidate", "candidate": name}:
                chosen = [name] * len(test)
            case {"kind": "per_task", "candidates": names}:
                chosen = [names[t] for t in test.tasks]
            case {"kind": "router", "router": folder, "scenario": scenario}:
                chosen = [d.candidate for d in load_router(folder).route(test.queries, scenario=scenario)]
        assert s.picked.tolist() == chosen
        columns = [test.candidates.index(c) for c in chosen]
        assert np.array_equal(s.performance, test.performance[np.arange(len(test)), columns])
        assert np.array_equal(s.cost, test.cost[np.arange(len(test)), columns])
        assert len(s.validation) == len(s.validation_cost) == SIZES["partial_test"]
        assert sum(s.calls().values()) == pytest.approx(1)


def test_a_router_is_measured_in_every_scenario_that_it_knows_and_the_log_allows(bench, router, tmp_path):
    own = load_router(router)
    own.config.scenarios = {**own.config.scenarios, "frugal": {"alpha": 0.01, "beta": 1.0, "score": "performance"}}
    own.save_pretrained(tmp_path / "own")
    names = [s.name for s in gather(bench, {"r": tmp_path / "own"})[0] if s.level == "query"]
    assert names == ["r (performance)", "r (balance)", "r (cost)", "r (frugal)"]  # judge: nobody judged


@pytest.mark.parametrize("word, level", [("thoughts", "thought"), ("models", "model"), ("logs", "single")])
@pytest.mark.parametrize(
    "name, llm, mode", [("x", "ant", "thought"), ("thought", "ant+sft", "direct"), ("model x", "new", "think")]
)
def test_the_level_of_a_log_is_what_is_said(bench, tmp_path, word, level, name, llm, mode):
    path = other_log(bench, tmp_path / "log.parquet", llm, mode)
    system = gather(bench, **{word: {name: path}})[0][-1]
    assert (system.name, system.level) == (name, level)
    assert system.spec == {"kind": "candidate", "candidate": llm if mode == "direct" else f"{llm}_{mode}"}


def test_tokens_and_latency_are_those_of_the_answer_that_was_picked(tmp_path):
    rows = make_rows(8, llms=("ant", "bee"), split="test")
    for row in rows:
        ant = row["llm"] == "ant"
        row |= {"input_tokens": 10, "output_tokens": 5 if ant else None, "latency_s": 0.5 if ant else 2.0}
    tables = {
        "train": validate(rows_to_table(make_rows(8, llms=("ant", "bee")))),
        "test": validate(rows_to_table(rows)),
    }
    systems = {s.name: s for s in gather(write_bench(tables, tmp_path / "b"))[0]}
    assert (systems["ant"].tokens == 15).all() and np.isnan(systems["bee"].tokens).all()  # half counted is not counted
    assert (systems["bee"].latency == 2.0).all() and systems["random"].latency[0] == 1.25
    best = systems["best per task"]
    assert sorted(set(best.latency)) == [0.5, 2.0] and (best.latency[best.picked == "ant"] == 0.5).all()


def test_two_systems_of_one_name_are_refused(bench, router):
    with pytest.raises(UserError, match=r"two systems are called 'router \(balance\)'"):
        gather(bench, {"router": router}, logs={"router (balance)": other_log(bench, router.parent / "l.parquet", "x")})


def test_splits_must_have_the_same_candidates(tmp_path):
    tables = {s: validate(rows_to_table(make_rows(12, split=s))) for s in ("train", "test")}
    tables["partial_test"] = validate(rows_to_table(make_rows(12, llms=("ant", "bee"), split="partial_test")))
    with pytest.raises(UserError, match="'cow' stands only in one of train and partial_test"):
        Splits.read(write_bench(tables, tmp_path / "b"))


def test_what_a_distilled_model_says_of_its_own_training_queries_is_not_learned(bench, tmp_path):
    everything = ("train", "partial_test", "test")
    thought = other_log(bench, tmp_path / "t.parquet", "ant", "thought", everything)
    model = other_log(bench, tmp_path / "m.parquet", "ant+sft", "direct", everything)
    splits = Splits.read(bench)
    joined, notes = join(splits, read_logs(stated_logs({"t": thought}, {"m": model}), splits))
    assert not notes and joined.test.candidates == ["ant", "ant+sft", "ant_thought", "bee", "cow"]
    column = joined.train.candidates.index
    assert (joined.train.performance[:, column("ant_thought")] == 1).all()
    assert np.isnan(joined.train.performance[:, column("ant+sft")]).all()
    assert (joined.validation.performance[:, column("ant+sft")] == 1).all()
    assert np.array_equal(joined.train.performance[:, column("bee")], splits.train.performance[:, 1])


def test_notes_say_who_is_left_out_of_combinations(bench, tmp_path):
    twin = other_log(bench, tmp_path / "twin.parquet", "ant")
    unknown = other_log(bench, tmp_path / "unknown.parquet", "new", splits=("test",))
    systems, _, notes = gather(bench, logs={"twin": twin, "unknown": unknown})
    assert "twin: ant is left out of combinations: the name stands there already" in notes
    assert "unknown: new is left out of combinations: nothing but test says how good it is" in notes
    by_name = {s.name: s for s in systems}
    assert (by_name["twin"].performance == 1).all() and by_name["unknown"].validation is None


def test_a_combination_uses_the_candidate_that_only_another_log_has(bench, tmp_path):
    """It is right on squad and gsm8k alike, and free: whoever may ask it asks nobody else."""
    path = other_log(bench, tmp_path / "m.parquet", "ant+sft", cost=0.0)
    systems, splits, _ = gather(bench, models={"model": path}, combine="fusion", out=tmp_path, encoder="none")
    combined = {s.name: s for s in systems if s.level == "combined"}
    assert list(combined) == ["combined (performance)", "combined (balance)", "combined (cost)"]
    for name, s in combined.items():
        assert s.spec["router"] == str(tmp_path / "combined") and s.calls() == {"ant+sft": 1.0}, name
        assert s.performance.mean() == s.validation.mean() == 1.0
    saved = load_router(tmp_path / "combined")
    assert [d.candidate for d in saved.route(splits.test.queries[:3])] == ["ant+sft"] * 3
    again = gather(bench, {"saved": tmp_path / "combined"}, models={"model": path})[0]
    assert next(s for s in again if s.name == "saved (cost)").calls() == {"ant+sft": 1.0}
    with pytest.raises(UserError, match=r"its candidate 'ant\+sft' is not in the log: add the log"):
        gather(bench, {"saved": tmp_path / "combined"})


def test_validation_of_a_combination_was_not_seen_in_training(tmp_path):
    """Who is right is a coin that the text does not tell: only a router that saw the coin does better than half."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(400)]

    def coins(split, n):
        rows = make_rows(n, llms=("ant", "bee"), tasks=("squad",), split=split)
        for i in range(n):
            text, coin = " ".join(rng.choice(words, 12)), float(rng.random() < 0.5)
            for row, score in zip(rows[2 * i : 2 * i + 2], (coin, 1 - coin), strict=True):
                row |= {"query": f"{split} {i} {text}", "query_id": f"{split}{i}", "performance": score, "cost": 1e-4}
        return validate(rows_to_table(rows))

    tables = {"train": coins("train", 10), "partial_test": coins("partial_test", 300), "test": coins("test", 20)}
    bench = write_bench(tables, tmp_path / "b")
    systems, splits, _ = gather(bench, combine="linear", out=tmp_path, encoder="none")
    checked = next(s for s in systems if s.name == "combined (performance)").validation.mean()
    routed = load_router(tmp_path / "combined").route(splits.validation.queries)
    columns = [splits.validation.candidates.index(d.candidate) for d in routed]
    seen = splits.validation.performance[np.arange(300), columns].mean()
    assert checked == pytest.approx(0.5, abs=0.1)
    assert seen > checked + 0.15


def test_a_train_query_that_stands_in_validation_too_is_not_learned_from(bench, tmp_path):
    from fusion_hf.comparison.routed import _training

    tables = {s: read_log(bench, s) for s in SIZES}
    tables["train"] = validate(rows_to_table([*tables["train"].to_pylist(), *make_rows(4, split="partial_test")]))
    splits = Splits.read(write_bench(tables, tmp_path / "b"))
    assert len(splits.train) == SIZES["train"] + 4
    data, fold = _training(splits)
    assert len(data) == len(set(data.queries)) == SIZES["train"] + SIZES["partial_test"]
    assert (fold[: SIZES["train"]] == -1).all() and (fold[SIZES["train"] :] >= 0).all()


def test_kinds_that_read_answers_cannot_be_combined(bench, tmp_path):
    with pytest.raises(UserError, match="combine: 'cascade': expected a kind that needs no answers"):
        gather(bench, combine="cascade", out=tmp_path, encoder="none")


def test_best_single_is_chosen_on_train_alone(bench):
    systems, splits, _ = gather(bench)
    train = {c: splits.train.performance[:, j].mean() for j, c in enumerate(splits.train.candidates)}
    base = next(s for s in systems if s.name == BEST_SINGLE)
    assert train[base.spec["candidate"]] == max(train.values())


def test_a_cascade_is_measured_as_it_asks_on_with_every_call_paid(tmp_path):
    log = {"train": rows_of(TRAIN, SAID, "train"), "test": rows_of(TEST, TEST_SAID, "test")}
    bench = write_bench(log, tmp_path / "bench")
    fit_router("cascade", TRAIN, encoder="none", answers=SAID).save_pretrained(tmp_path / "router")
    systems = {s.name: s for s in gather(bench, {"c": tmp_path / "router"})[0]}
    expected = eval_router(tmp_path / "router", bench).cascade["scenarios"]
    for scenario in ("performance", "balance", "cost"):
        asking = systems[f"c ({scenario}, cascade)"]
        assert asking.level == "query" and asking.spec is None and asking.calls() is None
        assert asking.performance.mean() == pytest.approx(expected[scenario]["performance"])
        assert asking.cost.mean() == pytest.approx(expected[scenario]["cost_usd"])
    once = systems["c (performance)"]
    assert once.spec is not None and not np.array_equal(once.cost, systems["c (performance, cascade)"].cost)
