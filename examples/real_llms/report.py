"""What the answers show: scores by query id, without a word of question or answer, and figures with intervals."""

import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

import fusion_hf
from examples.real_llms.packages import LLMS, PRICES, USD
from fusion_hf.comparison.winners import Evidence, winners
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
    parts = ["# Real LLMs: what was measured", _about(table), _accuracy(test), _tokens(rows), _together(test)]
    parts += [_copied(rows), _thinking(test), _settings(rows, test), _students(rows, test), _fused(rows)]
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


def _name(row: dict) -> str:
    """A candidate: LLM and mode, and the setting of the thought level."""
    base = candidate_id(row["llm"], row["mode"])
    return f"{row['llm']} {row['of'].split('/')[1]}" if row["of"].startswith("thoughts/") else base


def _tokens(rows: list[dict]) -> str:
    lines = ["## Tokens, cost and cut answers", "",
             "Means a query over the tasks that a candidate was asked; not all were asked the same tasks. USD for "
             f"1,000 queries are {PRICES.removeprefix('set: ')}: only their ratios mean something.", "",
             "| candidate | size class | queries | tokens in | tokens out | USD | cut |", "|---" * 7 + "|"]  # fmt: skip
    by: dict = defaultdict(list)
    for row in rows:
        if row["of"] not in ("train", "paper"):
            by[_name(row)].append(row)
    for name, mine in sorted(by.items()):
        sent, got = (np.mean([row[c] or np.nan for row in mine]) for c in ("input_tokens", "output_tokens"))
        cut = np.mean([row["finish_reason"] == "length" for row in mine])
        llm = LLMS[mine[0]["llm"].split("+")[0]]
        usd = (sent + got) * USD * llm.billions / 1000
        lines.append(f"| {name} | {llm.size} | {len(mine)} | {sent:.0f} | {got:.0f} | {usd:.4f} | {cut:.1%} |")
    return "\n".join(lines)


def _matrices(rows: list[dict], least: int = 10) -> dict[str, tuple[list[str], list[str], np.ndarray]]:
    """Task -> its candidates, the queries that all of them answered, and the scores [queries, candidates]."""
    cells: dict = defaultdict(dict)
    for row in rows:
        cells[row["task"], _name(row)][row["query_id"]] = row["performance"]
    found = {}
    for task in sorted({t for t, _ in cells}):
        asked = {name: set(mine) for (t, name), mine in cells.items() if t == task}
        # Not all were asked equally much: so many candidates and queries that most scores are used.
        kept = [{n: mine for n, mine in asked.items() if len(mine) >= len(other)} for other in asked.values()]
        names = sorted(max(kept, key=lambda k: len(k) * len(set.intersection(*k.values()))))
        queries = sorted(set.intersection(*(asked[n] for n in names)))
        if len(queries) >= least:
            found[task] = names, queries, np.array([[cells[task, n][q] for n in names] for q in queries], float)
    return found


def _together(rows: list[dict]) -> str:
    """Do the others know what the best does not, beyond what independent luck would give."""
    lines = ["## Complementarity", "", "Direct mode. Of the queries that the best LLM of a task fails, the share that "
             "another one answers rightly; and the same where the others' scores are shuffled among the queries of the "
             "task.", "", "| task | best | fails | another is right | by luck |", "|---|---|---|---|---|"]  # fmt: skip
    rng = np.random.default_rng(0)
    for task, (names, queries, matrix) in _matrices([r for r in rows if r["mode"] == "direct"]).items():
        best = int(matrix.mean(0).argmax())
        failed, others = matrix[:, best] < 0.5, np.delete(matrix, best, 1)
        if not failed.any() or not others.size:
            continue
        seen = (others[failed] >= 0.5).any(1).mean()
        luck = np.mean([(rng.permuted(others, axis=0)[failed] >= 0.5).any(1).mean() for _ in range(500)])
        lines.append(f"| {task} | {names[best]} | {failed.sum()} of {len(queries)} | {seen:.2f} | {luck:.2f} |")
    return "\n".join(lines) if len(lines) > 6 else ""


def _fused(rows: list[dict]) -> str:
    """The best configuration of each task beside the best single LLM, chosen on one half and measured on the other."""
    rows = [row for row in rows if row["of"] not in ("train", "paper")]
    plain = {_name(row) for row in rows if row["of"] == "test"}
    gains: dict[str, np.ndarray] = {}
    picked: dict[str, list[str]] = defaultdict(list)
    tasks = _matrices(rows)
    common = sorted(plain.intersection(*(names for names, _, _ in tasks.values())))
    if not common:
        return ""
    halves = {task: np.array([int(q, 16) % 2 for q in queries]) for task, (_, queries, _) in tasks.items()}
    for half in (0, 1):
        means = [[m[halves[t] != half, names.index(c)].mean() for c in common] for t, (names, _, m) in tasks.items()]
        single = common[int(np.mean(means, 0).argmax())]
        chosen = winners(_evidence(tasks, {t: h != half for t, h in halves.items()}, common))
        for task, (names, _, matrix) in tasks.items():
            mine, here = chosen[task].system, halves[task] == half
            picked[task].append(mine)
            gap = matrix[here, names.index(mine)] - matrix[here, names.index(single)]
            gains.setdefault(task, np.zeros(len(matrix)))[here] = gap
    lines = ["## The best configuration of each task beside the best single LLM", "",
             "Of all LLMs and modes, thought settings and students, chosen by the rule of `compare` and `autofuse` on "
             "one half of the queries and measured on the other, and the reverse; so is the best single LLM, of "
             f"{', '.join(common)}.", "", "| task | n | chosen | difference |", "|---|---|---|---|"]  # fmt: skip
    for task, gaps in gains.items():
        mean, low, high = bootstrap_ci(gaps)
        said = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        lines.append(f"| {task} | {len(gaps)} | {' / '.join(picked[task])} | {said} |")
    mean, low, high = bootstrap_ci(np.concatenate(list(gains.values())))
    won = sum(bootstrap_ci(g)[1] > 0 for g in gains.values())
    lost = sum(bootstrap_ci(g)[2] < 0 for g in gains.values())
    lines += ["", f"Over all {sum(map(len, gains.values()))} queries {mean:+.3f} [{low:+.3f}, {high:+.3f}]; better on "
              f"{won} and worse on {lost} of {len(gains)} tasks by an interval without zero."]  # fmt: skip
    return "\n".join(lines)


