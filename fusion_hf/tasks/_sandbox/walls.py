"""What the kernel can put around a process: namespaces, Landlock, a system call filter. Linux only.

Imported by `child.py` in a bare interpreter, so it uses the standard library only. Every function returns what it
achieved; the caller reports that, so nothing is ever claimed that the kernel refused.
"""

import ctypes
import os
import struct

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SYS_MOUNT_SETATTR, SYS_LANDLOCK = 442, 444  # the same number on every architecture
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

# Calls that reach out of the sandbox, by machine: socket, ptrace, io_uring_setup; kill and its kin; fork and its kin.
DENIED = {"x86_64": (0xC000003E, (41, 101, 425)), "aarch64": (0xC00000B7, (198, 117, 425))}
FORKS = {"x86_64": (56, 57, 58, 435), "aarch64": (220, 435)}
SIGNALS = {"x86_64": (62, 129, 200, 234, 297, 424), "aarch64": (129, 130, 131, 138, 240, 424)}

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function, *arguments) -> int:
    result = function(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _syscall(number: int, *arguments) -> int:
    return _call(_libc.syscall, ctypes.c_long(number), *arguments)


def _prctl(option: int, *arguments) -> None:
    _call(_libc.prctl, option, *(ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]))


def enter_namespaces() -> bool:
    """New network, process, mount and IPC namespaces for the children; as an ordinary user inside a user namespace."""
    wanted = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        try:
            _call(_libc.unshare, wanted)
            return True
        except OSError:
            pass  # root without the capability (a container): the user namespace below may still be allowed
    try:
        _call(_libc.unshare, wanted | CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        return True
    except OSError:
        return False


def mount_private(folder: str, owner: int, library: str, megabytes: int = 64) -> str | None:
    """Make every mount read-only for us except a small file system in memory; returns its folder, None if refused.

    `library` (the standard library) is bound below `folder`, because `owner` may be unable to reach it where it is
    (an interpreter in root's home). /proc is hidden, and with it the parent's environment and descriptors.
    """
    work, lib = os.path.join(folder, "work"), os.path.join(folder, "lib")
    try:
        _mount(None, "/", None, MS_REC | MS_PRIVATE)
        _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
        os.mkdir(work)
        os.mkdir(lib)
        _mount(library, lib, None, MS_BIND)
        _mount("tmpfs", work, "tmpfs", MS_NOSUID | MS_NODEV, f"size={megabytes}m,mode=700,uid={owner}")
        _mount("tmpfs", "/proc", "tmpfs", MS_RDONLY, "size=4k")
        _mount_attributes("/", AT_RECURSIVE, MS_RDONLY, 0)
        _mount_attributes(work, 0, 0, MS_RDONLY)
        return work
    except OSError:
        return None


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encode = [None if x is None else os.fsencode(x) for x in (source, target, kind, data)]
    _call(_libc.mount, encode[0], encode[1], encode[2], ctypes.c_ulong(flags), encode[3])


def _mount_attributes(path: str, flags: int, add: int, remove: int) -> None:
    attributes = struct.pack("=QQQQ", add, remove, 0, 0)
    _syscall(SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), flags, attributes, ctypes.c_size_t(len(attributes)))


def landlock_writes(folder: str) -> bool:
    """Refuse every write, creation and removal outside `folder` (Landlock, Linux 5.13 and later)."""
    try:
        version = _syscall(SYS_LANDLOCK, None, ctypes.c_size_t(0), 1)
        rights = 1 << 1 | sum(1 << bit for bit in range(4, 13))
        rights |= (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
        ruleset = _syscall(SYS_LANDLOCK, struct.pack("=Q", rights), ctypes.c_size_t(8), 0)
        for path, allowed in ((folder, rights), ("/dev/null", 1 << 1)):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            _syscall(SYS_LANDLOCK + 1, ruleset, 1, struct.pack("=Qi", allowed, descriptor), 0)
            os.close(descriptor)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _syscall(SYS_LANDLOCK + 2, ruleset, 0)
        os.close(ruleset)
        return True
    except OSError:
        return False


def filter_calls(signals: bool, forks: bool) -> bool:
    """Refuse new sockets, tracing of other processes and, if asked, signals and new processes (seccomp filter)."""
    machine = os.uname().machine
    if machine not in DENIED:
        return False
    architecture, numbers = DENIED[machine]
    numbers += (SIGNALS[machine] if signals else ()) + (FORKS[machine] if forks else ())
    checks = [(0x15, number) for number in numbers]
    if machine == "x86_64":
        checks.insert(0, (0x35, 0x40000000))  # the x32 numbers reach the same calls
    code = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, 0x00050001), (0x20, 0, 0, 0)]
    for i, (operation, value) in enumerate(checks):
        code.append((operation, len(checks) - i, 0, value))
    code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x0005000D)]  # allow; permission denied
    program = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    try:
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _prctl(PR_SET_SECCOMP, 2, ctypes.cast(header, ctypes.c_void_p).value)
        return True
    except OSError:
        return False


def become(uid: int) -> bool:
    """From root to an account that owns nothing; the whole sandbox counts against its limit of processes."""
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError:
        return False
    return True


def drop_capabilities() -> None:
    """Give up every capability for good; one that a user namespace granted could undo the mounts."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    number = {"x86_64": 126, "aarch64": 91}.get(os.uname().machine)
    if number is not None:
        _syscall(number, struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[0] * 6))


def die_with_parent() -> None:
    """Be killed when the parent is; a change of account clears this, so it is called after it."""
    _prctl(PR_SET_PDEATHSIG, 9)
