"""What is shown in a terminal: text of others without its control characters, and progress only where one looks."""

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

# C0 and C1 but tab and newline, line separators, marks that turn the direction of text, and half characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def safe(text: object) -> str:
    """`text` with control characters written out (``\\x1b``), so that nothing a stranger wrote steers the terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


_silent = False


def say(text: str) -> None:
    """What a long work is at, on standard error; nothing within `quiet`."""
    if not _silent:
        print(safe(text), file=sys.stderr, flush=True)


class _NoTerminal:
    """A stream that says that it is no terminal, so that no progress bar is drawn on it."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def quiet(asked: bool = False) -> Iterator[None]:
    """No progress bars where standard error is no terminal (a log file), nor where silence is `asked` for.

    Silence also stops warnings and messages of the libraries in use, not errors. The processes that are started within
    do the same. Everything is as it was afterwards. Our own bars are drawn with ``disable=None``.
    """
    global _silent
    wanted, before = {}, _silent
    if asked or not sys.stderr.isatty():
        wanted = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    if asked:
        wanted |= {"TRANSFORMERS_VERBOSITY": "error", "DATASETS_VERBOSITY": "error", "HF_HUB_VERBOSITY": "error"}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with warnings.catch_warnings():
            if not asked:
                yield
                return
            warnings.simplefilter("ignore")
            _silent = True
            with redirect_stderr(_NoTerminal(sys.stderr)):
                yield
    finally:
        _silent = before
        for name in added:
            os.environ.pop(name, None)
