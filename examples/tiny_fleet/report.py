"""What the fleet's log says: accuracy of each candidate on each task, and what choosing by task gains."""

import numpy as np
import pyarrow as pa

from fusion_hf.llms.pool import Pool
from fusion_hf.logs.schema import candidate_id

from .generators import MAKERS as TASKS

CHANCE = dict.fromkeys(TASKS, 0.0)
CHANCE |= dict.fromkeys(("arc_challenge", "hellaswag", "openbook_qa", "mmlu", "gpqa"), 0.25)
CHANCE |= {"commonsense_qa": 0.2, "boolq": 0.5}
"""Accuracy of a guess; 0 where the answer is open."""


def accuracies(table: pa.Table) -> tuple[list[str], dict[str, np.ndarray], dict[str, int]]:
    """Candidates, task -> mean performance of each candidate, task -> number of queries."""
    rows = table.select(["task", "llm", "mode", "performance", "query_id"]).to_pylist()
    candidates = sorted({candidate_id(r["llm"], r["mode"]) for r in rows})
    scores: dict[tuple[str, str], list[float]] = {}
    for r in rows:
        scores.setdefault((r["task"], candidate_id(r["llm"], r["mode"])), []).append(r["performance"])
    means = {t: np.array([np.mean(scores[t, c]) for c in candidates]) for t in TASKS}
    return candidates, means, {t: len(scores[t, candidates[0]]) for t in TASKS}


def goals(train: pa.Table, test: pa.Table) -> dict:
    """Tasks with a candidate two standard errors above chance, and best per task against best single.

    Both are chosen on `train` and measured on `test`; every task counts the same.
    """
    candidates, chosen, _ = accuracies(train)
    same, measured, counts = accuracies(test)
    if candidates != same:
        raise ValueError(f"expected the candidates of train in test, found {same} instead of {candidates}")
    above = []
    for task in TASKS:
        best = measured[task].max()
        margin = 2 * np.sqrt(max(best * (1 - best), 1e-9) / counts[task])
        if best - margin > CHANCE[task]:
            above.append(task)
    single = int(np.mean([chosen[t] for t in TASKS], axis=0).argmax())
    per_task = {t: int(chosen[t].argmax()) for t in TASKS}
    return {
        "above_chance": above,
        "single": candidates[single],
        "best_single": float(np.mean([measured[t][single] for t in TASKS])),
        "best_per_task": float(np.mean([measured[t][per_task[t]] for t in TASKS])),
        "choice": {t: candidates[i] for t, i in per_task.items()},
    }


def table_text(train: pa.Table, test: pa.Table) -> str:
    """A Markdown table of test accuracies, and the goals in a sentence each."""
    candidates, means, counts = accuracies(test)
    members = list(dict.fromkeys(c.removesuffix("_think") for c in candidates))
    lines = ["| task | " + " | ".join(m.removeprefix("tiny-") for m in members) + " | chance |"]
    lines.append("|---" * (len(members) + 2) + "|")
    column = {c: i for i, c in enumerate(candidates)}
    for task in TASKS:
        cells = [f"{means[task][column[m]]:.2f} / {means[task][column[f'{m}_think']]:.2f}" for m in members]
        lines.append(f"| {task} | " + " | ".join(cells) + f" | {CHANCE[task]:.2f} |")
    average = np.mean([means[t] for t in TASKS], axis=0)
    cells = [f"{average[column[m]]:.3f} / {average[column[f'{m}_think']]:.3f}" for m in members]
    lines.append("| mean | " + " | ".join(cells) + f" | {np.mean(list(CHANCE.values())):.3f} |")
    found = goals(train, test)
    lines += [
        "",
        f"Each cell: direct / think, share of {max(counts.values())} test queries answered right.",
        f"{len(found['above_chance'])} of {len(TASKS)} tasks have a candidate two standard errors above chance. "
        f"The best single candidate (chosen on train) is {found['single']} with {found['best_single']:.3f} on test; "
        f"the best candidate of each task (chosen on train) reaches {found['best_per_task']:.3f}.",
    ]
    return "\n".join(lines)


def card_text(pool: Pool, train: pa.Table, test: pa.Table) -> str:
    """What the sample's card says about its origin."""
    members = "\n".join(f"- `{llm.name}`: {llm.description}" for llm in pool.values())
    return f"""This is a real log of very small models on invented questions. It exists so that every command of
fusion_hf can run at once, without a server, a GPU or a download. **It says nothing about any real LLM or benchmark.**

What it is, exactly:

- The queries are procedurally generated miniatures of the 14 tasks, in the real tasks' prompt formats. Their facts
  belong to an invented world; nothing in them is true elsewhere.
- The answers were given by six language models with one to two million parameters, trained from scratch by this
  project on other questions of the same kind (`examples/tiny_fleet`), greedy decoding, in both modes. They were
  collected by fusion_hf's own collector and graded by its `strict` graders.
- No query of the log stood in the models' training, and no query stands in two splits. Facts may be shared: a question
  of test may ask the other way round for a fact that train asks for.
- Prices are invented: in proportion to a model's parameters. Latencies are those of batches on two busy CPU cores.
- `reader/` holds the weights of `tiny-small`; the others can be trained again, their `model` in pool.yaml is a name
  that leads nowhere.

The models:

{members}

{table_text(train, test)}

To make it again: `python -m examples.tiny_fleet.build_sample` in a checkout of the project (within an hour on two
cores)."""
