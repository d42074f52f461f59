"""The filter of system calls (seccomp): what no program needs and what reaches beyond the sandbox. Linux only.

Everything else is allowed: a list of what is allowed would have to follow every version of the C library. A call that
is refused fails with EACCES; `clone3`, whose flags no filter can read, with ENOSYS, so that the library uses `clone`.
"""

import ctypes
import os
import struct

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
LOAD, EQUAL, AT_LEAST, SHARES, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
DENY, MISSING, ALLOW = (RETURN, 0, 0, 0x0005000D), (RETURN, 0, 0, 0x00050026), (RETURN, 0, 0, 0x7FFF0000)
CLONE3 = 435
RANGE = 10  # rules that are walked one after the other
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Numbers of the calls on x86_64 and aarch64; from 424 on they are the same everywhere, 0 means that there is none.
ALWAYS = {
    # Sockets that reach out. A `socketpair` stays possible (asyncio needs one), but only to itself: see `CONDITIONS`.
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    # Memory that no limit of a process counts, and that outlives it.
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # Other processes, the keys of this account, the kernel.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "ioprio_set": (251, 30), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "syslog": (103, 116),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # Namespaces and mounts, by which the walls could be taken down.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
}  # fmt: skip
SIGNALS = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}  # fmt: skip
FORKS = {"fork": (57, 0), "vfork": (58, 0), "clone": (56, 220)}
# Where no mount namespace makes the files of others read-only: their attributes, and programs brought along.
FILES = {
    "chmod": (90, 0), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, 0),
    "lchown": (94, 0), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, 0), "utimes": (235, 0),
    "futimesat": (261, 0), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463),
    "removexattrat": (466, 466), "file_setattr": (469, 469), "truncate": (76, 45), "mknod": (133, 0),
    "mknodat": (259, 33), "execve": (59, 221), "execveat": (322, 281),
}  # fmt: skip
# Calls refused for some arguments only: (position, how it is compared, value); any that holds refuses the call.
CONDITIONS = {
    "sendto": ((44, 206), [(4, "not", 0)]),  # to an address: a pair of datagram sockets could reach others
    "prlimit64": ((302, 261), [(0, "not", 0)]),  # of another process
    "sched_setaffinity": ((203, 122), [(0, "not", 0)]),
    "setpriority": ((141, 140), [(0, "not", 0), (1, "not", 0)]),
    # F_SETOWN, F_SETSIG, F_SETOWN_EX send signals; F_NOTIFY and leases too; F_SETPIPE_SZ takes the kernel's memory.
    "fcntl": ((72, 25), [(1, "is", value) for value in (8, 10, 15, 1024, 1026, 1031)]),
    # FIOSETOWN, SIOCSPGRP, FIOASYNC; TIOCSTI, TIOCLINUX, TIOCSCTTY of terminals; FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR.
    "ioctl": (
        (16, 29),
        [(1, "is", v) for v in (0x8901, 0x8902, 0x5452, 0x5412, 0x541C, 0x540E, 0x40086602, 0x40046602, 0x401C5820)],
    ),
    # Any new namespace, or a child of our own parent.
    "clone": ((56, 220), [(0, "shares", 0x7E028000)]),
}


def filter_calls(signals: bool, forks: bool, files: bool) -> bool:
    """Refuse what is listed above for this process and its children; signals, new processes and files if asked."""
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        return False
    place = list(ARCHITECTURES).index(machine)
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, ARCHITECTURES[machine]), DENY, (LOAD, 0, 0, 0)]
    if machine == "x86_64":
        code += [(AT_LEAST, 0, 1, 0x40000000), DENY]  # the x32 numbers reach the same calls
    denied = ALWAYS | (SIGNALS if signals else {}) | (FORKS if forks else {}) | (FILES if files else {})
    rules = {n[place]: [(EQUAL, 0, 1, n[place]), DENY] for n in denied.values() if n[place]}
    rules[CLONE3] = [(EQUAL, 0, 1, CLONE3), MISSING]
    for numbers, tests in CONDITIONS.values():
        rules.setdefault(numbers[place], _conditional(numbers[place], tests))
    # By ranges of numbers: the kernel walks the filter once for every call that there is, when it is installed.
    order = sorted(rules)
    for i in range(0, len(order), RANGE):
        body = [line for number in order[i : i + RANGE] for line in rules[number]] + [ALLOW]
        if i + RANGE < len(order):
            code.append((AT_LEAST, len(body), 0, order[i + RANGE]))
        code += body
    return _install(code)


def _conditional(number: int, tests: list[tuple[int, str, int]]) -> list[tuple[int, int, int, int]]:
    """Instructions that refuse call `number` where one of `tests` holds for its arguments."""
    body = []
    for position, how, value in tests:
        for word in (0, 4) if how == "not" else (0,):  # a pointer has two words; a number fits the first
            body.append((LOAD, 0, 0, 16 + 8 * position + word))
            body.append({"is": (EQUAL, 0, 1, value), "not": (EQUAL, 1, 0, value), "shares": (SHARES, 0, 1, value)}[how])
            body.append(DENY)
    body.append((LOAD, 0, 0, 0))
    return [(EQUAL, 0, len(body), number), *body]


def _install(code: list[tuple[int, int, int, int]]) -> bool:
    program = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    arguments = [ctypes.c_ulong(a) for a in (1, 0, 0, 0)]
    if prctl(PR_SET_NO_NEW_PRIVS, *arguments) < 0:
        return False
    address = ctypes.cast(header, ctypes.c_void_p).value
    return prctl(PR_SET_SECCOMP, *(ctypes.c_ulong(a) for a in (2, address, 0, 0))) == 0
