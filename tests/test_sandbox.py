"""The sandbox: what fails an answer, and that it harms nothing else. Weaker walls meet harmless programs only."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from fusion_hf.errors import UserError
from fusion_hf.tasks import sandbox
from fusion_hf.tasks.sandbox import AS_ROOT, isolation

# Where no namespaces are allowed, root is refused; these programs do no harm.
run_python = partial(sandbox.run_python, as_root=True)

TESTS = ["assert f(2) == 4"]
GOOD = "def f(x):\n    return 2 * x\n"
BAD = "def f(x):\n    return 5\n"


def test_a_right_program_passes_and_a_wrong_one_fails():
    assert run_python(GOOD, tests=TESTS).ok
    result = run_python(BAD, tests=TESTS)
    assert not result.ok and result.reason.startswith("test 1: AssertionError")
    assert "SyntaxError" in run_python("def f(:").reason
    assert run_python("import math, json, dataclasses, collections.abc, heapq").ok


def test_setup_sees_the_program_and_the_tests_see_both():
    assert run_python("class Node: pass", setup="root = Node()", tests=["assert isinstance(root, Node)"]).ok


@pytest.mark.parametrize(
    "code",
    [
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "raise SystemExit",
        "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})\n" + BAD,
        "import builtins\nbuiltins.exec = lambda *a: None\nbuiltins.compile = exec\n" + BAD,
        "import sys\nsys.settrace(lambda *a: None)\n" + BAD,
        "def check(*a): pass\n" + BAD,
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'passed\\npassed\\n')\n    except OSError: pass\n"
        + BAD,
        "import os, atexit\natexit.register(os._exit, 0)\n" + BAD,
        "import os\ndef f(x): os._exit(0)",
        "import sys\ndef f(x): sys.exit(0)",
        "class E:\n    def __init__(self): raise KeyboardInterrupt\nE()",
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n" + BAD,
        "import os\nif os.fork() == 0:\n    f = lambda x: 4\nelse:\n    f = lambda x: 5",
        "def f(x): return f(x)",
        "import sys\nsys.stdout.write('passed\\npassed\\n')\nsys.stdout.flush()\n" + BAD,
        "1 / 0",
        "input()",
    ],
)
def test_a_program_cannot_pass_itself(code):
    assert not run_python(code, tests=TESTS, timeout=3.0).ok


def test_patched_builtins_do_not_reach_the_tests():
    check = "def check(candidate):\n    assert abs(candidate(2) - 4) < 0.1 and all([candidate(1) == 2])\n"
    for patch in ("abs = lambda x: 0\nall = lambda x: True\n", "import builtins\nbuiltins.abs = lambda x: 0\n"):
        code = patch + "def f(x):\n    return 5\n"
        assert not run_python(code, tests=[check, "check(f)"]).ok
    inside = (
        "import builtins\ndef f(x):\n    builtins.abs = lambda x: 0\n    builtins.all = lambda x: True\n    return 5\n"
    )
    assert not run_python(inside, tests=[check, "check(f)"]).ok


def test_a_hang_ends_in_time():
    start = time.monotonic()
    for code in ("while True: pass", "import time\ntime.sleep(60)"):
        result = run_python(code, timeout=1.0)
        assert not result.ok and "no end after 1 s" in result.reason
    assert time.monotonic() - start < 12
    result = run_python("while True: pass", timeout=60.0, cpu_s=1)
    assert not result.ok and "no end" not in result.reason


def test_a_memory_bomb_fails():
    assert "MemoryError" in run_python("x = bytearray(4 << 30)").reason
    assert not run_python("x = []\nwhile True: x.append('a' * 10**6)", memory_mb=256).ok


@pytest.mark.parametrize("without", [(), ("namespaces",)])
def test_an_interrupt_ends_the_program(processes, tmp_path, monkeypatch, without):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        with pytest.raises(KeyboardInterrupt):
            run_python("import time\ntime.sleep(60)", timeout=60, without=without)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert _none_within(processes, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["scripts"]


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """The processes of this test's sandboxes: others run beside it, so these have a path of their own."""
    mine = tmp_path / "scripts"
    mine.symlink_to(sandbox._CHILD)
    monkeypatch.setattr(sandbox, "_CHILD", mine)
    name = os.fsencode(mine)
    return lambda: [p.parent.name for p in Path("/proc").glob("[0-9]*/cmdline") if name in _read(p)]


def _none_within(processes, seconds):
    end = time.monotonic() + seconds
    while processes() and time.monotonic() < end:
        time.sleep(0.05)
    return not processes()


@pytest.mark.parametrize("without", [(), ("namespaces",)])
def test_a_fork_bomb_is_bounded_and_leaves_nothing(processes, without):
    if run_python("", without=without).walls["processes"] == "blocked in Python":
        pytest.skip("no wall of the kernel holds processes here")
    code = "import os, time\nfor _ in range(200):\n    try: os.fork()\n    except OSError: break\ntime.sleep(60)"
    assert not run_python(code, timeout=1.0, without=without).ok
    daemon = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(60)\n    os._exit(0)"
    )
    run_python(daemon, timeout=5.0, without=without)
    assert _none_within(processes, 10)


