"""The final answer that a response comes down to, so that answers of several LLMs can be compared.

Nothing here knows the reference answer or a score: only query and response are read, as they can be when a query is
new. Answers agree if they are equal.
"""

import ast
import hashlib
import json
import os
import re
import uuid
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from ...encoders.cache import cache_folder
from ...logs.arrays import RoutingData, positions
from ...tasks.graders._final import answer_field, final_text
from ...tasks.graders._grade import last_box, plain_money, words_only
from ...tasks.graders._numbers import as_number
from ...tasks.graders._program import blocks, read_program
from ...tasks.graders.cem import read_truth
from ...tasks.graders.em_mc import parse_options, read_letter
from ...tasks.graders.gsm8k import read_number
from ...tasks.sandbox import run_python
from .replies import Answer

VERSION = 2  # of the signatures of programs in the cache
CPU_S, TIMEOUT_S = 4.0, 20.0
PASSES = "passes the shown tests"
LITERAL, LONGEST_LITERAL = tuple("[{('\""), 1000  # first characters of a list, dict, tuple or string; characters
LONGEST = 12  # words of a free answer; of a longer one the last sentence counts

_TRUTH = re.compile(r"(?i)\btrue or false\b|\byes or no\b")
_CODE = re.compile(
    r"(?i)\bpython\b|\b(?:write|complete|implement) (?:\w+ ){0,3}(?:function|program|method)\b|^def \w+\(",
    re.M,
)
_ASSERT = re.compile(r"(?m)^[ \t]*(assert .+)$")
_DOCTEST = re.compile(r"(?m)^[ \t]*>>> (.+)\n[ \t]*(?!>>>)(\S.*)$")
_STUB = re.compile(r"(?ms)^(?:(?:from|import) .+\n|\n|def .+?:\n)*?def (\w+)\(.*?\).*?:\n\s+(\"\"\"|''').*?\2")
_LEAD = re.compile(r"(?i)^.*\b(?:answer|it)\b(?: to .{1,80}?)? (?:is|was|would be)[: ]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n+")


def read_answer(query: str, response: str | None, mean_logprob: float | None = None) -> Answer | None:
    """The final answer of a response, in a form in which equal answers are equal.

    What is asked for is told from the query: an option (its label), True or False, a program (see `program_answer`), or
    else something free: what stands in a box, a number, or a few words. It is empty where none can be read, and None
    where there is no response. `mean_logprob` (of the response's tokens, in nats) is kept with it.
    """
    return None if response is None else Answer.of(_read(query, response), response, mean_logprob)


def _read(query: str, response: str) -> str | None:
    response = final_text(response, query)
    options = parse_options(query)
    if options:
        return read_letter(response, options, query)[0]
    if _TRUTH.search(query):
        verdict = read_truth(response, query)
        return None if verdict is None else str(verdict)
    if gives_code(query, response):
        return program_answer(query, response)
    return free_answer(response, query)


def asks_code(query: str) -> bool:
    """Whether a query asks for a program and shows no options."""
    return bool(_CODE.search(query)) and not parse_options(query)


def gives_code(query: str, response: str) -> bool:
    """Whether a response gives the program that a query asks for.

    A query that shows a program may ask what comes out of it, which then stands in a field for the answer.
    """
    if not asks_code(query):
        return False
    field = answer_field(final_text(response, query))
    return field is None or bool(re.search(r"\b(?:def|class) \w+|\breturn\b", field[0]))


def free_answer(response: str, query: str = "") -> str | None:
    """What stands in an answer field, a box or after ####; else a short last sentence without its lead, or a number."""
    field = answer_field(response)
    boxed = last_box(response if field is None else field[0])
    if boxed is not None or field is not None:
        return _plain(boxed or field[0])
    if "####" in response:
        number = read_number(response, query)[0]
        if number is not None:
            return _plain(number)
    sentences = [s for s in _SENTENCE.split(response.strip()) if s.strip()]
    last = _LEAD.sub("", sentences[-1].strip()) if sentences else ""
    if 0 < len(last.split()) <= LONGEST and not any(c.isdigit() for c in last):
        return _plain(last)
    number = read_number(response, query)[0]
    if number is not None:
        return _plain(number)
    return _plain(last) if last else None


def _plain(text: str) -> str | None:
    """A number by its value, a literal of a program as it is written, other text by its words."""
    text = text.strip().strip("$ ")
    number = as_number(plain_money(text).rstrip("."))
    if number is not None:
        return str(number)
    if text[:1] in LITERAL and _is_literal(text):
        return re.sub(r"\s*,\s*", ", ", " ".join(text.split()))
    return words_only(text) or None


def _is_literal(text: str) -> bool:
    if len(text) > LONGEST_LITERAL:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return False
    return True


# -- programs


def shown_tests(query: str) -> list[str]:
    """Tests that a query shows: its assertions, and its doctests as assertions."""
    return _ASSERT.findall(query) + [f"assert ({call}) == ({value})" for call, value in _DOCTEST.findall(query)]


def program_answer(query: str, response: str) -> str | None:
    """`PASSES` for a program that passes the tests that the query shows; None for one that fails.

    Where the query shows none: a hash of what the program does on fixed inputs (`PROBES`), so that programs agree that
    do the same; None where it fails on all of them.
    """
    stub = _STUB.search(query)
    tests = shown_tests(query)
    reference = {"prompt": stub.group() if stub else "", "entry_point": stub.group(1) if stub else "", "tests": tests}
    program = None if stub else next((block for block in blocks(response) if _entry(block)), None)
    program = program or read_program(response, reference)
    if program is None:
        return None
    if tests:
        done = run_python(program, timeout=TIMEOUT_S, cpu_s=CPU_S, tests=tests)
        return PASSES if done.ok else None
    entry = _entry(program)
    if entry is None:
        return None
    done = run_python(program, timeout=TIMEOUT_S, cpu_s=CPU_S, tests=[_probe(*entry)])
    found = re.search(r"behaves ([0-9a-f]{16})", done.reason)
    return found.group(1) if found else None


