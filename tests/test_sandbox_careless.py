"""Whatever a program does, its answer fails, and the grading of the log goes on."""

import json
import os

import pytest
from sandbox_walls import kernel_walls, run_python, walls

from fusion_hf.logs.grade_table import grade_table
from fusion_hf.logs.schema import rows_to_table
from fusion_hf.tasks.sandbox import _remove

TESTS = ["assert f(2) == 4"]
BAD = "\ndef f(x):\n    return 5\n"
EXHAUSTED = {
    "list of lists": "def f(x):\n    seen = []\n    while True: seen.append([])",
    "global list": "seen = []\ndef f(x):\n    while True: seen.append([])",
    "linked tuples": "def f(x):\n    n = None\n    while True: n = (n, n)",
    "linked tuples at module level": "def f(x): return 4\nn = None\nwhile True: n = (n, n)",
    "objects": "class N:\n    def __init__(s, n): s.n = n\nn = None\nwhile True: n = N(n)",
    "a dict": "d = {}\ni = 0\nwhile True:\n    d[i] = i; i += 1",
    "text": "s = 'a'\nwhile True: s += s",
    "sets": "x = set()\ni = 0\nwhile True:\n    x.add(frozenset((i,))); i += 1",
    "used up, then caught": "x = None\ntry:\n    while True: x = (x,)\nexcept MemoryError: pass\n" + BAD,
    "caught again and again": "x = None\nk = 0\nwhile k < 20:\n    try:\n        while True: x = (x,)\n"
    "    except MemoryError: k += 1\nraise ValueError('done')",
    "chained exceptions": "def g(n):\n    try: 1 / 0\n    except Exception: g(n + 1)\ng(0)",
    "recursion": "import sys\nsys.setrecursionlimit(10**6)\ndef g(n): return [n] + g(n + 1)\ng(0)",
}
FAULTS = {
    "a message as ours": "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'refused: nothing')\n"
    "    except OSError: pass" + BAD,
    "a line as ours": "import os\nfor fd in range(64):\n    try: os.write(fd, b'refused\\tnothing\\n')\n"
    "    except OSError: pass" + BAD,
    "a verdict as ours": "raise Exception('\\npassed\\tpassed\\nready\\tnetwork=x')",
    "a class without a name": "class M(type):\n    __name__ = property(lambda c: 1 / 0)\n"
    "class E(Exception, metaclass=M): pass\nraise E()",
    "a class with a number for a name": "class M(type):\n    __name__ = 5\n"
    "class E(Exception, metaclass=M): pass\nraise E()",
    "a class whose class is false": "class E(Exception):\n    __class__ = property(lambda s: 1 / 0)\nraise E()",
    "an exception that cannot be told": "class E(Exception):\n    def __str__(s): raise E\nraise E()",
    "text that leaves": "import os\nclass E(Exception):\n    def __str__(s): os._exit(0)\nraise E()",
    "text without end": "class E(Exception):\n    def __str__(s): return 'x' * 10**7\nraise E()",
    "text of another kind": "class T(str):\n    def __format__(s, f): raise KeyboardInterrupt\n"
    "class E(Exception):\n    def __str__(s): return T()\nraise E()",
    "a group of exits": "raise BaseExceptionGroup('x', [SystemExit(0), KeyboardInterrupt()])",
    "signal to its group": "import os, signal\nos.killpg(0, signal.SIGTERM)" + BAD,
    "signal to its group, by number": "import os, signal\nos.killpg(os.getpgid(0), signal.SIGKILL)" + BAD,
    "signal to its group, by zero": "import os\nos.kill(0, 9)" + BAD,
    "signal to its parent": "import os\nos.kill(os.getppid(), 9)\nimport time; time.sleep(0.2)" + BAD,
    "signal to its parent in f": "import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    return 5",
    "stop of its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)" + BAD,
    "signal to all of its account": "import os\nos.kill(-1, 9) if os.getpid() == 1 else None" + BAD,
    "closed descriptors": "import os\nos.closerange(0, 256)" + BAD,
    "closed descriptors, then a wait": "import os\nos.closerange(3, 64)\nimport time; time.sleep(60)",
    "descriptors of its own": "import os\nos.closerange(0, 64)\nfor _ in range(10): os.pipe()" + BAD,
    "a flood of the result": "import os\nb = b'x' * (1 << 20)\nfor fd in range(3, 64):\n    try:\n"
    "        for _ in range(100): os.write(fd, b)\n    except OSError: pass" + BAD,
    "no more recursion": "import sys\nsys.setrecursionlimit(30)" + BAD,
    "builtins taken away": "import builtins\nbuiltins.__dict__.clear()" + BAD,
    "modules taken away": "import sys\nsys.modules.clear()" + BAD,
    "modules replaced": "import sys\nsys.modules = None" + BAD,
    "os taken apart": "import os\nfor n in list(vars(os)): delattr(os, n)" + BAD,
    "all signals blocked": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nimport time; time.sleep(60)",
    "NUL": "x = '\0'",
    "a lone surrogate": "x = '\ud800'" + BAD,
    "many brackets": "(" * 100_000 + ")" * 100_000,
    "many signs": "x = " + "-" * 100_000 + "1",
    "many lines": "x = 1\n" * 300_000 + BAD,
}


