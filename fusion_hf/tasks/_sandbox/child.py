"""Runs one program inside the walls and says how it ended. Started by `fusion_hf.tasks.sandbox` in a bare interpreter.

Two processes: the warden (this script) reads the job from standard input, makes the namespaces, forks the inmate, keeps
the clock and writes the verdict; the inmate raises the remaining walls, says on the same output which hold (a line
``ready`` with them, or ``refused``), closes it, and only then runs the program. So nothing that a program does can pass
for a fault of the sandbox. Modules that take long to import (json, signal, types) are avoided: the start of the
interpreter is most of the time that a graded answer takes.
"""

import marshal
import os
import select
import sys
import time

import inmate

SIGKILL = 9
WATCH_S = 0.05  # between two looks at the memory of all processes together


class Place:
    """Where the program runs: its folder, the library that it reads, its account, and what holds so far."""

    def __init__(self, job: dict, walls) -> None:
        self.walls, self.root = walls, os.getuid() == 0
        self.folder, self.library = job["scratch"], os.path.dirname(os.__file__)
        self.watch = _open_proc() if walls is not None and "watch" not in job["without"] else None
        self.apart = walls is not None and "namespaces" not in job["without"] and walls.enter_namespaces()
        self.mounted, self.account = False, None
        if self.root and not self.apart and not job["as_root"]:
            return  # the inmate refuses
        readable = _readable_by_all(os.__file__)
        if self.root and walls is not None and (self.apart or readable):
            self.account = _own_account(self.folder)
        if self.apart:
            work = walls.mount_private(
                self.folder, os.getuid() if self.account is None else self.account, self.library,
                inmate.LIMIT_SCRATCH_MB, inmate.LIMIT_FILES,
            )  # fmt: skip
            if work is not None:
                old, self.library = self.library, os.path.join(self.folder, "lib", os.path.basename(self.library))
                _move_library(old, self.library)
                self.folder, self.mounted = work, True
            elif self.account is not None and not readable:
                os.chown(self.folder, 0, 0)
                self.account = None


def main() -> None:
    """Read the job, run it, write the result."""
    job = marshal.loads(sys.stdin.buffer.read())
    walls = _linux_walls() if "kernel" not in job["without"] else None
    sys.path.pop(0)  # our own folder: the inmate must not import our files by chance
    above = os.open(os.path.dirname(job["scratch"]), os.O_RDONLY | os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR)
    place = Place(job, walls)
    os.chdir(place.folder)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.close(above)
            if place.watch is not None:
                os.close(place.watch)
            inmate.main(job, place, write, null)
        finally:
            os._exit(1)
    os.close(write)
    if place.watch is not None:
        walls.adopt_orphans()
    answer, ended = _wait(read, job["timeout"], place.watch, job["memory_mb"] * inmate.MEGABYTE)
    os.kill(child, SIGKILL)
    _, status = os.waitpid(child, 0)
    if place.account is not None and not place.apart:
        _kill_all_of(place.account)
    verdict = _judge(answer, ended, status, job)
    try:
        os.write(1, "\t".join(verdict).encode("utf-8", "replace"))
    except OSError:  # nobody reads it
        _clean(job["scratch"], place, above)
    os._exit(0)  # the end of the interpreter would take a tenth of the time of a short program


def _own_account(folder: str) -> int | None:
    """For root: an account that nothing else uses, made the owner of `folder`; None where the kernel has none."""
    account = 0x60000000 + os.getpid()
    try:
        os.chown(folder, account, account)
        return account
    except OSError:
        return None  # a container that maps few accounts: the program stays root, and must not fork (see `inmate.py`)


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


def _readable_by_all(path: str) -> bool:
    """Whether an account that owns nothing can read `path` (each folder above it must let others through)."""
    folders = path.split(os.sep)
    return all(os.stat(os.sep.join(folders[:i]) or os.sep).st_mode & 0o1 for i in range(1, len(folders)))


def _wait(read: int, timeout: float, watch: int | None, memory: int) -> tuple[bytes, str]:
    """What the inmate wrote, and what ended the wait: it, the clock, too much memory, or the end of who asked for it.

    One read is enough: a message this short is written whole, and processes that the program left behind would keep
    the pipe open.
    """
    poll = select.poll()
    poll.register(read, select.POLLIN)
    poll.register(1, 0)  # an error is reported when nobody reads our output any more
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        ready = dict(poll.poll(1000 * (left if watch is None else min(left, WATCH_S))))
        if 1 in ready:  # first, for the inmate may have ended because of it
            return b"", "abandoned"
        if ready:
            return os.read(read, 4096), "answer"
        if watch is not None and _resident(watch) > memory:
            return b"", "memory"
    return b"", "timeout"


def _open_proc() -> int | None:
    """/proc as it is now, which the mounts will hide; None where it does not tell of children."""
    try:
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.stat(f"self/task/{os.getpid()}/children", dir_fd=proc)
        return proc
    except OSError:
        return None


def _resident(proc: int) -> int:
    """Bytes in memory of every process below this one; what they share counts for each."""
    todo, pages = _children(proc, os.getpid()), 0
    while todo:
        process = todo.pop()
        todo += _children(proc, process)
        pages += int((_read(proc, f"{process}/statm").split() or [0, 0])[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _children(proc: int, process: int) -> list[int]:
    try:
        tasks = os.open(f"{process}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=proc)
    except OSError:  # it has just ended
        return []
    try:
        return [int(p) for task in os.listdir(tasks) for p in _read(tasks, f"{task}/children").split()]
    finally:
        os.close(tasks)


def _read(folder: int, path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY, dir_fd=folder)
    except OSError:
        return b""
    try:
        return os.read(file, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(file)


def _clean(scratch: str, place: Place, above: int) -> None:
    """Remove the scratch folder, because the process that made it has gone."""
    import shutil

    try:
        os.chdir("/")
        if place.mounted:
            place.walls.unmount_private(scratch)
            os.rmdir(os.path.basename(scratch), dir_fd=above)  # by the mount from before our namespace
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError:
        pass


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


def _judge(answer: bytes, ended: str, status: int, job: dict) -> tuple[str, str]:
    """The verdict and its reason; what the inmate wrote counts as passed only if it is the secret."""
    text = answer.decode("utf-8", "replace")
    if text == job["secret"]:
        return "passed", "passed"
    if ended == "timeout":
        return "failed", f"no end after {job['timeout']:g} s"
    if ended == "memory":
        return "failed", f"its processes took more than {job['memory_mb']} MB together"
    if answer:
        return "failed", text.replace(job["secret"], "")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != SIGKILL:
        return "failed", f"killed by signal {os.WTERMSIG(status)}"
    return "failed", "the process ended before the tests did (os._exit, or killed by a limit)"