def _entry(program: str) -> tuple[str, int] | None:
    """Name and number of required arguments of the first function that no other one calls, or of the last."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(program).body
    except (SyntaxError, ValueError, RecursionError):
        return None
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    if not functions:
        return None
    called = {
        node.func.id
        for f in functions
        for node in ast.walk(f)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id != f.name
    }
    free = [f for f in functions if f.name not in called] or functions
    chosen = free[-1]
    return chosen.name, len(chosen.args.args) - len(chosen.args.defaults)


PROBES = """[0, 1, 2, 3, 5, 7, 10, 12, 25, 100, -4, 2.5, "", "a", "Abc", "hello world", "aab12 Cd_e", "madam", "10110",
[], [1, 2, 3], [4, 1, 3, 1, 2], [-1, 5, 0, 7, 7], ["x", "yy", "x"], [(1, 2), (3, 1), (1, 2)], [[1, 2], [3], [1, 2]],
(1, 2, 3), ("a", 1), {"a": 1, "b": 2}, [1, "a", 2.0], True]"""
_PROBE = """import copy, hashlib, itertools, signal
class Slow(BaseException): pass
def stop(*_): raise Slow
signal.signal(signal.SIGVTALRM, stop)
values = VALUES
rows = list(itertools.product(values, repeat=ARITY))
found = []
for row in rows[:: max(1, len(rows) // 900)]:
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
    try:
        given = copy.deepcopy(row)
        result = NAME(*given)
        result = ("changed", given) if result is None and given != row else result
        found.append(repr(sorted(result, key=repr) if isinstance(result, (set, frozenset)) else result)[:200])
    except (Exception, Slow):
        found.append("!")
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
some = [f for f in found if f not in ("!", "None") and " at 0x" not in f]
raise RuntimeError("behaves " + (hashlib.md5(repr(found).encode()).hexdigest()[:16] if some else "badly"))
"""


def _probe(name: str, arity: int) -> str:
    return _PROBE.replace("VALUES", PROBES).replace("ARITY", str(min(arity, 3))).replace("NAME", name)


# -- a whole log


def log_answers(table: pa.Table, data: RoutingData, progress: bool = False) -> np.ndarray:
    """`read_answer` of every response of a log, in the order of `data`: object [n, m]; None without a response.

    Programs run in the sandbox once; what came of it is cached on disk.
    """
    ids, rows, names, columns = positions(table)
    row_of = {name: i for i, name in enumerate(data.query_ids)}
    column_of = {name: j for j, name in enumerate(data.candidates)}
    rows = np.array([row_of.get(name, -1) for name in ids])[rows]
    columns = np.array([column_of.get(name, -1) for name in names])[columns]
    result = np.full((len(data), len(data.candidates)), None, object)
    programs: dict[tuple[str, str], list[tuple[int, int, float | None]]] = {}
    known = "mean_logprob" in table.column_names
    logprobs = table["mean_logprob"].to_pylist() if known else [None] * len(table)
    said = zip(table["query"].to_pylist(), table["response"].to_pylist(), logprobs, strict=True)
    for i, j, (query, response, logprob) in zip(rows.tolist(), columns.tolist(), said, strict=True):
        if i < 0 or j < 0 or response is None:
            continue
        if gives_code(query, response):
            programs.setdefault((query, response), []).append((i, j, logprob))
        else:
            result[i, j] = read_answer(query, response, logprob)
    for (key, places), answer in zip(programs.items(), _program_answers(list(programs), progress), strict=True):
        for i, j, logprob in places:
            result[i, j] = Answer.of(answer, key[1], logprob)
    return result


def _program_answers(work: Sequence[tuple[str, str]], progress: bool) -> list[str | None]:
    from tqdm import tqdm

    folder = cache_folder() / "answers"
    known = _read_cache(folder)
    keys = [
        hashlib.blake2b(f"{VERSION}\x1f{q}\x1f{r}".encode("utf-8", "replace"), digest_size=16).hexdigest()
        for q, r in work
    ]
    todo = [i for i, key in enumerate(keys) if key not in known]
    with tqdm(
        total=len(todo), desc="running programs", unit="program", disable=None if progress and todo else True
    ) as bar:
        for start in range(0, len(todo), 200):
            part = todo[start : start + 200]
            with ThreadPoolExecutor(max(1, min(2, len(os.sched_getaffinity(0))))) as pool:
                new = dict(
                    zip([keys[i] for i in part], pool.map(lambda i: program_answer(*work[i]), part), strict=True)
                )
            _write_cache(folder, new)
            known |= new
            bar.update(len(part))
    return [known[key] for key in keys]


def _read_cache(folder: Path) -> dict[str, str | None]:
    known = {}
    for path in sorted(folder.glob("*.json")):
        known |= json.loads(path.read_text(encoding="utf-8"))
    return known


def _write_cache(folder: Path, new: dict[str, str | None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{uuid.uuid4().hex}.part"
    part.write_text(json.dumps(new), encoding="utf-8")
    os.replace(part, part.with_suffix(".json"))
