"""What a program cannot reach: files, memory, the network, other processes; each with fewer walls of the kernel too."""

import contextlib
import os
import pty
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox_walls import holding, kernel_walls, run_python, walls


@pytest.fixture
def victim(tmp_path):
    """A folder and a file that everybody may write to."""
    tmp_path.chmod(0o777)
    path = tmp_path / "victim"
    path.write_text("whole")
    path.chmod(0o666)
    return path


@pytest.fixture
def bystander():
    """A process of this account that sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@walls
@pytest.mark.parametrize(
    "action",
    [
        "open(V, 'w').write('torn')",
        "open(V, 'a').write('torn')",
        "open(V, 'r+').write('torn')",
        "os.write(os.open(V, os.O_RDWR), b'torn')",
        "os.truncate(V, 0)",
        "os.ftruncate(os.open(V, os.O_WRONLY), 0)",
        "os.open(D + '/new', os.O_CREAT | os.O_WRONLY)",
        "os.open(D, os.O_TMPFILE | os.O_RDWR)",
        "os.remove(V)",
        "os.mkdir(D + '/folder')",
        "os.mkfifo(D + '/pipe')",
        "os.mknod(D + '/node', stat.S_IFREG | 0o600)",
        "os.symlink('x', D + '/link')",
        "os.rename(V, D + '/moved')",
        "os.replace(V, D + '/moved')",
        "os.link(V, 'hard'); open('hard', 'w').write('torn')",
        "os.link(V, D + '/hard')",
        "os.symlink(V, 'l'); open('l', 'w').write('torn')",
        "os.symlink(D, 'd'); open('a', 'w').write('x'); os.rename('a', 'd/a')",
        "open(f'/dev/fd/{os.open(V, os.O_RDONLY)}', 'w').write('torn')",
        "open('/proc/self/root' + V, 'w').write('torn')",
        "os.chdir('..'); open('escaped', 'w')",
        "os.mkdir('r'); os.chroot('r')",
        "import tempfile; tempfile.NamedTemporaryFile(dir=D, delete=False)",
        "import shutil; shutil.move(V, D + '/moved')",
        "import sqlite3; sqlite3.connect(D + '/base').execute('create table t (x)')",
        "import dbm; dbm.open(D + '/dbm', 'c')",
        "import socket; socket.socket(socket.AF_UNIX).bind(D + '/socket')",
    ],
)
def test_nothing_outside_the_scratch_folder_is_written(action, without, victim):
    code = f"import os, stat\nV, D = {str(victim)!r}, {str(victim.parent)!r}\n{action}\n"
    assert not run_python(code, without=without).ok
    assert [p.name for p in victim.parent.iterdir()] == ["victim"] and victim.read_text() == "whole"


@walls
def test_the_scratch_folder_can_be_written(without):
    assert run_python("open('mine', 'w').write('x')\nassert open('mine').read() == 'x'", without=without).ok
    assert run_python("import os\nos.mkdir('d'); os.rename('d', 'e'); os.rmdir('e')", without=without).ok


@kernel_walls
@pytest.mark.parametrize(
    "action",
    [
        "os.chmod(V, 0)",
        "os.fchmod(os.open(V, os.O_RDONLY), 0)",
        "os.chmod('victim', 0, dir_fd=os.open(D, os.O_RDONLY))",
        "os.chown(V, os.getuid(), os.getgid())",
        "os.lchown(V, os.getuid(), os.getgid())",
        "os.fchown(os.open(V, os.O_RDONLY), os.getuid(), os.getgid())",
        "os.utime(V, (0, 0))",
        "os.utime(os.open(V, os.O_RDONLY), (0, 0))",
        "os.setxattr(V, 'user.x', b'1')",
        "os.setxattr(os.open(V, os.O_RDONLY), 'user.x', b'1')",
        "os.removexattr(V, 'user.y')",
        "fcntl.ioctl(os.open(V, os.O_RDONLY), 0x40086602, b'\\x80' + bytes(7))",
    ],
)
def test_attributes_of_files_are_out_of_reach(action, without, victim):
    with contextlib.suppress(OSError):
        os.setxattr(victim, "user.y", b"1")
    before = os.stat(victim)
    code = f"import os, fcntl\nV, D = {str(victim)!r}, {str(victim.parent)!r}\n{action}\n"
    assert not run_python(code, without=without).ok
    after = os.stat(victim)
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_mode, before.st_mtime_ns, before.st_ctime_ns,
    )  # fmt: skip


@kernel_walls
def test_pipes_and_terminals_of_others_are_out_of_reach(without, victim):
    if "landlock" not in holding(without)["files"]:
        pytest.skip("this kernel has no Landlock")
    fifo = victim.with_name("fifo")
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    ours, terminal = pty.openpty()
    try:
        assert not run_python(
            f"import os\nos.write(os.open({str(fifo)!r}, os.O_WRONLY | os.O_NONBLOCK), b'x')", without=without
        ).ok
        name = os.ttyname(terminal)
        assert not run_python(
            f"import os\nos.write(os.open({name!r}, os.O_WRONLY | os.O_NOCTTY), b'x')", without=without
        ).ok
        assert select.select([reader, ours], [], [], 0.1)[0] in ([], [reader]) and os.read(reader, 1) == b""
    finally:
        for descriptor in (reader, ours, terminal):
            os.close(descriptor)


@kernel_walls
def test_private_files_are_not_read(without, tmp_path):
    if holding(without)["reading"] == "whatever the account may read":
        pytest.skip("this kernel has no Landlock")
    private = tmp_path / "key"
    private.write_text("a-secret-value")
    for path in (private, "/etc/shadow", "/proc/self/environ", f"/proc/{os.getpid()}/environ", Path(__file__)):
        assert not run_python(f"open({str(path)!r}).read()", without=without).ok
    assert not run_python(f"import os\nos.listdir({str(tmp_path)!r})", without=without).ok
    # What Python needs is there.
    needed = (
        "import zoneinfo, hashlib, decimal, sqlite3, ssl, lzma, pwd, asyncio, random, unittest, dataclasses, uuid\n"
    )
    needed += "open('/dev/null', 'w').write('x'); open('/dev/urandom', 'rb').read(1); pwd.getpwuid(0)\n"
    assert run_python(needed, without=without).ok


@kernel_walls
@pytest.mark.parametrize(
    "action",
    [
        "os.kill(PID, 9)",
        "os.killpg(os.getpgid(PID), 15)",
        "signal.pidfd_send_signal(os.pidfd_open(PID), 9)",
        "fcntl.fcntl(r, 8, PID); fcntl.fcntl(r, 10, 9); fcntl.fcntl(r, 4, os.O_ASYNC); os.write(w, b'x')",
        "fcntl.fcntl(r, 15, struct.pack('ii', 1, PID)); fcntl.fcntl(r, 4, os.O_ASYNC); os.write(w, b'x')",
        "fcntl.ioctl(r, 0x8901, struct.pack('i', PID)); fcntl.fcntl(r, 4, os.O_ASYNC); os.write(w, b'x')",
        "resource.prlimit(PID, resource.RLIMIT_NOFILE, (0, 0))",
        "resource.prlimit(PID, resource.RLIMIT_CPU)",
        "os.setpriority(os.PRIO_PROCESS, PID, 19)",
        "os.sched_setaffinity(PID, {0})",
        "os.sched_setscheduler(PID, os.SCHED_BATCH, os.sched_param(0))",
        "open(f'/proc/{PID}/oom_score_adj', 'w').write('1000')",
        "open(f'/proc/{PID}/mem', 'r+b')",
    ],
)
def test_other_processes_are_out_of_reach(action, without, bystander):
    def state():
        pid = bystander.pid
        return (
            os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid), os.sched_getscheduler(pid),
            resource.prlimit(pid, resource.RLIMIT_NOFILE), Path(f"/proc/{pid}/oom_score_adj").read_text(),
        )  # fmt: skip

    before = state()
    code = "import fcntl, os, resource, signal, struct\nr, w = os.pipe()\n"
    code += f"PID = {bystander.pid}\n{action}\nimport time; time.sleep(0.2)"
    assert not run_python(code, without=without).ok
    time.sleep(0.05)
    assert bystander.poll() is None and state() == before


def test_hooks_in_python_stop_the_common_signals(bystander):
    if os.getuid() == 0:
        pytest.skip("root is refused without a wall of the kernel")
    for action in ("os.kill(PID, 9)", "os.killpg(os.getpgid(PID), 15)", "os.setpriority(0, PID, 19)"):
        code = f"import os, fcntl\nPID = {bystander.pid}\n{action}"
        assert not run_python(code, without=("kernel",)).ok
    assert bystander.poll() is None and os.getpriority(os.PRIO_PROCESS, bystander.pid) == os.getpriority(0, 0)


@kernel_walls
@pytest.mark.parametrize(
    "action",
    [
        "for i in range(100000): os.close(os.open(f'f{i}', os.O_CREAT | os.O_WRONLY))",
        "for i in range(100000): os.mkdir(f'd{i}')",
        "for i in range(100000): os.symlink('x', f'l{i}')",
        "open('f', 'w').close()\nfor i in range(100000): os.link('f', f'h{i}')",
        "for i in range(100): open(f'f{i}', 'wb').write(bytes(1 << 20))",
        "open('big', 'wb').write(bytes(100 << 20))",
        "os.posix_fallocate(os.open('big', os.O_CREAT | os.O_RDWR), 0, 100 << 20)",
        "os.ftruncate(os.open('s', os.O_CREAT | os.O_RDWR), 1 << 40)",
        "for i in range(100000): os.mkfifo(f'p{i}')",
    ],
)
def test_the_scratch_folder_is_bounded(action, without, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not run_python(f"import os\n{action}\n", without=without, timeout=20).ok
    assert list(tmp_path.iterdir()) == []


@kernel_walls
@pytest.mark.parametrize(
    "action",
    [
        "os.memfd_create('m')",
        "from multiprocessing import shared_memory as s; s.SharedMemory(f'x{os.getpid()}', create=True, size=100)",
        "open('/dev/shm/x', 'w')",
        "import fcntl; fcntl.fcntl(os.pipe()[0], 1031, 1 << 20)",
        "import multiprocessing; multiprocessing.Semaphore()",
    ],
)
def test_no_memory_beside_its_own(action, without):
    before = set(os.listdir("/dev/shm"))
    assert not run_python(f"import os\n{action}\n", without=without).ok
    assert set(os.listdir("/dev/shm")) == before


@kernel_walls
def test_nothing_that_a_program_brings_along_is_executed(without):
    script = "open('n', 'w').write('#!/bin/sh\\nexit 0')\nimport os\nos.chmod('n', 0o700)\nos.execv('./n', ['n'])"
    assert not run_python(script, without=without).ok
    copied = "import os, sys\nopen('n', 'wb').write(open('/bin/true', 'rb').read())\nos.chmod('n', 0o700)\n"
    result = run_python(copied + "os.execv('./n', ['n'])", without=without)
    assert "PermissionError" in result.reason
    library = "import sys, shutil, math, glob, os\nfrom importlib import machinery, util\n"
    library += "source = util.find_spec('_json').origin\nopen('m.so', 'wb').write(open(source, 'rb').read())\n"
    library += "util.module_from_spec(util.spec_from_loader('_json', machinery.ExtensionFileLoader('_json', 'm.so')))"
    spec = __import__("importlib.util").util.find_spec("_json")
    if spec.origin != "built-in":
        assert any(text in run_python(library, without=without).reason for text in ("ImportError", "PermissionError"))


@walls
def test_no_network(without):
    with socket.socket() as server, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        server.bind(("127.0.0.1", 0))
        server.listen()
        local.bind("\0fusion-hf-test-" + str(os.getpid()))
        port, name = server.getsockname()[1], local.getsockname()
        for action in (
            f"socket.create_connection(('127.0.0.1', {port}), timeout=2)",
            f"socket.socket(2, 2).sendto(b'x', ('127.0.0.1', {port}))",
            "socket.getaddrinfo('localhost', 80)[0]; socket.socket()",
            f"socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', {name!r})",
            f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', {name!r})",
            f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendmsg([b'x'], [], 0, {name!r})",
            f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect({name!r})",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
            "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
            f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}')",
        ):
            assert not run_python(f"import socket\n{action}", without=without).ok, action
        for listener in (server, local):
            listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
        with pytest.raises(TimeoutError):
            local.recv(1)


@kernel_walls
def test_asyncio_and_threads_work_where_processes_are_allowed(without):
    code = "import asyncio\nasync def g():\n    await asyncio.sleep(0)\n    return 4\ndef f(x): return asyncio.run(g())"
    assert run_python(code, tests=["assert f(2) == 4"], without=without).ok
    code = "import threading\nx = []\nt = threading.Thread(target=x.append, args=(1,)); t.start(); t.join()\nassert x"
    assert run_python(code).ok == (holding(())["memory"].startswith("512 MB for each of 8"))


HOG = "x = bytearray(200 << 20); time.sleep(30); os._exit(0)"
TOGETHER = {
    "children": f"for _ in range(5):\n    if os.fork() == 0:\n        {HOG}\n",
    "orphans": f"for _ in range(5):\n    if os.fork() == 0:\n        if os.fork() == 0:\n            {HOG}\n"
    "        os._exit(0)\n    os.wait()\n",
    "sessions": f"for _ in range(5):\n    if os.fork() == 0:\n        os.setsid()\n        {HOG}\n",
    "a chain": f"for _ in range(5):\n    if os.fork() != 0:\n        {HOG}\n",
    "children of threads": "import threading\ndef g():\n    if os.fork() == 0:\n        " + HOG
    + "\nfor _ in range(3): threading.Thread(target=g).start()\n",
}  # fmt: skip


@pytest.mark.parametrize("code", TOGETHER.values(), ids=TOGETHER)
def test_memory_is_limited_for_all_processes_together(code):
    if "for all together" not in holding(())["memory"] or "each of 1 " in holding(())["memory"]:
        pytest.skip("one process only, or a kernel that does not tell of children")
    result = run_python("import os, time\n" + code + "time.sleep(30)", timeout=20)
    assert result.reason == "its processes took more than 512 MB together"
    alone = run_python("import os, time\n" + code + "time.sleep(30)", timeout=1, without=("watch",))
    assert alone.reason == "no end after 1 s" and "together" not in alone.walls["memory"]


def test_the_watch_lets_honest_programs_be():
    code = "import subprocess, sys\nx = bytearray(300 << 20)\ny = x[:100 << 20]\ndef f(x): return 4"
    assert run_python(code, tests=["assert f(2) == 4"], timeout=20).ok