def _evidence(tasks: dict, seen: dict[str, np.ndarray], incumbents: list[str]) -> Evidence:
    """The scores of the queries `seen`; NaN where a task has no such candidate. What they cost is not told apart."""
    names = sorted({name for found, _, _ in tasks.values() for name in found})
    blocks = []
    for task, (found, _, matrix) in tasks.items():
        block = np.full((int(seen[task].sum()), len(names)), np.nan)
        block[:, [names.index(name) for name in found]] = matrix[seen[task]]
        blocks.append(block)
    scores = np.concatenate(blocks)
    of = np.concatenate([[task] * int(seen[task].sum()) for task in tasks])
    columns = {name: scores[:, place] for place, name in enumerate(names)}
    return Evidence(of, columns, {name: np.zeros(len(of)) for name in names}, incumbents)


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


def _thinking(test: list[dict]) -> str:
    """Think mode beside direct, query by query."""
    found: dict = defaultdict(dict)
    for row in test:
        found[row["llm"], row["task"], row["mode"]][row["query_id"]] = row["performance"]
    pairs = {
        (llm, task): [
            (score, found[llm, task, "direct"][q]) for q, score in mine.items() if q in found[llm, task, "direct"]
        ]
        for (llm, task, mode), mine in list(found.items())
        if mode == "think" and (llm, task, "direct") in found
    }
    return _paired("Think mode beside the direct mode", "LLM", pairs)


def _settings(rows: list[dict], test: list[dict]) -> str:
    """Few-shot and templates beside the direct mode of the same LLM, query by query."""
    return _paired("Thought level beside the direct mode", "setting", _beside_direct(rows, test, "thoughts/"))


def _students(rows: list[dict], test: list[dict]) -> str:
    """Students beside their base, and on which tasks one beats every LLM of the pool."""
    text = _paired("Students beside their base", "student", _beside_direct(rows, test, "students/"))
    if not text:
        return ""
    lines = ["", "Beside the best LLM of the pool on the same queries, in any mode:", "",
             "| task | best student | best of the pool | difference |", "|---|---|---|---|"]  # fmt: skip
    asked: dict = defaultdict(dict)
    for row in rows:
        if row["of"].startswith("students/"):
            asked[row["task"]].setdefault(row["of"], set()).add(row["query_id"])
    shared = {task: set.intersection(*of.values()) for task, of in asked.items()}
    both = [r for r in rows if r["of"] == "test" or r["of"].startswith("students/")]
    both = [r for r in both if r["query_id"] in shared.get(r["task"], ())]
    for task, (names, _, matrix) in _matrices(both).items():
        means = matrix.mean(0)
        student, other = (
            max((means[i], -i) for i, name in enumerate(names) if ("+" in name) == trained) for trained in (True, False)
        )
        mine, base = (matrix[:, -place] for _, place in (student, other))
        said = f"| {names[-student[1]]}: {student[0]:.2f} | {names[-other[1]]}: {other[0]:.2f} |"
        lines.append(f"| {task} {said} {_gap(mine, base)} |")
    return text + "\n" + "\n".join(lines)


def _beside_direct(rows: list[dict], test: list[dict], of: str) -> dict[tuple[str, str], list[tuple[float, float]]]:
    direct = {(r["task"], r["llm"], r["query_id"]): r["performance"] for r in test if r["mode"] == "direct"}
    found: dict = defaultdict(list)
    for row in rows:
        base = direct.get((row["task"], row["llm"].split("+")[0], row["query_id"]))
        if row["of"].startswith(of) and base is not None:
            found[row["of"].removeprefix(of), row["task"]].append((row["performance"], base))
    return found


def _paired(title: str, what: str, pairs: dict[tuple[str, str], list[tuple[float, float]]]) -> str:
    """A table of paired differences, a row a key, and one over all tasks."""
    if not pairs:
        return ""
    lines = [f"## {title}", "", f"| {what} | task | n | accuracy | direct | difference |", "|---|---|---|---|---|---|"]
    whole: dict = defaultdict(list)
    for (name, _), found in pairs.items():
        whole[name, "all of these"] += found
    for (name, task), found in [*sorted(pairs.items()), *sorted(whole.items())]:
        mine, base = np.array(found, float).T
        lines.append(f"| {name} | {task} | {len(mine)} | {mine.mean():.2f} | {base.mean():.2f} | {_gap(mine, base)} |")
    return "\n".join(lines)


def _gap(mine: np.ndarray, base: np.ndarray) -> str:
    gap = paired(mine, base)
    return f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
