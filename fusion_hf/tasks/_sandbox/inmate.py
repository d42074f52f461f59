"""The inmate: raises the walls around itself, says which hold, and runs the program and its tests.

Started by `child.py` in a fork of its bare interpreter. Only this process ever runs code of others.
"""

import math
import os
import resource
import sys

import calls
import pristine

LIMIT_PROCESSES = 8
MEGABYTE = 1 << 20
# The scratch folder: in a mount of its own by size and number, else by the size of a file and, in Python, by number.
LIMIT_FILE_MB, LIMIT_FILES = 16, 4096
LIMIT_FILE_MB_SHARED, LIMIT_FILES_SHARED = 1, 64
LIMIT_SCRATCH_MB = 64
ANSWER = "answer"
# Modules whose C code opens files or reaches processes without asking the hook of Python.
UNASKED = ("_posixshmem", "_multiprocessing", "_dbm", "_gdbm", "_sqlite3", "_curses", "readline", "_ctypes")
UNHOOKED = ("pidfd_open", "memfd_create", "mkfifo", "mknod", "setpriority", "sched_setaffinity", "sched_setscheduler")


class Refused(Exception):
    """The walls that are left cannot hold the program, so it does not run."""


def main(job: dict, place, result: int, null: int) -> None:
    """Raise the walls, say what holds, run the program. Does not return."""
    os.setsid()  # out of the warden's process group: `os.killpg(0, …)` reaches it from a process namespace too
    try:
        report = _enclose(job, place)
        line = "\t".join(["ready", *(f"{key}={value}" for key, value in report.items())])
    except Refused as error:
        line = f"refused\t{error}"
    except BaseException as error:
        line = f"refused\tit could not be set up: {type(error).__name__}: {error}"
    os.write(1, line.replace("\n", " ").encode("utf-8", "replace")[:2000] + b"\n")
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    if not line.startswith("refused"):
        _run(job, result)
    os._exit(1)


def _enclose(job: dict, place) -> dict[str, str]:
    """Raise the remaining walls around this process, strongest first; returns what holds."""
    walls, apart = place.walls, place.apart
    if place.root and not apart and not job["as_root"]:
        raise Refused("it runs as root, and the kernel allows no namespaces")
    landlock = own_account = filtered = 0
    if walls is not None:
        if "landlock" not in job["without"]:
            landlock = walls.landlock(place.folder, place.library)
        own_account = place.account is not None and walls.become(place.account)
        walls.die_with_parent()
    # Root is not bound by the limit of processes, so it must be another account, or must not fork at all.
    counted = own_account or os.getuid() != 0
    processes = LIMIT_PROCESSES if counted and (apart or own_account) else 0
    _limit(job, processes, LIMIT_FILE_MB if place.mounted else LIMIT_FILE_MB_SHARED)
    if walls is not None:
        walls.drop_capabilities()
        if "seccomp" not in job["without"]:
            filtered = calls.filter_calls(not (apart or own_account), not counted, not place.mounted)
    if not (apart or own_account or filtered or not place.root):
        raise Refused("nothing here can keep a program that runs as root from stopping other processes")
    in_python = "blocked in Python"
    mounts = ["mount namespace"] if place.mounted else []
    locks = [f"landlock{'' if landlock >= 3 else ' without truncation'}"] if landlock else []
    report = {
        "network": "network namespace" if apart else "seccomp filter" if filtered else in_python,
        "files": " and ".join(mounts + locks) or in_python,
        "reading": "the library and system folders" if landlock else "whatever the account may read",
        "processes": "process namespace" if apart else "own account" if own_account else
        "seccomp filter" if filtered else in_python,
        "calls": "seccomp filter" if filtered else "none",
        "account": "own account" if own_account else
        "root without capabilities" if os.getuid() == 0 else "this account",
        "memory": f"{job['memory_mb']} MB for each of {processes or 1} processes"
        + (" and for all together" if place.watch is not None else "")
        + ("" if filtered else "; shared memory is not counted"),
        "disk": f"{LIMIT_SCRATCH_MB} MB, {LIMIT_FILES} files, none executed" if place.mounted
        else f"{LIMIT_FILES_SHARED} files of {LIMIT_FILE_MB_SHARED} MB, counted in Python",
    }  # fmt: skip
    _audit(report, place)
    return report


def _limit(job: dict, processes: int, file_mb: int) -> None:
    """Limits of the kernel: address space, CPU time, processes, size of a file, open files, core dumps."""
    for name, value in (
        ("RLIMIT_AS", job["memory_mb"] * MEGABYTE),
        ("RLIMIT_CPU", math.ceil(job["cpu_s"])),
        ("RLIMIT_NPROC", processes),
        ("RLIMIT_FSIZE", file_mb * MEGABYTE),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CORE", 0),
    ):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":  # elsewhere the kernel refuses some of them; the wall clock remains
                raise


