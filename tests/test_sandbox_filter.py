"""The filter of system calls, tried with the bare calls in processes of their own."""

import subprocess
import sys

import pytest

from fusion_hf.tasks.sandbox import _CHILD

FILTERED = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
import calls
place = list(calls.ARCHITECTURES).index(os.uname().machine)
libc = ctypes.CDLL(None, use_errno=True)
def number(name):
    tables = (calls.ALWAYS, calls.SIGNALS, calls.FORKS, calls.FILES, {k: v[0] for k, v in calls.CONDITIONS.items()})
    return next(t[name][place] for t in tables if name in t)
def outcome(number, *arguments):
    ctypes.set_errno(0)
    return ctypes.get_errno() if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0 else 0
assert calls.filter_calls(signals=True, forks=True, files=True)
denied = {n for t in (calls.ALWAYS, calls.SIGNALS, calls.FORKS, calls.FILES) for n in t if t[n][place]}
for name in denied - {"memfd_secret"}:
    assert outcome(number(name), *[-1] * 6) == 13, name
assert outcome(435, 0, 0) == 38
for name, arguments in {
    "sendto": (-1, 0, 0, 0, 1 << 40, 16), "prlimit64": (1, 7, 0, 0), "sched_setaffinity": (1, 8, 0),
    "setpriority": (0, 1, 19), "fcntl": (1, 8, 1), "ioctl": (0, 0x5412, 0),
}.items():
    assert outcome(number(name), *arguments) == 13, name
for name, arguments in {
    "sendto": (-1, 0, 0, 0, 0, 0), "prlimit64": (0, 7, 0, 0), "fcntl": (1, 3, 0), "sched_setaffinity": (0, 0, 0),
    "ioctl": (-1, 0x5401, 0), "setpriority": (0, 0, 0),
}.items():
    assert outcome(number(name), *arguments) != 13, name
if os.uname().machine == "x86_64":
    assert outcome(0x40000000 + 39) == 13 and outcome(39) == 0
    assert outcome(39, 0) == 0 and outcome(186) == 0
print("held")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
def test_the_filter_refuses_each_call_that_it_lists():
    done = subprocess.run(
        [sys.executable, "-I", "-c", FILTERED, str(_CHILD)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "held\n", done.stderr


CLONES = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
import calls
calls.filter_calls(signals=False, forks=False, files=False)
libc = ctypes.CDLL(None, use_errno=True)
number = calls.FORKS["clone"][list(calls.ARCHITECTURES).index(os.uname().machine)]
for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x04000000, 0x08000000, 0x02000000, 0x8000):
    ctypes.set_errno(0)
    child = libc.syscall(ctypes.c_long(number), ctypes.c_long(flag | 17), *[ctypes.c_long(0)] * 4)
    if child == 0:
        os._exit(0)
    assert child < 0 and ctypes.get_errno() == 13, hex(flag)
child = os.fork()
if child == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
import threading
thread = threading.Thread(target=print, args=("held",))
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
def test_the_filter_refuses_namespaces_but_no_child_or_thread():
    done = subprocess.run([sys.executable, "-I", "-c", CLONES, str(_CHILD)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "held\n", done.stderr
