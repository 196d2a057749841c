"""The system calls refused to a program in a sandbox, as a filter for bubblewrap's --seccomp.

Namespaces keep a program from reaching anything outside. The filter closes what they leave open: memory that outlives a program
(System V segments, message queues, keys, memfd), control over the interpreter that serves the next program (its limits,
priority and processors), address families without a namespace (vsock reaches the host of a virtual machine), and the parts of
the kernel that most escapes used (new namespaces, mounts, bpf, io_uring, userfaultfd, perf).
"""

import errno
import platform
import socket
import struct

from codeparrot.errors import CodeparrotError

# Call numbers on x86-64, and in the table that newer architectures share (asm-generic/unistd.h).
REFUSED = {
    **{"shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "memfd_create": (319, 279)},
    **{"memfd_secret": (447, 447), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    **{"setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118), "sched_setscheduler": (144, 119)},
    **{"sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "migrate_pages": (256, 238), "move_pages": (279, 239)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272)},
    **{"pidfd_getfd": (438, 438), "process_madvise": (440, 440), "unshare": (272, 97), "setns": (308, 268)},
    **{"mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428)},
    **{"move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433)},
    **{"mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265)},
    **{"fanotify_init": (300, 262), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
}
# Refused depending on an argument.
CLONE, CLONE3, SOCKET, PRLIMIT64 = (56, 220), (435, 435), (41, 198), (302, 261)
NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW* for user, mount, pid, net, ipc, uts, cgroup and time."""
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)

# Machine: column of the tables above, AUDIT_ARCH_*.
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "riscv64": (1, 0xC00000F3)}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def filter_program(machine: str | None = None) -> bytes:
    """Return the filter for this machine: an array of struct sock_filter.

    Raises:
        CodeparrotError: the machine's system calls are not known here.
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        raise CodeparrotError(f"the sandbox knows the system calls of {', '.join(ARCHITECTURES)}, not of {machine}")
    column, architecture = ARCHITECTURES[machine]
    refuse = _step(_RETURN, _ERRNO | errno.EPERM)
    program = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        # The x32 calls of x86-64 have their own numbers.
        _step(_AT_LEAST, 0x40000000, 0, 1),
        refuse,
    ]
    for numbers in REFUSED.values():
        program += [_step(_EQUAL, numbers[column], 0, 1), refuse]
    # The C library falls back to clone from clone3, whose flags a filter cannot see.
    program += [_step(_EQUAL, CLONE3[column], 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    argument = _step(_LOAD, _FIRST_ARGUMENT)
    program += [_step(_EQUAL, CLONE[column], 0, 4), argument, _step(_ANY_BIT, NEW_NAMESPACES, 0, 1), refuse, _allow()]
    # A process may limit itself, not another.
    program += [_step(_EQUAL, PRLIMIT64[column], 0, 4), argument, _step(_EQUAL, 0, 1, 0), refuse, _allow()]
    families = [_step(_EQUAL, family, len(FAMILIES) - index, 0) for index, family in enumerate(FAMILIES)]
    program += [_step(_EQUAL, SOCKET[column], 0, len(families) + 2), argument, *families]
    program += [_step(_RETURN, _ERRNO | errno.EAFNOSUPPORT), _allow()]
    return b"".join(program)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _allow() -> bytes:
    return _step(_RETURN, _ALLOW)
