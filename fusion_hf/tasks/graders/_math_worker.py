"""Asks the package math-verify in a process of its own: its time limit uses signals, which only a main thread can have.

CPU time decides, so that a busy machine makes no answer wrong. Each thread that grades has one worker, started when
first needed (with -P, so that math.py beside it is not taken for the standard module). This file is both sides:
imported, it starts the worker and asks it; run as a script (it imports nothing of fusion_hf), it is the worker.
"""

import atexit
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

TIMEOUT_S = 5  # CPU seconds for reading or comparing; C code that no signal interrupts is killed a little later
_KILL_S = 20
_GRACE_S = 900.0  # seconds by the clock until a worker that does not answer at all is given up

_mine = threading.local()
_all: list[tuple[threading.Thread, subprocess.Popen]] = []


def equal(reference: str, answer: str) -> bool:
    """Whether two LaTeX expressions mean the same; False also where neither side can be read or time runs out."""
    if len(reference) > 2000 or len(answer) > 2000:
        return False
    worker = getattr(_mine, "worker", None)
    if worker is None or worker.poll() is not None:
        worker = _mine.worker = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        _all.append((threading.current_thread(), worker))
    watchdog = threading.Timer(_GRACE_S, worker.kill)
    watchdog.start()
    try:
        worker.stdin.write(json.dumps([reference, answer]).encode() + b"\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        line = b""
    finally:
        watchdog.cancel()
    if line.strip() not in (b"true", b"false"):
        worker.kill()
        code = worker.wait()
        if code == 3:
            from ...errors import MissingPackage

            line = "pip install 'math-verify[antlr4_13_2]'"
            raise MissingPackage(f"math-verify cannot be imported: install it with  {line}")
        return False
    return line.strip() == b"true"


@atexit.register
def close(ended_only: bool = False) -> None:
    """End the workers, all of them or those of threads that have ended."""
    for pair in list(_all):
        thread, worker = pair
        if not (ended_only and thread.is_alive()):
            worker.kill()
            worker.communicate()
            _all.remove(pair)


def _serve() -> None:
    try:
        from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
    except ImportError:
        sys.exit(3)
    configs = [LatexExtractionConfig(), ExprExtractionConfig()]

    def read(text: str) -> list:
        return _limited(parse, f"\\boxed{{{text}}}", configs, parsing_timeout=None, fallback_mode="no_fallback")

    for line in sys.stdin.buffer:
        reference, answer = (_tidy(text) for text in json.loads(line))
        same = _shape(reference) == _shape(answer)
        if same:
            try:
                sides = read(reference), read(answer)
                same = _limited(verify, *sides, timeout_seconds=None) and _limited(
                    _not_apart, *sides, "." not in reference + answer, "%" in reference + answer
                )
            except TimeoutError:
                same = False
        sys.stdout.write(json.dumps(bool(same)) + "\n")
        sys.stdout.flush()


def _limited(function: Callable, *arguments: Any, **options: Any) -> Any:
    """What a function returns, within `TIMEOUT_S` of CPU time.

    Raises:
        TimeoutError: It took longer, unless the function itself deals with that.
    """
    import resource  # only in the worker: other systems than Unix lack it

    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + _KILL_S, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, TIMEOUT_S)
    try:
        return function(*arguments, **options)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _stop(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("no answer in time")


def _not_apart(reference: list, answer: list, exact: bool, percent: bool) -> bool:
    """False for two numbers of different size that only look equal to so many decimals, such as 2^-80 and 2^-79."""
    import sympy

    numbers = [
        next((e for e in side if isinstance(e, sympy.Expr) and not e.free_symbols), None)
        for side in (reference, answer)
    ]
    if None in numbers:
        return True
    try:
        left, right = (sympy.N(number, 30, maxn=400) for number in numbers)
        size = max(abs(left), abs(right))
        if not (left.is_finite and right.is_finite) or size >= 1e-4:
            # math-verify compares numbers of the same order rightly; a percentage may also be its share.
            return percent or not size.is_finite or bool(abs(left - right) <= size / 10)
        return bool(abs(left - right) <= size * (1e-12 if exact else 1e-4))
    except (TypeError, ValueError, ArithmeticError):
        return True


def _tidy(text: str) -> str:
    """Set braces without a backslash are set braces to a reader, but grouping to LaTeX."""
    text = text.strip().strip("$").strip()
    if text.startswith("{") and text.endswith("}") and "," in text:
        text = "\\{" + text[1:-1] + "\\}"
    return text


def _shape(text: str) -> str:
    """What two expressions must share before their values are compared: the brackets of a tuple or interval."""
    bare = text.replace("\\left", "").replace("\\right", "").strip()
    listed = "," in bare and bare[:1] in "([" and bare[-1:] in ")]"
    return bare[0] + bare[-1] if listed else ""


if __name__ == "__main__":
    _serve()
