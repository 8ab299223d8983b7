"""`easel db upgrade`, `check`, `backup` and `restore`."""

import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.cli.error_output import FAILED, BadInput
from adapters.cli.output import print_json, print_line, print_note, program_name
from bot.runtime.lock import is_delegated, read_holder

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot, LoadedConfig

MAX_LISTED = 10
"""At most so many missing images are listed by name."""


async def upgrade_database(composition: "CompositionRoot", loaded: "LoadedConfig") -> int:
    async with composition.open_storage_only(loaded):
        print_line("The database is up to date.")
    return 0


async def check_database(composition: "CompositionRoot", loaded: "LoadedConfig", *, as_json: bool) -> int:
    """Check the file while a server uses it; otherwise also the consistency of its records."""
    if read_holder(loaded.data_dir) is not None and not is_delegated(loaded.data_dir):
        from adapters.cli.doctor.data import find_database, find_database_problems

        print_note("A server is using the database: only the file is checked, not the consistency of its records.")
        problems = find_database_problems(find_database(loaded.settings["storage"].url, loaded.data_dir))
    else:
        async with composition.open_storage_only(loaded) as database:
            problems = await database.maintenance.check()
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems or ["The database is intact."]:
            print_line(problem)
    return FAILED if problems else 0


async def backup_database(composition: "CompositionRoot", loaded: "LoadedConfig", destination: str) -> int:
    from adapters.cli.client.open import open_admin_client

    path = _new_file_path(destination)
    async with open_admin_client(composition, loaded) as client:
        try:
            await client.backup_database(path)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    print_line(str(path))
    return 0


async def restore_database(composition: "CompositionRoot", loaded: "LoadedConfig", source: str) -> int:
    from adapters.cli.doctor.data import find_database

    if find_database(loaded.settings["storage"].url, loaded.data_dir) is None:
        raise BadInput("`db restore` supports SQLite only: restore the database in storage.url with its own tools.")
    report = await composition.restore_database(loaded, _absolute_path(source))
    print_line(f"{report.database} was restored from {source} and upgraded to this version.")
    if report.backup is not None:
        print_note(f"The previous database is in {report.backup}; `{program_name()} db restore` brings it back.")
    for problem in report.problems:
        print_note(problem)
    for path in report.missing[:MAX_LISTED]:
        print_note(f"Missing image: {path}")
    if report.missing:
        count = "1 image" if len(report.missing) == 1 else f"{len(report.missing)} images"
        print_note(f"{count} of the database not found: copy the files back into {loaded.data_dir / 'media'}.")
    return 0


def _absolute_path(name: str) -> Path:
    return Path(name).expanduser().absolute()


def _new_file_path(destination: str) -> Path:
    """Raises: BadInput."""
    path = _absolute_path(destination)
    if path.is_dir():
        path /= time.strftime("easel-%Y%m%d-%H%M%S.db")
    if path.exists():
        raise BadInput(f"{path} already exists: choose another name or move it.")
    if not path.parent.is_dir():
        raise BadInput(f"The folder {path.parent} does not exist: create it first.")
    if not path.suffix or destination.endswith(("/", os.sep)):
        raise BadInput(f"There is no folder {path}: create it first, or name a new file, such as {path.name}.db.")
    return path
