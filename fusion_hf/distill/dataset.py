"""The chosen answers as a `datasets.Dataset` in TRL's conversational forms, and as a folder with a card."""

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UserError
from ..logs.files import named_by_content
from ..logs.select import Answers, rank_answers
from ..made import FILE
from ..outputs import atomic_folder
from ..tasks import with_mode
from .select import (
    Choice,
    Drops,
    drop_excluded,
    drop_unusable,
    drop_wrong,
    query_and_mode,
    read_columns,
    select_rows,
)

FORMATS = ("sft", "preference")
PROVENANCE = {"query_id": "string", "task": "string", "llm": "string", "mode": "string", "performance": "float32",
              "judge": "float32", "cost": "float64", "tokens": "int32", "grader": "string", "rule": "string",
              "rank": "int32"}  # fmt: skip


def reference_answer(metric: str, ground_truth: list[str]) -> str:
    """The reference answer as the task's prompt asks for it (code tasks have none)."""
    reference = ground_truth[0]
    return {"gsm8k": f"#### {reference}", "math": f"\\boxed{{{reference}}}"}.get(metric, reference)


def sft_dataset(
    table: pa.Table,
    choice: Choice | None = None,
    exclude: pa.Table | None = None,
    count_tokens: Callable[[list[str]], list[int]] | None = None,
):
    """The best answers of a log to learn from.

    Columns: ``prompt`` and ``completion`` (lists of one message ``{"role", "content"}``), then where each came from:
    query_id, task, llm (``reference`` for the baseline), mode, performance, judge, cost, tokens (of the completion),
    grader, rule, rank.

    Args:
        table, choice, exclude: See `select_rows`.
        count_tokens: Texts -> their numbers of tokens; None takes what the log says (null where it says nothing).

    Returns:
        (dataset, counts); counts hold ``read``, ``kept``, ``dropped``, ``by_task`` and ``by_teacher`` (rows).

    Raises:
        UserError: As `select_rows`, and when no answer is left.
    """
    chosen, counts = select_rows(table, choice, exclude)
    if not counts["kept"]:
        raise UserError(f"no answer is left to learn from: read {counts['read']} rows, dropped: {_reasons(counts)}")
    columns = {name: chosen[name].to_pylist() for name in chosen.column_names}
    columns["tokens"] = columns["output_tokens"]
    if choice is not None and choice.select == "baseline":
        same = {"llm": "reference", "mode": "direct", "performance": 1.0}
        same |= dict.fromkeys(("judge", "cost", "tokens", "grader"))
        columns |= {name: [value] * len(chosen) for name, value in same.items()}
        columns["response"] = list(map(reference_answer, columns["metric"], columns["ground_truth"]))
    texts = [text.strip() for text in columns["response"]]
    if count_tokens is not None:
        columns["tokens"] = count_tokens(texts)
    prompts = [with_mode(q, m) for q, m in zip(columns["query"], columns["mode"], strict=True)]
    data = {"prompt": _messages("user", prompts), "completion": _messages("assistant", texts)}
    counts["by_task"], counts["by_teacher"] = _count(columns["task"]), _count(columns["llm"])
    return _to_dataset(data | {name: columns[name] for name in PROVENANCE}, PROVENANCE), counts


def preference_dataset(table: pa.Table, choice: Choice | None = None, exclude: pa.Table | None = None):
    """The best answer against the worst one to the same prompt, for DPO; ``choice.top_k`` plays no part.

    A pair needs a right answer and one that is worse by the rule's score (performance, or the judge's score); both are
    complete and graded. A query in a mode gives at most one pair. Columns: ``prompt``, ``chosen``, ``rejected`` (lists
    of one message), query_id, task, mode, rule, and of both answers llm, performance and judge
    (``chosen_llm``, ``rejected_llm``, …).

    Returns:
        (dataset, counts); here ``read``, ``kept`` and ``dropped`` count prompts (a query in a mode).

    Raises:
        UserError: As `select_rows`, when the rule is ``baseline``, and when no pair is left.
    """
    choice = choice or Choice()
    if choice.select == "baseline":
        raise UserError("format: preference compares answers of LLMs: select perf, judge or hybrid")
    table = read_columns(table)
    answers = Answers.of(table)
    prompt = query_and_mode(table, answers)
    drop = Drops(table.num_rows)
    drop_excluded(drop, table, exclude, choice.near)
    excluded = ~drop.alive
    drop_unusable(drop, table, answers, choice)
    usable = drop.alive.copy()
    drop_wrong(drop, table, answers, choice)
    # A query in a mode is one prompt, and places are given within one.
    best = _first(replace(answers, query=prompt), drop.alive, choice, 1)
    worst = _first(replace(answers, query=prompt), usable, choice, -1)
    # A hybrid's best is the judge's choice among the right ones, so its pairs are told apart by performance.
    score = answers.judge if choice.select == "judge" else answers.performance
    both = sorted(p for p in best.keys() & worst.keys() if score[best[p]] > score[worst[p]])
    every = set(prompt.tolist())
    out = set(prompt[excluded].tolist())
    dropped = {
        "in_excluded_split": len(out),
        "no_right_answer": len(every - out - best.keys()),
        "no_worse_answer": len((best.keys() - out) - set(both)),
    }
    counts = {"read": len(every), "kept": len(both), "dropped": {k: n for k, n in dropped.items() if n}}
    if not both:
        raise UserError(f"no pair is left: read {len(every)} prompts, dropped: {_reasons(counts)}")
    sides = {"chosen": [best[p] for p in both], "rejected": [worst[p] for p in both]}
    return _pairs(table, sides, choice), counts | _pair_counts(table, sides)


