"""Processes that talk to a loopback Hub: each piece of code runs in a process of its own, forked from one that has only
imported the libraries, because importing them takes most of a test's time.

The Hub's address, the cache folder and offline mode are read when the libraries are imported, so a client is one
address and one cache. python tests/hub_client.py is the process that forks.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import hub_double
import pytest

TOKEN = "hf_" + "x" * 20  # of `user`, who may write; see hub_double.TOKENS
LIBRARIES = ("torch", "transformers", "datasets", "evaluate", "peft", "fusion_hf", "fusion_hf.hub", "fusion_hf.cli")


class Client:
    """One cache folder `home`, and the Hub at `endpoint`."""

    def __init__(self, endpoint: str, home: Path, offline: bool = False):
        self.endpoint, self.home = endpoint, home
        environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_TOKEN")} | {
            "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        }  # fmt: skip
        if offline:
            environment |= {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, code: str, token: str | None = TOKEN) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of a piece of code in a process of its own."""
        self.process.stdin.write(json.dumps([code, token]) + "\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.process.stdout.readline()))

    def out(self, code: str, token: str | None = TOKEN) -> str:
        """Standard output of code that must not fail."""
        status, out, err = self.run(code, token)
        assert status == 0, err[-3000:]
        return out

    def cli(self, *argv: str, token: str | None = TOKEN) -> tuple[int, str, str]:
        """`fusion-hf` with these arguments."""
        return self.run(
            f"import sys; from fusion_hf.cli import main; sys.exit(main({[str(a) for a in argv]!r}))", token
        )

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="session")
def endpoint():
    """A loopback Hub for the whole run."""
    server = hub_double.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(scope="session")
def writer(endpoint, tmp_path_factory):
    """Who pushes."""
    client = Client(endpoint, tmp_path_factory.mktemp("writer"))
    yield client
    client.close()


@pytest.fixture(scope="session")
def reader(endpoint, tmp_path_factory):
    """Who loads: its cache never saw what the writer has on disk."""
    client = Client(endpoint, tmp_path_factory.mktemp("reader"))
    yield client
    client.close()


def _serve() -> None:
    """Fork for every line of standard input, and answer with what the child printed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print while they are imported is no answer
    for name in LIBRARIES:
        __import__(name)
    for line in sys.stdin:
        code, token = json.loads(line)
        answers.write(json.dumps(_forked(code, token)) + "\n")
        answers.flush()


def _forked(code: str, token: str | None) -> list:
    import tempfile

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            if token is not None:
                os.environ["HF_TOKEN"] = token
            os._exit(_run(code))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        err.seek(0)
        return [status, out.read(), err.read()]


def _run(code: str) -> int:
    import traceback

    try:
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})  # code of the tests themselves
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    _serve()
