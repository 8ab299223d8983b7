"""Limits the access to an existing data directory to its owner: earlier versions followed the umask."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from bot.runtime.durable_files import SIDECAR_SUFFIXES
from bot.runtime.private_files import create_private_file, is_exposed, restrict_access

log = structlog.get_logger(__name__)

FOLDERS = ("media", "backups", "exports", "logs", "plugins")
"""Of these, only the files at the top are changed: the folder's mode protects the rest."""
FILES = ("easel.lock", "update.json", "secrets.env", "config.toml", "config.toml.bak", "last-backup")


def protect_data(data_dir: Path, database: Path) -> None:
    """Create a new database as a private file, and take the access of other users from existing files.

    The data directory itself and folders behind links are only reported: they may be folders that others need.
    """
    with suppress(OSError):  # opening the database reports it
        create_private_file(database)
    changed: list[str] = []
    exposed = [str(path) for path in _shared_folders(data_dir) if is_exposed(path.resolve())]
    for path in filter(is_exposed, _private_paths(data_dir, database)):
        try:
            restrict_access(path)
            changed.append(str(path))
        except OSError:
            exposed.append(str(path))
    if changed:
        log.warning("other users could read these files; that has ended", action="access_limited", paths=changed)
    if exposed:
        log.warning("other users can read these files: run chmod go= on them", action="access_open", paths=exposed)


def _shared_folders(data_dir: Path) -> list[Path]:
    links = [(data_dir / name) for name in FOLDERS if (data_dir / name).is_symlink()]
    return [data_dir, *(link.resolve() for link in links)]


def _private_paths(data_dir: Path, database: Path) -> Iterator[Path]:
    yield database
    yield from (database.with_name(database.name + ending) for ending in SIDECAR_SUFFIXES)
    yield from (data_dir / name for name in FILES)
    for folder in (data_dir / name for name in FOLDERS):
        yield folder
        yield from (path for path in folder.glob("*") if path.is_file())
