"""A seccomp filter for a process that only computes on what it already holds: all other system calls are refused.

Linux only. The process can read and write its open files, use memory and end; it cannot open a file, create a socket,
start a process or signal another one.
"""

import ctypes
import os
import platform
import struct

_LOAD_WORD, _JUMP_IF_EQUAL, _JUMP_IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
"""Offsets in `struct seccomp_data`; the first argument's low half."""
_EPERM, _ENOSYS = 1, 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1

_MACHINES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}
"""By machine: the column of `_ALLOWED`, the audit architecture, the number of `seccomp` itself."""

_ALLOWED = {
    "read": (0, 63),
    "readv": (19, 65),
    "write": (1, 64),
    "writev": (20, 66),
    "lseek": (8, 62),
    "fstat": (5, 80),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "madvise": (28, 233),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "futex": (202, 98),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "restart_syscall": (219, 128),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getcpu": (309, 168),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "uname": (63, 160),
    "gettimeofday": (96, 169),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
"""Numbers on x86_64 and aarch64. Source: Linux, `asm/unistd_64.h` and `asm-generic/unistd.h`."""
_ALLOWED_ON_SELF = {"tgkill": (234, 131), "prlimit64": (302, 261)}
"""Allowed if the first argument is the process itself: how it aborts, and how it sets its own limits."""

_CLONE, _CLONE3 = (56, 220), (435, 435)
_CLONE_THREAD = 0x00010000
"""A flag of `clone`, which starts a process without it. The flags of `clone3` are in memory, where no filter looks."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install_filter(libc: ctypes.CDLL, *, may_start_threads: bool = False) -> str:
    """Filter the system calls of all threads, those that start later too, for good. Needs no_new_privs.

    Returns the reason why it is not active; "": it is.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return f"there is no filter for {platform.machine()} processors"
    column, architecture, seccomp = machine
    code = build_filter(column, architecture, os.getpid(), may_start_threads=may_start_threads)
    program = _Program(len(code) // 8, code)
    failed = libc.syscall(
        ctypes.c_long(seccomp), ctypes.c_long(_SET_MODE_FILTER), ctypes.c_long(_ALL_THREADS), ctypes.byref(program)
    )
    return os.strerror(ctypes.get_errno()) if failed else ""


def build_filter(column: int, architecture: int, pid: int, *, may_start_threads: bool = False) -> bytes:
    """The filter as BPF instructions. A call of another architecture ends the process, an unlisted one gets EPERM.

    `may_start_threads`: it still cannot start a process.
    """
    code = [
        _instruction(_LOAD_WORD, _ARCHITECTURE_AT),
        _instruction(_JUMP_IF_EQUAL, architecture, if_equal=1),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD_WORD, _NUMBER_AT),
    ]
    for numbers in _ALLOWED.values():
        code += [_instruction(_JUMP_IF_EQUAL, numbers[column], if_not=1), _instruction(_RETURN, _ALLOW)]
    for name, numbers in _ALLOWED_ON_SELF.items():
        code += [
            _instruction(_JUMP_IF_EQUAL, numbers[column], if_not=4),
            _instruction(_LOAD_WORD, _FIRST_ARGUMENT_AT),
            _instruction(_JUMP_IF_EQUAL, 0 if name == "prlimit64" else pid, if_not=1),
            _instruction(_RETURN, _ALLOW),
            _instruction(_RETURN, _REFUSE | _EPERM),
        ]
    code += _allow_threads(column) if may_start_threads else ()
    code.append(_instruction(_RETURN, _REFUSE | _EPERM))
    return b"".join(code)


def _allow_threads(column: int) -> list[bytes]:
    """`clone` for threads only; the C library calls it where the system seems to lack `clone3`."""
    return [
        _instruction(_JUMP_IF_EQUAL, _CLONE3[column], if_not=1),
        _instruction(_RETURN, _REFUSE | _ENOSYS),
        _instruction(_JUMP_IF_EQUAL, _CLONE[column], if_not=3),
        _instruction(_LOAD_WORD, _FIRST_ARGUMENT_AT),
        _instruction(_JUMP_IF_ANY_BIT, _CLONE_THREAD, if_not=1),
        _instruction(_RETURN, _ALLOW),
    ]


def _instruction(operation: int, operand: int, *, if_equal: int = 0, if_not: int = 0) -> bytes:
    """`struct sock_filter`; the jumps count the instructions to skip."""
    return struct.pack("=HBBI", operation, if_equal, if_not, operand)
