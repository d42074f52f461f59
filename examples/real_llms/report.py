"""What the answers show: scores by query id, without a word of question or answer, and figures with intervals."""

import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

import fusion_hf
from fusion_hf.logs.schema import candidate_id
from fusion_hf.logs.stats import bootstrap_ci, paired

KEPT = ("query_id", "task", "llm", "mode", "prompt_version", "performance", "input_tokens", "output_tokens",
        "finish_reason")  # fmt: skip
EXAMPLE = {"gsm8k": "42", "arc_challenge": "(A)"}  # the answers that the published prompts show


def write(log: Path, out: Path) -> Path:
    """Read every folder of answers below `log`; write ``scores.csv.gz`` and ``report.md`` into `out`."""
    table = scores(log)
    out.mkdir(parents=True, exist_ok=True)
    with gzip.GzipFile(out / "scores.csv.gz", "wb", mtime=0) as file:
        pv.write_csv(table, file)
    (out / "report.md").write_text(render(table), encoding="utf-8")
    print(f"{table.num_rows} scores in {out}", flush=True)
    return out


def scores(log: Path) -> pa.Table:
    """A row an answer: the folder it came from (split or setting) and what was measured of it."""
    parts = []
    for folder in sorted({p.parent for p in log.rglob("shard-*.jsonl")}):
        table = fusion_hf.read_log(folder)
        table = table.filter(pc.is_null(table["error"]))
        if not table.num_rows:
            continue
        where = folder.relative_to(log).parts
        kind = where[0] if where[0] not in ("thoughts", "students") else "/".join(where[:2])
        shown = [EXAMPLE.get(task) for task in table["task"].to_pylist()]
        read, gold = table["extracted"].to_pylist(), table["ground_truth"].to_pylist()
        copied = [
            s is not None and r is not None and r.strip("()") == s.strip("()") and s not in g
            for s, r, g in zip(shown, read, gold, strict=True)
        ]
        part = table.select(list(KEPT)).append_column("copied", pa.array(copied, pa.bool_()))
        parts.append(part.add_column(0, "of", pa.array([kind] * len(part))))
    if not parts:
        raise SystemExit(f"{log}: expected answers of the collector, found none")
    return pa.concat_tables(parts).sort_by([(name, "ascending") for name in ("of", "task", "llm", "mode", "query_id")])


