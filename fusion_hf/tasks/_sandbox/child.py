"""Runs one program inside the walls and says how it ended. Started by `fusion_hf.tasks.sandbox` in a bare interpreter.

Two processes: the warden (this script) reads the job from standard input, raises the walls, forks the inmate, keeps
the clock and writes five lines (passed or failed, reason, network, files, processes); the inmate runs the program.
Only the inmate ever runs code of others. Modules that take long to import (json, signal, types) are avoided: the start
of the interpreter is most of the time that a graded answer takes.
"""

import builtins
import marshal
import math
import os
import resource
import select
import sys

LIMIT_PROCESSES = 8
MEGABYTE = 1 << 20
SIGKILL = 9
ANSWER = "answer"
REFUSED = "refused: "


class Refused(Exception):
    """The walls that are left cannot hold the program, so it does not run."""


def main() -> None:
    """Read the job, run it, write the result."""
    job = marshal.loads(sys.stdin.buffer.read())
    walls = _linux_walls() if "kernel" not in job["without"] else None
    sys.path.pop(0)  # our own folder: the inmate must not import our files by chance
    report = {"network": "none", "files": "none", "processes": "none"}
    folder = job["scratch"]
    apart = walls is not None and "namespaces" not in job["without"] and walls.enter_namespaces()
    if apart:
        report["network"], report["processes"] = "network namespace", "process namespace"
        library = os.path.dirname(os.__file__)
        account = _own_account(folder, os.getuid() == 0)
        work = walls.mount_private(folder, os.getuid() if account is None else account, library)
        if work is not None:
            report["files"] = "mount namespace"
            _move_library(library, os.path.join(folder, "lib"))
            folder = work
        elif account is not None and not _readable_by_all(os.__file__):
            os.chown(folder, 0, 0)
            account = None
    else:
        account = _own_account(folder, walls is not None and os.getuid() == 0 and _readable_by_all(os.__file__))
    os.chdir(folder)
    read, write = os.pipe()
    inmate = os.fork()
    if inmate == 0:
        try:
            os.close(read)
            _enclose(job, walls, report, folder, account)
            _run(job, write, report)
        except Refused as error:
            os.write(write, f"{REFUSED}{error}".encode())
        except BaseException as error:
            os.write(write, f"{REFUSED}it could not be set up: {type(error).__name__}: {error}".encode()[:1000])
        finally:
            os._exit(1)
    os.close(write)
    answer, timed_out = _wait(read, job["timeout"])
    os.kill(inmate, SIGKILL)
    _, status = os.waitpid(inmate, 0)
    if account is not None and not apart:
        _kill_all_of(account)
    lines = _judge(answer, timed_out, status, job)
    sys.stdout.buffer.write("\n".join(lines).encode("utf-8", "replace"))


def _own_account(folder: str, wanted: bool) -> int | None:
    """For root: an account that nothing else uses, made the owner of `folder`; None where the kernel has none."""
    account = 0x60000000 + os.getpid()
    try:
        if wanted:
            os.chown(folder, account, account)
            return account
    except OSError:
        pass  # a container that maps few accounts: the program stays root, and must not fork (`_enclose`)
    return None


def _move_library(old: str, new: str) -> None:
    """Import the standard library from `new` from now on, also below packages that are loaded already."""
    sys.path[:] = [p.replace(old, new, 1) for p in sys.path]
    sys.path_importer_cache.clear()
    for module in sys.modules.values():
        if hasattr(module, "__path__"):
            module.__path__ = [p.replace(old, new, 1) for p in module.__path__]


def _linux_walls():
    if sys.platform != "linux":
        return None
    import walls

    return walls


