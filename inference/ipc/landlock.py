"""A Landlock ruleset without rules: the process can reach no file, folder, TCP port or foreign process. Linux 5.13+."""

import ctypes
import os

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
"""System calls; the same on every processor."""
_ASK_VERSION = 1
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""Number of rights that a version knows about files, lowest bits first; 4 added TCP, 6 signals and abstract sockets."""
_TCP_RIGHTS, _SCOPES = 0b11, 0b11
_TCP_SINCE, _SCOPES_SINCE = 4, 6


class _Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`: which rights are taken away where no rule gives them."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def restrict_files(libc: ctypes.CDLL) -> str:
    """Take away every right of this thread and of those that it starts, for good. Needs no_new_privs.

    Returns the reason why it is not active; "": it is.
    """
    version = _call(libc, _CREATE_RULESET, None, 0, _ASK_VERSION)
    if version < 1:
        return os.strerror(ctypes.get_errno())
    rights = max(number for since, number in _FILE_RIGHTS.items() if since <= version)
    ruleset = _Ruleset(
        files=2**rights - 1,
        network=_TCP_RIGHTS if version >= _TCP_SINCE else 0,
        scopes=_SCOPES if version >= _SCOPES_SINCE else 0,
    )
    handle = _call(libc, _CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if handle < 0:
        return os.strerror(ctypes.get_errno())
    failed = _call(libc, _RESTRICT_SELF, handle, 0)
    reason = os.strerror(ctypes.get_errno()) if failed else ""
    os.close(handle)
    return reason


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    plain = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return int(libc.syscall(ctypes.c_long(number), *plain))