def render(table: pa.Table) -> str:
    """All sections for which there are answers."""
    rows = [row for row in table.to_pylist() if row["performance"] is not None]
    test = [row for row in rows if row["of"] == "test"]
    parts = ["# Real LLMs: what was measured", _about(table), _accuracy(test), _tokens(test), _together(test)]
    parts += [_fused(test), _copied(rows), _settings(rows, test)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(table: pa.Table) -> str:
    return (
        f"{table.num_rows} graded answers of pretrained LLMs in 4 bits, greedy. Accuracy is a mean over queries, with "
        "its 95 % bootstrap interval; differences are paired by query. Scores by query id are in `scores.csv.gz`."
    )


def _cells(rows: list[dict]) -> dict[tuple[str, str], dict[str, dict]]:
    """(task, candidate) -> query id -> row."""
    found: dict = defaultdict(dict)
    for row in rows:
        found[row["task"], candidate_id(row["llm"], row["mode"])][row["query_id"]] = row
    return found


def _accuracy(rows: list[dict]) -> str:
    cells = _cells(rows)
    tasks, names = sorted({t for t, _ in cells}), sorted({c for _, c in cells})
    lines = ["## Accuracy", "", "| task | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for task in tasks:
        said = []
        for name in names:
            values = np.array([row["performance"] for row in cells.get((task, name), {}).values()])
            mean, low, high = bootstrap_ci(values)
            said.append(f"{mean:.2f} [{low:.2f}, {high:.2f}], n={len(values)}" if len(values) else "")
        lines.append(f"| {task} | " + " | ".join(said) + " |")
    return "\n".join(lines)


def _tokens(rows: list[dict]) -> str:
    lines = ["## Tokens and cut answers", "", "| candidate | tokens in | tokens out | cut |", "|---|---|---|---|"]
    by: dict = defaultdict(list)
    for row in rows:
        by[candidate_id(row["llm"], row["mode"])].append(row)
    for name, mine in sorted(by.items()):
        sent, got = (np.mean([row[c] or np.nan for row in mine]) for c in ("input_tokens", "output_tokens"))
        cut = np.mean([row["finish_reason"] == "length" for row in mine])
        lines.append(f"| {name} | {sent:.0f} | {got:.0f} | {cut:.1%} |")
    return "\n".join(lines)


def _whole(rows: list[dict]) -> tuple[dict[str, list[str]], dict[str, list[str]], dict]:
    """Candidates and queries of each task for which every candidate answered every one of them, and the cells."""
    cells = _cells(rows)
    names: dict[str, list[str]] = defaultdict(list)
    for task, name in sorted(cells):
        names[task].append(name)
    most = max(map(len, names.values()), default=0)
    names = {task: found for task, found in names.items() if len(found) == most}
    queries = {
        task: sorted(set.intersection(*(set(cells[task, name]) for name in found))) for task, found in names.items()
    }
    return names, {task: found for task, found in queries.items() if len(found) >= 10}, cells


def _matrix(cells: dict, task: str, names: list[str], queries: list[str]) -> np.ndarray:
    return np.array([[cells[task, name][q]["performance"] for name in names] for q in queries], float)


def _together(rows: list[dict]) -> str:
    """Do the others know what the best does not, beyond what independent luck would give."""
    names, queries, cells = _whole(rows)
    lines = ["## Complementarity", "", "Of the queries that the best candidate of a task fails, the share that another "
             "one answers rightly; and the same where the others' scores are shuffled among the queries of the task.",
             "", "| task | best | fails | another is right | by luck |", "|---|---|---|---|---|"]  # fmt: skip
    rng = np.random.default_rng(0)
    for task, found in queries.items():
        matrix = _matrix(cells, task, names[task], found)
        best = int(matrix.mean(0).argmax())
        failed, others = matrix[:, best] < 0.5, np.delete(matrix, best, 1)
        if not failed.any():
            continue
        seen = (others[failed] >= 0.5).any(1).mean()
        luck = np.mean([(rng.permuted(others, axis=0)[failed] >= 0.5).any(1).mean() for _ in range(500)])
        lines.append(f"| {task} | {names[task][best]} | {failed.sum()} of {len(found)} | {seen:.2f} | {luck:.2f} |")
    return "\n".join(lines) if queries else ""


def _fused(rows: list[dict]) -> str:
    """Choice by task beside the best single LLM, both chosen on one half of the queries and measured on the other."""
    names, queries, cells = _whole(rows)
    if not queries:
        return ""
    all_names = sorted(set.intersection(*(set(names[task]) for task in queries)))
    gain: dict[str, np.ndarray] = {}
    picked: dict[str, list[str]] = defaultdict(list)
    halves = {t: np.array([int(q, 16) % 2 for q in found]) for t, found in queries.items()}
    matrices = {t: _matrix(cells, t, all_names, found) for t, found in queries.items()}
    for half in (0, 1):
        single = int(np.mean([matrices[t][halves[t] != half].mean(0) for t in queries], 0).argmax())
        for task, matrix in matrices.items():
            mine = int(matrix[halves[task] != half].mean(0).argmax())
            picked[task].append(all_names[mine])
            here = halves[task] == half
            gain.setdefault(task, np.zeros(len(matrix)))[here] = matrix[here, mine] - matrix[here, single]
    lines = ["## The choice by task beside the best single candidate", "",
             "Both are chosen on one half of the queries and measured on the other, and the reverse.", "",
             "| task | chosen | difference |", "|---|---|---|"]  # fmt: skip
    for task, gaps in gain.items():
        mean, low, high = bootstrap_ci(gaps)
        lines.append(f"| {task} | {' / '.join(picked[task])} | {mean:+.3f} [{low:+.3f}, {high:+.3f}] |")
    mean, low, high = bootstrap_ci(np.concatenate(list(gain.values())))
    won = sum(bootstrap_ci(g)[1] > 0 for g in gain.values())
    lost = sum(bootstrap_ci(g)[2] < 0 for g in gain.values())
    lines += ["", f"Over all {sum(map(len, gain.values()))} queries {mean:+.3f} [{low:+.3f}, {high:+.3f}]; better on "
              f"{won} and worse on {lost} of {len(gain)} tasks by an interval without zero."]  # fmt: skip
    return "\n".join(lines)


def _copied(rows: list[dict]) -> str:
    """How often the example in the published prompt is given as the answer, where it is wrong."""
    paper = [row for row in rows if row["of"] == "paper"]
    if not paper:
        return ""
    asked = {(row["task"], row["llm"]) for row in paper}
    lines = ["## The example answer of the published prompts", "",
             "How often it is given as the answer where it is wrong.", "",
             "| task | LLM | published prompt | plain prompt |", "|---|---|---|---|"]  # fmt: skip
    for task, llm in sorted(asked):
        said = []
        for of in ("paper", "test"):
            mine = [r for r in rows if (r["of"], r["task"], r["llm"], r["mode"]) == (of, task, llm, "direct")]
            copied, right = sum(r["copied"] for r in mine), [r["performance"] for r in mine]
            said.append(f"{copied} of {len(mine)}, accuracy {np.mean(right):.2f}" if mine else "")
        lines.append(f"| {task} | {llm} | {said[0]} | {said[1]} |")
    return "\n".join(lines)


def _settings(rows: list[dict], test: list[dict]) -> str:
    """Few-shot, templates and students beside the direct mode of the same LLM, query by query."""
    direct = {(r["task"], r["llm"], r["query_id"]): r["performance"] for r in test if r["mode"] == "direct"}
    found: dict = defaultdict(list)
    for row in rows:
        if "/" in row["of"]:
            base = direct.get((row["task"], row["llm"].split("+")[0], row["query_id"]))
            if base is not None:
                found[row["of"], row["task"]].append((row["performance"], base))
    if not found:
        return ""
    lines = ["## Thought and model level beside the direct mode", "",
             "| setting | task | n | accuracy | direct | difference |", "|---|---|---|---|---|---|"]  # fmt: skip
    for (setting, task), pairs in sorted(found.items()):
        mine, base = np.array(pairs, float).T
        gap = paired(mine, base)
        said = f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
        lines.append(f"| {setting} | {task} | {len(mine)} | {mine.mean():.2f} | {base.mean():.2f} | {said} |")
    return "\n".join(lines)
