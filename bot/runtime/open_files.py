"""The limit of open files of this process, which connections, images and pipes share."""

import contextlib
import sys

WANTED_FILES = 65_536
"""More would only slow down the start of child processes."""


def raise_open_file_limit() -> None:
    """Raise the soft limit, often 1024, as far as the hard limit permits without privileges."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS refuses some values: the old limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def max_open_files() -> int:
    """The number of files that this process can open."""
    if sys.platform == "win32":
        return WANTED_FILES
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED_FILES if soft == resource.RLIM_INFINITY else soft
