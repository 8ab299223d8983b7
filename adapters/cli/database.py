"""`db upgrade`, `db check`, `db backup`."""

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.cli.failures import FAILED, BadInput
from adapters.cli.screen import note, tell, tell_json
from bot.lock import read_holder

if TYPE_CHECKING:
    from adapters.cli.composition import Composition, Loaded


async def upgrade(composition: "Composition", loaded: "Loaded") -> int:
    async with composition.open_storage_only(loaded):
        tell("The database has this version's tables.")
    return 0


async def check(composition: "Composition", loaded: "Loaded", *, as_json: bool) -> int:
    """While a server works, what can be read beside it; otherwise the bookkeeping too."""
    if read_holder(loaded.data_dir) is not None:
        from adapters.cli.checks_data import database_problems, find_database

        note("A server works on the database: looking beside it, without the bookkeeping.")
        problems = database_problems(find_database(loaded.settings["storage"].url, loaded.data_dir))
    else:
        async with composition.open_storage_only(loaded) as chores:
            problems = await chores.maintenance.check()
    if as_json:
        tell_json({"ok": not problems, "problems": problems})
    else:
        for problem in problems or ["The database is well."]:
            tell(problem)
    return FAILED if problems else 0


async def backup(composition: "Composition", loaded: "Loaded", to: str) -> int:
    from adapters.cli.caller import open_keeper

    path = _new_file(to)
    async with open_keeper(composition, loaded) as keeper:
        try:
            await keeper.backup(path)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    tell(str(path))
    return 0


def _new_file(to: str) -> Path:
    """Raises: BadInput."""
    path = Path(to).expanduser().absolute()
    if path.is_dir():
        path /= time.strftime("easel-%Y%m%d-%H%M%S.db")
    if path.exists():
        raise BadInput(f"{path} is there already: choose another name, or move it away.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {path.parent} for the copy: make it first.")
    return path
