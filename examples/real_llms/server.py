"""llama.cpp's server, built from the source package of llama-cpp-python, and one of them for each LLM."""

import contextlib
import os
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "llama-cpp-python"
OFF = ("LLAMA_BUILD_TESTS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_APP", "LLAMA_BUILD_UI", "LLAMA_USE_PREBUILT_UI",
       "LLAMA_OPENSSL", "BUILD_SHARED_LIBS", "GGML_OPENMP")  # fmt: skip
CONTEXT = 2048  # tokens of a prompt and its answer in each slot


def build(folder: Path, jobs: int) -> Path:
    """The server's binary; built once, about ten minutes of two idle cores. Needs a C++ compiler, cmake and ninja."""
    binary = folder / "build" / "bin" / "llama-server"
    if binary.exists():
        return binary
    sdist = folder / "sdist"
    if not list(sdist.glob("*.tar.gz")):
        pip = [sys.executable, "-m", "pip"]
        # Its metadata is made by its build backend, in this environment.
        subprocess.run([*pip, "install", "scikit-build-core", "cmake", "ninja"], check=True)
        command = [
            *pip,
            "download",
            "--no-deps",
            "--no-build-isolation",
            "--no-binary",
            PACKAGE,
            "-d",
            str(sdist),
            PACKAGE,
        ]
        subprocess.run(command, check=True)
    (archive,) = sdist.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (root,) = folder.glob("llama_cpp_python-*/vendor/llama.cpp")
    flags = [f"-D{name}=OFF" for name in OFF]
    make = ["cmake", "-S", str(root), "-B", str(folder / "build"), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", *flags]
    subprocess.run(make, check=True)
    subprocess.run(["cmake", "--build", str(folder / "build"), "--target", "llama-server", "-j", str(jobs)], check=True)
    return binary


@contextlib.contextmanager
def serving(binary: Path, gguf: Path, slots: int, threads: int) -> Iterator[str]:
    """A running server of one model; the value is its ``base_url``.

    One thread a server is the most robust on cores that others use too: several wait actively for each other.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(binary), "-m", str(gguf), "--host", "127.0.0.1", "--port", str(port), "-np", str(slots)]
    command += ["-c", str(slots * CONTEXT), "-t", str(threads), "-tb", str(threads), "--no-webui", "--no-slots"]
    command += ["--cache-ram", "0"]  # else it keeps up to 8 GiB of old prompts, which share nothing
    with open(gguf.with_suffix(".server.log"), "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", gguf)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _wait(process: subprocess.Popen, url: str, gguf: Path, seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"the server of {gguf.name} ended by itself: see {gguf.with_suffix('.server.log')}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(0.5)
    raise SystemExit(f"the server of {gguf.name} was not ready within {seconds:g} s")
