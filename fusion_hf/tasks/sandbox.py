"""Runs model-written Python in its own process: limits, a scratch folder, no network, a wall clock.

What holds the walls depends on the kernel and is reported, never assumed (`isolation`): namespaces where they are
allowed (as root, or as an ordinary user inside a user namespace), Landlock for files, a filter of system calls
(seccomp), an account of its own (as root), else hooks in Python. As root on a kernel that allows no namespaces it
refuses to run, because other processes and files of root would be a single wall away; set ``FUSION_HF_SANDBOX_ROOT=1``
(or pass ``as_root=True``) to run there all the same, in a container, say, that holds nothing of value.

Whatever a program does, it fails its answer and nothing else: `run_python` raises only where the sandbox cannot be set
up, before the program starts.

It stops accidents and careless or greedy programs. It is not a security boundary against an attacker: a kernel bug or a
hook in Python can be got around; the memory of all processes together is looked at every 50 ms (on Linux), and for so
long they may take eight times as much; without Landlock the program reads what this account may read. And a program
that wants to pass without being right can: by searching the interpreter's frames for the checker's secret, by
returning objects that claim to equal everything, or by replacing something that the tests call, while they call it, and
putting it back (`_sandbox/pristine.py` says what is guarded). To run hostile programs, put this whole process in a
virtual machine.
"""

import contextlib
import functools
import marshal
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError

_CHILD = Path(__file__).parent / "_sandbox"
_START = "import sys; sys.path.insert(0, sys.argv[1]); import child; child.main()"
_GRACE_S = 5.0
AS_ROOT = "FUSION_HF_SANDBOX_ROOT"


@dataclass(frozen=True)
class SandboxResult:
    """How a program ended.

    Attributes:
        ok: It ran to its end, tests included.
        reason: ``passed``, or one line: the step and its exception, a timeout, or how the process died.
        walls: What held the program, as in `isolation`; empty if it died together with the sandbox's own process.
    """

    ok: bool
    reason: str
    walls: dict[str, str] = field(default_factory=dict)


def run_python(
    code: str,
    timeout: float = 5.0,
    cpu_s: float | None = None,
    memory_mb: int = 512,
    setup: str = "",
    tests: Sequence[str] = (),
    without: Sequence[str] = (),
    as_root: bool | None = None,
) -> SandboxResult:
    """Run `code`, then `setup`, then each of `tests`, in one bare interpreter (standard library only).

    Args:
        code: The program. It sees an empty folder as its working directory, no standard input and no environment.
        timeout: Wall clock in seconds for everything.
        cpu_s: CPU time in seconds, rounded up, of each of its processes; one second more than `timeout` by default.
        memory_mb: Address space of each of its processes in MiB, and on Linux what all of them may have in memory
            together, looked at every 50 ms. At most 8 processes or threads are allowed.
        setup: Source that prepares the tests, in the names of `code` and after it (it may use what `code` defines).
        tests: Sources that run afterwards; they see the names of `code`, with the original builtins.
        without: Walls to leave out (``kernel``, ``namespaces``, ``landlock``, ``seccomp``, ``watch``); for tests of the
            others.
        as_root: Run as root where no namespaces are allowed, instead of refusing; by default only if the environment
            variable ``FUSION_HF_SANDBOX_ROOT`` is 1.

    Returns:
        A `SandboxResult`; whatever the program does, this function does not raise because of it.

    Raises:
        UserError: The kernel offers too little here to contain the program, so it is not run.
    """
    scratch = tempfile.mkdtemp(prefix="fusion-hf-")
    parts = [("answer", code), *([("setup", setup)] if setup.strip() else [])]
    job = {
        "parts": parts,
        "tests": [(f"test {i}", source) for i, source in enumerate(tests, 1)],
        "secret": secrets.token_hex(16),
        "timeout": timeout,
        "cpu_s": timeout + 1 if cpu_s is None else cpu_s,
        "memory_mb": memory_mb,
        "scratch": scratch,
        "without": list(without),
        "as_root": os.environ.get(AS_ROOT) == "1" if as_root is None else as_root,
    }
    try:
        return _start(marshal.dumps(job), timeout, job["as_root"])
    finally:
        _remove(scratch)


def _start(job: bytes, timeout: float, as_root: bool) -> SandboxResult:
    """Start the warden (see ``_sandbox/child.py``), hand it the job, read its verdict."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _START, str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(job, timeout + _GRACE_S)
    except subprocess.TimeoutExpired:
        return SandboxResult(False, f"no end after {timeout:g} s")
    finally:
        _end(process)
    first, _, verdict = output.decode("utf-8", "replace").partition("\n")
    state, *fields = first.split("\t")
    if state == "refused":
        forced = "" if as_root else f", or set {AS_ROOT}=1 where nothing of value can be harmed"
        raise UserError(
            f"the sandbox refuses to run model-written code here: {' '.join(fields)}; run as an ordinary user (in a "
            f"container: docker run --user 1000){forced}"
        )
    if state != "ready":
        last = (errors.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the sandbox could not start: {_printable(last):.300}")
    walls = dict(field.split("=", 1) for field in fields)
    passed, _, reason = verdict.partition("\t")
    if passed == "passed":
        return SandboxResult(True, "passed", walls)
    return SandboxResult(False, _printable(reason) or "the program ended the process that watched it", walls)


def _end(process: subprocess.Popen) -> None:
    """Nobody reads the warden's output any more (the clock ran out, or Ctrl-C): it ends the program and cleans up."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            pipe.close()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _printable(text: str) -> str:
    """One line without control characters: what a program says may end up on a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def _remove(folder: str) -> None:
    """Remove a folder that a program filled: of any depth, and with folders that nobody may enter."""
    try:
        shutil.rmtree(folder)
        return
    except (OSError, RecursionError):
        pass
    # Bring up what lies below, level by level; no path grows, nothing recurses.
    todo, number = [folder], 0
    while todo:
        inner = todo.pop()
        try:
            os.chmod(inner, 0o700)
            for entry in list(os.scandir(inner)):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                number += 1
                place = os.path.join(folder, f"{number}-{secrets.token_hex(8)}")
                os.chmod(entry.path, 0o700)
                os.rename(entry.path, place)
                todo.append(place)
            if inner != folder:
                os.rmdir(inner)
        except OSError:
            continue  # cannot be removed; it is empty or as the program left it
    shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def isolation() -> dict[str, str]:
    """What holds a program here, found out once by running an empty one.

    The keys, and their values from the strongest to the weakest:

    - ``network``: ``network namespace``, ``seccomp filter``, ``blocked in Python``;
    - ``files`` (writing outside the scratch folder): ``mount namespace and landlock``, ``mount namespace`` (named pipes
      and sockets of others can be written to), ``landlock`` (``without truncation`` before Linux 6.2), ``blocked in
      Python``;
    - ``reading``: ``the library and system folders``, ``whatever the account may read``;
    - ``processes`` (of others): ``process namespace``, ``own account``, ``seccomp filter``, ``blocked in Python``;
    - ``calls`` (shared memory, tracing, mounts, …; without a mount namespace also attributes of files and starting
      programs): ``seccomp filter``, ``none``;
    - ``account``: ``own account``, ``this account``, ``root without capabilities``;
    - ``memory`` and ``disk``: the limits. Between two looks at the memory of all processes together each can take its
      own limit.

    Raises:
        UserError: The sandbox refuses to run here.
    """
    result = run_python("", timeout=20.0)
    if not result.ok:
        raise RuntimeError(f"the sandbox cannot run an empty program here: {result.reason}")
    return dict(result.walls)
