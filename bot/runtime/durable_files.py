"""Changes of files that survive a power cut. Blocking: call from a thread."""

import os
import tempfile
from pathlib import Path

BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; it belongs to that very file."""


def sync(path: Path) -> None:
    """Make a file, or a directory's entries, survive a power cut."""
    if os.name == "nt" and path.is_dir():  # Windows opens no directory, and keeps its entries by itself
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Write the file whole or not at all; until it is whole, nobody but its owner may read it. Raises: OSError."""
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(fresh, mode)
        os.replace(fresh, path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    sync(path.parent)


def replace_database(database: Path, copy: Path) -> None:
    """Put `copy`, a whole SQLite file in the same folder, in the place of `database`, which nobody may have open.

    What lies beside the old file goes first: SQLite would take its log for part of the new one.
    """
    sync(copy)
    remove_beside(database)
    copy.replace(database)
    sync(database.parent)


def remove_beside(database: Path) -> None:
    for ending in BESIDE:
        database.with_name(database.name + ending).unlink(missing_ok=True)
    sync(database.parent)