def _first(answers: Answers, rows: np.ndarray, choice: Choice, sign: int) -> dict[int, int]:
    """Prompt -> row of its best (`sign` 1) or worst (-1) answer by the rule."""
    places = choice.places | {"top_k": 1}
    if sign < 0:
        answers = replace(answers, performance=-answers.performance, judge=-answers.judge)
        places["rule"] = "judge" if choice.select == "judge" else "perf"
    chosen = rank_answers(answers, rows, **places).rows
    return dict(zip(answers.query[chosen].tolist(), chosen.tolist(), strict=True))


def _pairs(table: pa.Table, sides: dict[str, list[int]], choice: Choice):
    of = {side: table.take(pa.array(rows)) for side, rows in sides.items()}
    same = {name: of["chosen"][name].to_pylist() for name in ("query_id", "task", "query", "mode")}
    data = {"prompt": _messages("user", [with_mode(q, m) for q, m in zip(same["query"], same["mode"], strict=True)])}
    data |= {side: _messages("assistant", pc.utf8_trim_whitespace(of[side]["response"]).to_pylist()) for side in of}
    kinds = {"query_id": "string", "task": "string", "mode": "string", "rule": "string"}
    data |= {name: same[name] for name in ("query_id", "task", "mode")} | {"rule": [choice.select] * len(same["task"])}
    for side in of:
        for name, kind in (("llm", "string"), ("performance", "float32"), ("judge", "float32")):
            kinds[f"{side}_{name}"] = kind
            data[f"{side}_{name}"] = of[side][name].to_pylist()
    return _to_dataset(data, kinds)


def _pair_counts(table: pa.Table, sides: dict[str, list[int]]) -> dict:
    take = {side: table.take(pa.array(rows)) for side, rows in sides.items()}
    return {
        "by_task": _count(take["chosen"]["task"].to_pylist()),
        "by_teacher": _count(take["chosen"]["llm"].to_pylist()),
        "by_rejected": _count(take["rejected"]["llm"].to_pylist()),
    }


def hold_out(dataset, share: float):
    """(train, validation): the queries whose id hashes below `share` are held out; None where there are none."""
    if not 0 <= share < 1:
        raise UserError(f"holdout: expected a share of at least 0 and below 1, found {share}")
    held = np.array([zlib.crc32(f"holdout {q}".encode()) / 2**32 < share for q in dataset["query_id"]])
    if held.all():
        raise UserError(f"holdout {share} leaves nothing to train on: lower it")
    if not held.any():
        return dataset, None
    return dataset.select(np.flatnonzero(~held)), dataset.select(np.flatnonzero(held))


def save(
    dataset,
    counts: dict,
    out: str | Path,
    validation=None,
    tokenizer: str | None = None,
    overwrite: bool = False,
    training: dict | None = None,
) -> Path:
    """Write a dataset as a folder that ``load_dataset(out)`` reads (Parquet and a card); returns the folder.

    Args:
        validation: Becomes the split ``validation``.
        tokenizer: Who counted the column ``tokens``; None means the log did.
        overwrite: Also where the folder holds something else; see `fusion_hf.outputs`.
        training: How the rows were chosen (see `fusion_hf.made`), where that is known; it is saved with them.
    """
    from .card import data_card

    with atomic_folder(out, "training data", overwrite) as new:
        files = {}
        for split, rows in (("train", dataset), ("validation", validation)):
            if rows is not None:
                with named_by_content(new / "data", split) as (path, written):
                    rows.to_parquet(str(path))
                files[split] = written[0].relative_to(new).as_posix()
        if training is not None:
            (new / FILE).write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")
        card = data_card(dataset, counts, files, validation, tokenizer, training)
        (new / "README.md").write_text(card, encoding="utf-8")
    return Path(out)


def _messages(role: str, texts: list[str]) -> list[list[dict]]:
    return [[{"role": role, "content": text}] for text in texts]


def _count(values: list[str]) -> dict[str, int]:
    names, counts = np.unique(np.array(values, str), return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _reasons(counts: dict) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in counts["dropped"].items()) or "the log is empty"


def _to_dataset(data: dict, kinds: dict[str, str]):
    from datasets import Dataset, Features, List, Value

    message = List({"role": Value("string"), "content": Value("string")})
    features = Features({name: Value(kinds[name]) if name in kinds else message for name in data})
    return Dataset.from_dict(data, features=features)
