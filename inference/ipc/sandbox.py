"""Confines a child process that handles foreign data: it can compute on what it holds, and nothing else.

`python -m inference.ipc.sandbox` prints as JSON what is active on this machine. Every measure is kept for good, and one
that the system lacks leaves the others in force.
"""

import contextlib
import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial

from inference.ipc import landlock, seccomp
from inference.ipc.environment import ROOT, clean_environment

if sys.platform != "win32":
    import resource

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_PROBE_TIMEOUT_S = 30.0
_CAPABILITY_VERSION_3 = 0x20080522
_ONLY_LINUX = "only Linux has it"


def forbid_new_privileges() -> str:
    """No program that this process starts gets more rights than it has, by setuid or otherwise."""
    return _call_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> str:
    """What root may do beyond other users: a server that runs as root still decodes without it."""
    if sys.platform != "linux":
        return _ONLY_LINUX
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    failed = _libc().capset(header, bytes(24))
    return os.strerror(ctypes.get_errno()) if failed else ""


def restrict_files() -> str:
    return landlock.restrict_files(_libc()) if sys.platform == "linux" else _ONLY_LINUX


def limit_resources(*, may_start_threads: bool = False) -> str:
    """No new file, socket, process or thread, no growing file, no core dump. The system's limit on processes holds for
    threads as well."""
    if sys.platform == "win32":
        return "Windows has no such limits"
    processes = () if may_start_threads else ("RLIMIT_NPROC",)
    for name in ("RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NOFILE", *processes):
        resource.setrlimit(getattr(resource, name), (0, 0))
    return ""


def filter_system_calls(*, may_start_threads: bool = False) -> str:
    if sys.platform != "linux":
        return _ONLY_LINUX
    return seccomp.install_filter(_libc(), may_start_threads=may_start_threads)


MEASURES: dict[str, Callable[[], str]] = {
    "no_new_privs": forbid_new_privileges,
    "landlock": restrict_files,
    "capabilities": drop_capabilities,
    "limits": limit_resources,
    "seccomp": filter_system_calls,
}
"""In the order in which they must be taken: each later one forbids the calls of the earlier ones."""
_WITH_THREADS: dict[str, Callable[[], str]] = {
    "limits": partial(limit_resources, may_start_threads=True),
    "seccomp": partial(filter_system_calls, may_start_threads=True),
}


def confine(names: Iterable[str] = MEASURES, *, may_start_threads: bool = False) -> dict[str, str]:
    """Take these measures, when everything that the process needs is imported and open, before it has threads.

    Returns for each the reason why it is not active; "": it is.
    """
    chosen = set(names)
    measures = MEASURES | (_WITH_THREADS if may_start_threads else {})
    return {name: _take(measure) for name, measure in measures.items() if name in chosen}


def harden() -> None:
    """For a child that needs files and the network: no new privileges, and other processes of the same user cannot read
    its memory and environment, which hold a token.
    """
    forbid_new_privileges()
    _call_prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def probe_measures() -> dict[str, str]:
    """What `confine` returns on this machine, from a process of its own.

    Raises: OSError, SubprocessError, ValueError.
    """
    done = subprocess.run(
        [sys.executable, "-m", "inference.ipc.sandbox"],
        cwd=ROOT,
        env=clean_environment(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=_PROBE_TIMEOUT_S,
    )
    return dict(json.loads(done.stdout))


def _take(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except (AttributeError, OSError, ValueError) as error:  # also a C library without the function
        return str(error)


def _call_prctl(*arguments: int) -> str:
    if sys.platform != "linux":
        return _ONLY_LINUX
    failed = _libc().prctl(*(ctypes.c_ulong(one) for one in arguments))
    return os.strerror(ctypes.get_errno()) if failed else ""


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(confine()))
        sys.stdout.flush()