def _audit(report: dict, place) -> None:
    """A hook that refuses what would fool the checker, and whatever no kernel wall holds. It cannot be removed."""
    network, files, processes = (report[k] == "blocked in Python" for k in ("network", "files", "processes"))
    prefixes = ("sys.settrace", "sys.setprofile", "sys._current_frames", "sys.addaudithook", "sys.monitoring")
    prefixes += ("gc.get_", "ctypes.")
    prefixes += ("socket.",) if network else ()
    if files or processes:
        prefixes += ("subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system", "os.kill", "os.spawn", "pty.")
        prefixes += ("fcntl.", "resource.prlimit", "signal.pthread_kill", "sqlite3.")
        for name in UNHOOKED:
            for module in (os, sys.modules[os.name]):
                module.__dict__.pop(name, None)
    changes = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
    changes += ("os.chown", "os.utime", "os.setxattr", "os.removexattr", "os.chflags", "os.lockf")
    makes, left = ("os.mkdir", "os.link", "os.symlink"), [LIMIT_FILES_SHARED]
    folder, library = (os.path.realpath(path) + os.sep for path in (place.folder, place.library))
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    real, fspath, denied, text, whole = os.path.realpath, os.fsdecode, PermissionError, (str, bytes), int
    counted, unasked, of, word = not place.mounted, UNASKED, isinstance, str

    def hook(event, arguments):
        if event.startswith(prefixes):
            raise denied(f"{event} is not allowed in the sandbox")
        if not counted:
            return
        paths = ()
        if event == "open":
            path, mode, bits = (*arguments, None, None)[:3]
            if files and of(path, text) and real(fspath(path)).startswith("/proc/"):
                raise denied("/proc holds the environment of other processes")
            writes = of(mode, word) and ("w" in mode or "a" in mode or "x" in mode or "+" in mode)
            if writes or (of(bits, whole) and bits & flags):
                paths = (path,)
        elif event in changes:
            paths = arguments[:2]
        elif event == "import":
            name, path = arguments[:2]
            if (files and name in unasked) or (of(path, word) and not real(path).startswith(library)):
                raise denied(f"import of {name} is not allowed in the sandbox")
        if paths and (event == "open" or event in makes) and paths[0] != "/dev/null":
            left[0] -= 1
            if left[0] < 0:
                raise denied("too many files in the sandbox")
        for path in paths if files else ():
            if of(path, text) and not (real(fspath(path)) + "/").startswith(folder) and path != "/dev/null":
                raise denied(f"{fspath(path)} is outside the scratch folder")

    sys.addaudithook(hook)


def _run(job: dict, result: int) -> None:
    """Run the program and its tests in this process; the secret is written only after the last test."""
    # Everything used after the program started is bound here: it may replace any name of any module.
    write, leave, attempt, finish, error_types, to_text = os.write, os._exit, _attempt, _finish, BaseException, str
    # The type's own name: a metaclass may have replaced the attribute.
    getpid, own, type_of, name_of = os.getpid, os.getpid(), type, type.__dict__["__name__"].__get__
    spare = [bytes(4 * MEGABYTE)]  # given back when the program has used up its memory, for the message
    step, message = [ANSWER], "failed"
    try:
        parts = tuple((name, compile(text, f"<{name}>", "exec", dont_inherit=True)) for name, text in job.pop("parts"))
        tests = tuple((name, compile(text, f"<{name}>", "exec", dont_inherit=True)) for name, text in job.pop("tests"))
        # The secret is no variable of any frame: while the program runs, it waits as an argument of this call.
        finish(write, leave, getpid, own, result, job.pop("secret").encode(), attempt(parts, tests, step))
    except error_types as error:
        spare.clear()
        try:
            message = f"{step[0]}: {name_of(type_of(error))}"
            message = f"{message}: {to_text(error)}"
        except error_types:
            pass
        if getpid() == own:
            write(result, message.encode("utf-8", "replace")[:1000])
        leave(1)


def _finish(write, leave, getpid, own: int, result: int, secret: bytes, _) -> None:
    if getpid() == own:  # a process that the program forked runs the tests too, but has no say
        write(result, secret)
    leave(0)


def _attempt(parts: tuple, tests: tuple, step: list[str]) -> None:
    """Run the parts, then the tests; returns if nothing raised. `step` says what runs."""
    run = exec
    originals = pristine.Pristine([code for _, code in parts[1:] + tests])
    module = type(sys)(ANSWER)
    sys.modules[ANSWER] = module
    for ours in ("child", "inmate", "walls", "calls", "pristine"):
        sys.modules.pop(ours, None)
    for name, code in parts:
        step[0] = name
        run(code, module.__dict__)
        if name == ANSWER:
            originals.put_back()
    space = _test_space(module.__dict__, originals.kept, tests)
    for name, code in tests:
        step[0] = name
        run(code, space)
    step[0] = "what the tests compare with was changed"
    originals.check()


def _test_space(answer: dict, kept: dict, tests: tuple) -> dict:
    """Names that the tests see: the program's, but a name of a builtin only where the tests call nothing else."""
    called = {name for _, code in tests for name in code.co_names}
    ours = {n for n in answer if n not in kept}
    defined = {n for n in called if n in ours or n == "check"}
    space = {n: v for n, v in answer.items() if n in ours or (not defined and n in called)}
    return space | {"__builtins__": dict(kept), "__name__": "tests"}