@pytest.mark.parametrize("without", [(), ("namespaces",)])
def test_the_end_of_the_grading_process_ends_its_programs(processes, tmp_path, monkeypatch, without):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    grading = os.fork()
    if grading == 0:
        try:
            run_python("import time\ntime.sleep(60)", timeout=60, without=without)
        finally:
            os._exit(1)
    end = time.monotonic() + 60
    while len(processes()) < 2 and time.monotonic() < end:  # the warden and the program
        time.sleep(0.05)
    assert processes()
    os.kill(grading, signal.SIGKILL)
    os.waitpid(grading, 0)
    assert _none_within(processes, 20)
    assert [p.name for p in tmp_path.iterdir()] == ["scripts"]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_scratch_folder_is_empty_bounded_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_python("import os\nassert os.listdir('.') == []\nopen('a', 'w').write('x')").ok
    assert not run_python("open('big', 'wb').write(b'x' * (1 << 30))", timeout=20).ok
    assert list(tmp_path.iterdir()) == []


def test_the_parents_environment_is_out_of_reach(monkeypatch):
    monkeypatch.setenv("FUSION_HF_TEST_KEY", "a-secret-value")
    assert run_python("import os\nassert 'FUSION_HF_TEST_KEY' not in os.environ").ok
    assert run_python("import os\nassert not any('secret' in v for v in os.environ.values())").ok
    for pid in (os.getpid(), "self"):
        read = f"data = open('/proc/{pid}/environ', 'rb').read()\nassert b'a-secret-value' in data"
        assert not run_python(read).ok


def test_a_huge_output_neither_fills_memory_nor_hangs():
    assert run_python("for _ in range(300): print('x' * 10**6)", timeout=20).ok


def test_no_standard_input_and_no_modules_of_this_package():
    assert not run_python("import child").ok and not run_python("import walls").ok
    assert not run_python("import fusion_hf").ok


def test_isolation_names_what_holds(monkeypatch):
    monkeypatch.setenv(AS_ROOT, "1")
    isolation.cache_clear()
    walls = isolation()
    assert list(walls) == ["network", "files", "reading", "processes", "calls", "account", "memory", "disk"]
    assert all(
        f"``{value}``" in isolation.__doc__ for key, value in walls.items() if key not in ("files", "memory", "disk")
    )
    assert walls["network"] in ("network namespace", "seccomp filter", "blocked in Python")
    weaker = run_python("", without=("namespaces",)).walls
    assert weaker["network"] != "network namespace" and "mount namespace" not in weaker["files"]
    assert "landlock" not in run_python("", without=("namespaces", "landlock")).walls["files"]


root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can harm every process")


@root
def test_root_without_any_wall_is_refused():
    with pytest.raises(UserError, match="refuses to run"):
        run_python("x = 1", without=("kernel",))


@root
def test_root_without_namespaces_is_refused_unless_forced(monkeypatch):
    monkeypatch.delenv(AS_ROOT, raising=False)
    with pytest.raises(UserError, match=f"no namespaces.*{AS_ROOT}=1"):
        sandbox.run_python(GOOD, tests=TESTS, without=("namespaces",))
    assert sandbox.run_python(GOOD, tests=TESTS, without=("namespaces",), as_root=True).ok
    monkeypatch.setenv(AS_ROOT, "1")
    assert sandbox.run_python(GOOD, tests=TESTS, without=("namespaces",)).ok
    with pytest.raises(UserError):
        sandbox.run_python(GOOD, tests=TESTS, without=("namespaces",), as_root=False)


@root
def test_root_becomes_an_account_of_its_own_where_the_interpreter_can_be_read():
    open_to_all = all(p.stat().st_mode & 0o1 for p in Path(os.__file__).parents)
    for without in ((), ("namespaces",)):
        walls = run_python("", without=without).walls
        if walls["processes"] == "process namespace" or open_to_all:
            assert walls["account"] == "own account"
        code = "import os\nassert os.getuid() >= 0x60000000" if walls["account"] == "own account" else ""
        assert run_python(code, without=without).ok


def test_a_sandbox_that_cannot_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "_CHILD", tmp_path)
    with pytest.raises(RuntimeError, match="could not start: ModuleNotFoundError"):
        run_python("x = 1")


def test_runs_in_parallel_do_not_meet():
    results = [None] * 8

    def one(i):
        code = f"import os, time\nopen('same', 'x').write('{i}')\ntime.sleep(0.2)\nassert open('same').read() == '{i}'"
        results[i] = run_python(code, timeout=20)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.ok for r in results] == [True] * 8
