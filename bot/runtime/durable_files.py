"""File changes that survive a power failure. Blocking: call from a thread."""

import os
import tempfile
from pathlib import Path

SIDECAR_SUFFIXES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite keeps next to a database."""


def fsync_path(path: Path) -> None:
    """Flush a file, or a directory's entries, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open directories and flushes their entries itself
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace the file atomically; while it is being written only its owner can read it. Raises: OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def replace_database(database: Path, copy: Path) -> None:
    """Replace `database`, which must not be open, with `copy`, a complete SQLite file in the same folder.

    The old database's sidecar files are deleted first: SQLite would apply its log to the new one.
    """
    fsync_path(copy)
    remove_sidecars(database)
    copy.replace(database)
    fsync_path(database.parent)


def remove_sidecars(database: Path) -> None:
    for ending in SIDECAR_SUFFIXES:
        database.with_name(database.name + ending).unlink(missing_ok=True)
    fsync_path(database.parent)
