"""Runs model-written Python in its own process: limits, a scratch folder, no network, a wall clock.

What holds the walls depends on the kernel and is reported, never assumed (`isolation`): namespaces where they are
allowed (as root, or as an ordinary user inside a user namespace), else Landlock for files and a seccomp filter for
sockets and signals, else hooks in Python. As root on a kernel that offers none of these it refuses to run, because one
``os.kill(-1, 9)`` would end every process of the machine.

It stops accidents and careless or greedy programs. It is not a security boundary against an attacker: the program can
read what this account may read; memory is limited for each process and not for all of them together; a kernel bug or a
hook in Python can be got around; and a program that searches the interpreter's frames for the checker's secret, or
returns objects that claim to equal everything, can claim success. To run hostile programs, put this whole process in a
virtual machine.
"""

import functools
import marshal
import os
import secrets
import shutil
import signal
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


@dataclass(frozen=True)
class Result:
    """How a program ended.

    Attributes:
        ok: It ran to its end, tests included.
        reason: ``passed``, or one line: the step and its exception, a timeout, or how the process died.
        walls: For a program that ran to its end: what held the network, the files and the processes.
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
) -> Result:
    """Run `code`, then `setup`, then each of `tests`, in one bare interpreter (standard library only).

    Args:
        code: The program. It sees an empty folder as its working directory, no standard input and no environment.
        timeout: Wall clock in seconds for everything.
        cpu_s: CPU time in seconds, rounded up, of each of its processes; one second more than `timeout` by default.
        memory_mb: Address space of each of its processes in MiB. At most 8 processes or threads are allowed.
        setup: Source that prepares the tests, in the names of `code` and after it (it may use what `code` defines).
        tests: Sources that run afterwards; they see the names of `code`, with the original builtins.
        without: Walls to leave out (``kernel``, ``namespaces``, ``landlock``, ``seccomp``); for tests of the others.

    Returns:
        A `Result`; whatever the program does, this function does not raise because of it.

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
    }
    try:
        return _start(marshal.dumps(job), timeout)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _start(job: bytes, timeout: float) -> Result:
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
        return Result(False, f"no end after {timeout:g} s")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    lines = output.decode("utf-8", "replace").split("\n")
    if lines[0] == "passed":
        return Result(True, lines[1], dict(zip(("network", "files", "processes"), lines[2:], strict=True)))
    if lines[0] == "failed":
        return Result(False, lines[1])
    if lines[0] == "refused":
        raise UserError(
            f"the sandbox refuses to run model-written code here: {lines[1]}; run as an ordinary user or in a container"
        )
    last = (errors.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
    raise RuntimeError(f"the sandbox failed: {last:.300}")


@functools.cache
def isolation() -> dict[str, str]:
    """What holds the walls here (``network``, ``files``, ``processes``), tried once with an empty program."""
    result = run_python("", timeout=20.0)
    if not result.ok:
        raise RuntimeError(f"the sandbox cannot run an empty program here: {result.reason}")
    return dict(result.walls)