@kernel_walls
@pytest.mark.parametrize("code", EXHAUSTED.values(), ids=EXHAUSTED)
def test_exhausted_memory_fails_the_answer(code, without):
    result = run_python(code, tests=TESTS, timeout=60, memory_mb=128, without=without)
    assert not result.ok and result.reason and result.walls


@walls
@pytest.mark.parametrize("code", FAULTS.values(), ids=FAULTS)
def test_a_program_that_breaks_something_fails_the_answer(code, without):
    result = run_python(code, tests=TESTS, timeout=3.0, without=without)
    assert not result.ok and result.reason


def test_the_reason_is_one_printable_line():
    for text in ("a\\nb\\rc\\x1b[31m", "\\x00\\x7f\\x9b31m", "\\ud800", "\\u2028\\u202e", "x" * 5000):
        reason = run_python(f"raise Exception('{text}')").reason
        assert reason.isprintable() and reason.startswith("answer: Exception: ") and len(reason) < 2000


@kernel_walls
@pytest.mark.parametrize(
    "code",
    [
        "import os\nfor _ in range(1500):\n    os.mkdir('d'); os.chdir('d')",
        "import os\nos.mkdir('d'); open('d/x', 'w').close(); os.chmod('d', 0)",
        "import os\nos.mkdir('d', 0o700); os.mkdir('d/e', 0)",
        "import os\nos.mkdir('a'); os.symlink('..', 'a/up'); os.symlink('/', 'a/root'); os.symlink('a', 'b')",
        "import os\nopen('x', 'w').close(); os.chmod('.', 0)",
    ],
)
def test_whatever_is_left_in_the_scratch_folder_is_removed(code, without, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_python(code, timeout=20, without=without)
    assert list(tmp_path.iterdir()) == []


def test_a_deep_folder_is_removed_and_what_links_lead_to_is_kept(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("whole")
    top, here = tmp_path / "scratch", os.getcwd()
    top.mkdir()
    try:
        os.chdir(top)
        os.symlink(kept, "link")
        for _ in range(1100):  # deeper than Python recurses
            os.mkdir("d")
            os.chdir("d")
        os.symlink(kept, "link")
        open("file", "w").close()
        os.chmod(".", 0)
    finally:
        os.chdir(here)
    _remove(str(top))
    assert not top.exists() and (kept / "file").read_text() == "whole"


def test_one_answer_never_ends_the_grading_of_a_log():
    gold = json.dumps({"prompt": "", "setup": "", "tests": TESTS, "entry_point": ""})
    programs = {name: code for name, code in FAULTS.items() if "many" not in name and "all signals" not in name}
    programs = {n: c for n, c in programs.items() if "sleep(60)" not in c and "surrogate" not in n}
    programs["memory"] = EXHAUSTED["linked tuples"]
    programs["right"] = "def f(x):\n    return 2 * x"
    rows = [
        {
            "query_id": str(i), "task": "mbpp", "source_id": str(i), "query": "q", "ground_truth": [gold],
            "metric": "code_eval", "llm": "m", "mode": "direct", "response": f"```python\n{code}\n```",
        }
        for i, code in enumerate(programs.values())
    ]  # fmt: skip
    graded = grade_table(rows_to_table(rows))
    assert dict(zip(programs, graded["performance"].to_pylist(), strict=True)) == {
        name: float(name == "right") for name in programs
    }
