"""What the kernel can put around a process: namespaces, mounts, Landlock, an account of its own. Linux only.

Imported by `child.py` in a bare interpreter, so it uses the standard library only. Every function returns what it
achieved; the caller reports that, so nothing is ever claimed that the kernel refused. The filter of system calls is in
`calls.py`.
"""

import ctypes
import os
import struct

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
SYS_MOUNT_SETATTR, SYS_LANDLOCK = 442, 444  # the same number on every architecture
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
DEVICES = ("/dev/null", "/dev/urandom")

# What Python reads besides its own library. /etc holds more than that, so its files are named one by one.
FOLDERS = ("/usr", "/bin", "/lib", "/lib64", "/nix/store", "/sys/devices/system/cpu")
FILES = (
    "/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/mime.types",
    "/dev/urandom",
)  # fmt: skip
# Rights of Landlock; those from version 2 on: moving between folders, truncating.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REFER, TRUNCATE = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 13, 1 << 14
CREATE = sum(1 << bit for bit in range(4, 13))

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


def mount_private(folder: str, owner: int, library: str, megabytes: int = 64, files: int = 4096) -> str | None:
    """Make every mount read-only for us except a small file system in memory; returns its folder, None if refused.

    Nothing in that file system can be executed. The folder that holds `library` (the standard library) is bound below
    `folder`, because `owner` may be unable to reach it where it is (an interpreter in root's home). /proc is hidden,
    and with it the parent's environment and descriptors; of the devices two that do no harm are left.
    """
    work, lib = os.path.join(folder, "work"), os.path.join(folder, "lib")
    try:
        _mount(None, "/", None, MS_REC | MS_PRIVATE)
        _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=64,mode=755")
        os.mkdir(work)
        os.mkdir(lib)
        _mount(os.path.dirname(library), lib, None, MS_BIND)
        limits = f"size={megabytes}m,nr_inodes={files},mode=700,uid={owner}"
        _mount("tmpfs", work, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, limits)
        _mount("tmpfs", "/proc", "tmpfs", MS_RDONLY, "size=4k")
        devices = [path for path in DEVICES if _bind_to_itself(path)]
        _mount_attributes("/", AT_RECURSIVE, MS_RDONLY | MS_NODEV, 0)
        _mount_attributes(work, 0, 0, MS_RDONLY)
        for device in devices:
            _mount_attributes(device, 0, 0, MS_NODEV)
        return work
    except OSError:
        return None


def _bind_to_itself(path: str) -> bool:
    """Make a mount of one file, so that it can have attributes of its own."""
    try:
        _mount(path, path, None, MS_BIND)
        return True
    except OSError:
        return False


def unmount_private(folder: str) -> None:
    """Take down the file systems at `folder`, so that it can be removed."""
    _call(_libc.umount2, os.fsencode(folder), MNT_DETACH)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encode = [None if x is None else os.fsencode(x) for x in (source, target, kind, data)]
    _call(_libc.mount, encode[0], encode[1], encode[2], ctypes.c_ulong(flags), encode[3])


def _mount_attributes(path: str, flags: int, add: int, remove: int) -> None:
    attributes = struct.pack("=QQQQ", add, remove, 0, 0)
    _syscall(SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(path), flags, attributes, ctypes.c_size_t(len(attributes)))


def landlock(folder: str, library: str) -> int:
    """Allow writing in `folder` only, and reading there, in the standard library in `FOLDERS` and `FILES` only.

    Returns the kernel's version of Landlock (Linux 5.13 and later), 0 if it has none. Versions below 3 cannot refuse
    the truncation of a file that is opened for reading.
    """
    try:
        version = _syscall(SYS_LANDLOCK, None, ctypes.c_size_t(0), 1)
        writes = WRITE_FILE | CREATE | (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
        reads = READ_FILE | READ_DIR
        handled = struct.pack("=Q", writes | reads | EXECUTE)
        ruleset = _syscall(SYS_LANDLOCK, handled, ctypes.c_size_t(8), 0)
        _allow(ruleset, folder, writes | reads)
        _allow(ruleset, "/dev/null", WRITE_FILE | READ_FILE)
        for path in FILES:
            _allow(ruleset, path, READ_FILE)
        for path in (os.path.dirname(library), *FOLDERS):
            _allow(ruleset, path, reads | EXECUTE)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        _syscall(SYS_LANDLOCK + 2, ruleset, 0)
        os.close(ruleset)
        return version
    except OSError:
        return 0


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        # A link (/lib on many systems) leads to what another rule names.
        links = os.O_DIRECTORY | os.O_NOFOLLOW if path in FOLDERS else 0
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | links)
    except OSError:
        return  # not on this machine
    try:
        _syscall(SYS_LANDLOCK + 1, ruleset, 1, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


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


def adopt_orphans() -> None:
    """Be the parent of every process below whose own parent ends, so that none is lost from sight."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
