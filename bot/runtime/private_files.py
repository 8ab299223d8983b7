"""Files and folders that only this user can read, whatever the umask is."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077
NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags of `os.open`: fail on a symbolic link, and do not pass the file on to child processes."""


def make_private_folder(folder: Path) -> None:
    """Create it if it is missing; an existing one keeps its mode. Raises: OSError."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def create_private_file(path: Path) -> None:
    """Create an empty file if it is missing, for a library that would create it with the umask's mode.

    Raises: OSError.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW, FILE_MODE))


def is_exposed(path: Path) -> bool:
    """Whether other users of the machine have any access by its mode. False for links, and on Windows."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return os.name == "posix" and not stat.S_ISLNK(mode) and bool(mode & _OTHERS)


def restrict_access(path: Path) -> None:
    """Take all access from other users. Raises: OSError: it belongs to somebody else."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)


def runtime_folder() -> Path:
    """A folder of this user's own for locks: in `XDG_RUNTIME_DIR`, else in the temporary directory.

    Raises: OSError: somebody else's file or folder, or a link, is in its place.
    """
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "")
    if base.is_absolute() and _is_own_folder(base):
        folder = base / "easel"
    else:
        folder = Path(tempfile.gettempdir()) / f"easel-{_user_id()}"
    make_private_folder(folder)
    if not _is_own_folder(folder):
        raise PermissionError(f"{folder} is not a folder of this user")
    if is_exposed(folder):
        restrict_access(folder)
    return folder


def _is_own_folder(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (os.name != "posix" or found.st_uid == _user_id())


def _user_id() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0  # on Windows each user has an own temporary directory