def _enclose(job: dict, walls, report: dict, folder: str, account: int | None) -> None:
    """Raise the remaining walls around this process, strongest first. `report` gets what holds."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    apart = report["network"] == "network namespace"
    own_account = filtered = False
    if walls is not None:
        if report["files"] == "none" and "landlock" not in job["without"] and walls.landlock_writes(folder):
            report["files"] = "landlock"
        own_account = account is not None and walls.become(account)
        walls.die_with_parent()
    # Root is not bound by the limit of processes, so it must be another account, or must not fork at all.
    counted = own_account or os.getuid() != 0
    _limit(job, LIMIT_PROCESSES if apart or own_account else 0)
    if walls is not None:
        walls.drop_capabilities()
        if "seccomp" not in job["without"]:
            filtered = walls.filter_calls(signals=not (apart or own_account), forks=not counted)
    if not (apart or own_account or filtered or os.getuid() != 0):
        raise Refused("nothing here can keep a program that runs as root from stopping other processes")
    if not apart:
        report["network"] = "seccomp filter" if filtered else "blocked in Python"
        report["processes"] = "own account" if own_account else "seccomp filter" if filtered else "blocked in Python"
    if report["files"] == "none":
        report["files"] = "blocked in Python"
    _audit(report, folder)


def _readable_by_all(path: str) -> bool:
    """Whether an account that owns nothing can read `path` (each folder above it must let others through)."""
    folders = path.split(os.sep)
    return all(os.stat(os.sep.join(folders[:i]) or os.sep).st_mode & 0o1 for i in range(1, len(folders)))


def _limit(job: dict, processes: int) -> None:
    """Limits of the kernel: address space, CPU time, processes, size of a file, open files, core dumps."""
    for name, value in (
        ("RLIMIT_AS", job["memory_mb"] * MEGABYTE),
        ("RLIMIT_CPU", math.ceil(job["cpu_s"])),
        ("RLIMIT_NPROC", processes),
        ("RLIMIT_FSIZE", 16 * MEGABYTE),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CORE", 0),
    ):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":  # elsewhere the kernel refuses some of them; the wall clock remains
                raise


def _audit(report: dict, folder: str) -> None:
    """A hook that refuses what would fool the checker, and whatever no kernel wall holds. It cannot be removed."""
    network, files, processes = (report[k] == "blocked in Python" for k in ("network", "files", "processes"))
    prefixes = ("sys.settrace", "sys.setprofile", "sys._current_frames", "gc.get_", "ctypes.")
    prefixes += ("socket.",) if network else ()
    if files or processes:
        prefixes += ("subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system", "os.kill", "os.spawn", "pty.")
    changes = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
    folder = os.path.realpath(folder) + os.sep
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    real, fspath, denied, text = os.path.realpath, os.fsdecode, PermissionError, (str, bytes)

    def hook(event, arguments):
        if event.startswith(prefixes):
            raise denied(f"{event} is not allowed in the sandbox")
        if not files:
            return
        if event == "open":
            path, mode, bits = (*arguments, None, None)[:3]
            if isinstance(path, text) and real(fspath(path)).startswith("/proc/"):
                raise denied("/proc holds the environment of other processes")
            writes = isinstance(mode, str) and any(c in mode for c in "wax+")
            paths = [path] if writes or (isinstance(bits, int) and bits & flags) else []
        else:
            paths = arguments[:2] if event in changes else []
        for path in paths:
            if isinstance(path, text) and not (real(fspath(path)) + "/").startswith(folder) and path != "/dev/null":
                raise denied(f"{fspath(path)} is outside the scratch folder")

    sys.addaudithook(hook)


def _run(job: dict, result: int, report: dict) -> None:
    """Run the program and its tests in this process; the secret is written only after the last test."""
    # Everything used after the program started is bound here: it may replace any name of any module.
    secret = "\n".join([job["secret"], report["network"], report["files"], report["processes"]]).encode()
    write, leave, run, error_types = os.write, os._exit, exec, BaseException
    getpid, own = os.getpid, os.getpid()
    name_of, to_text = type, str
    step = ANSWER
    try:
        parts = [(name, compile(source, f"<{name}>", "exec", dont_inherit=True)) for name, source in job["parts"]]
        tests = [(name, compile(source, f"<{name}>", "exec", dont_inherit=True)) for name, source in job["tests"]]
        kept, kept_math = dict(builtins.__dict__), dict(math.__dict__)
        module = type(sys)(ANSWER)
        sys.modules[ANSWER] = module
        for ours in ("child", "walls"):
            sys.modules.pop(ours, None)
        job.clear()
        for name, code in parts:
            step = name
            run(code, module.__dict__)
        # The program may have patched what the tests compare with; they get the functions as they were.
        math.__dict__.update(kept_math)
        builtins.__dict__.update(kept)
        space = _test_space(module.__dict__, kept, tests)
        for name, code in tests:
            step = name
            run(code, space)
    except error_types as error:
        try:
            message = f"{step}: {name_of(error).__name__}: {to_text(error)}"
        except error_types:
            message = f"{step}: {name_of(error).__name__}"
        if getpid() == own:
            write(result, message.encode("utf-8", "replace")[:1000])
        leave(1)
    if getpid() == own:  # a process that the program forked runs the tests too, but has no say
        write(result, secret)
    leave(0)


def _test_space(answer: dict, kept: dict, tests: list) -> dict:
    """Names that the tests see: the program's, but a name of a builtin only where the tests call nothing else."""
    called = {name for _, code in tests for name in code.co_names}
    ours = {n for n in answer if n not in kept}
    defined = {n for n in called if n in ours or n == "check"}
    space = {n: v for n, v in answer.items() if n in ours or (not defined and n in called)}
    return space | {"__builtins__": dict(kept), "__name__": "tests"}


def _wait(read: int, timeout: float) -> tuple[bytes, bool]:
    """What the inmate wrote, and whether the clock ran out first.

    One read is enough: a message this short is written whole, and processes that the program left behind would keep
    the pipe open.
    """
    ready, _, _ = select.select([read], [], [], timeout)
    return (os.read(read, 4096), False) if ready else (b"", True)


def _kill_all_of(uid: int) -> None:
    """Kill every process of an account that only this sandbox used: a child becomes it and signals all it may."""
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(uid, uid, uid)
            if uid != 0 and os.getresuid() == (uid, uid, uid):
                os.kill(-1, SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _judge(answer: bytes, timed_out: bool, status: int, job: dict) -> list[str]:
    """The five lines of the result; what the inmate wrote counts as passed only if it begins with the secret."""
    lines = answer.decode("utf-8", "replace").splitlines() or [""]
    if lines[0] == job["secret"] and len(lines) == 4:
        return ["passed", "passed", *lines[1:]]
    if lines[0].startswith(REFUSED):
        return ["refused", lines[0].removeprefix(REFUSED)]
    if timed_out:
        reason = f"no end after {job['timeout']:g} s"
    elif answer:
        reason = " ".join(lines).replace(job["secret"], "")
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) != SIGKILL:
        reason = f"killed by signal {os.WTERMSIG(status)}"
    else:
        reason = "the process ended before the tests did (os._exit, or killed by a limit)"
    return ["failed", reason]
