"""`db upgrade`, `db check`, `db backup`, `db restore`."""

import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.cli.error_output import FAILED, BadInput
from adapters.cli.output import note, program, tell, tell_json
from bot.runtime.lock import is_lent, read_holder

if TYPE_CHECKING:
    from adapters.cli.ports import Composition, Loaded

SHOWN = 10
"""Missing pictures that are named one by one."""


async def upgrade(composition: "Composition", loaded: "Loaded") -> int:
    async with composition.open_storage_only(loaded):
        tell("The database has this version's tables.")
    return 0


async def check(composition: "Composition", loaded: "Loaded", *, as_json: bool) -> int:
    """While a server works, what can be read beside it; otherwise the bookkeeping too."""
    if read_holder(loaded.data_dir) is not None and not is_lent(loaded.data_dir):
        from adapters.cli.doctor.data import database_problems, find_database

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
    from adapters.cli.client.open import open_keeper

    path = _new_file(to)
    async with open_keeper(composition, loaded) as keeper:
        try:
            await keeper.backup(path)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
    tell(str(path))
    return 0


async def restore(composition: "Composition", loaded: "Loaded", source: str) -> int:
    from adapters.cli.doctor.data import find_database

    if find_database(loaded.settings["storage"].url, loaded.data_dir) is None:
        raise BadInput("`db restore` is for SQLite, and storage.url names another kind: use that database's own tools.")
    done = await composition.restore_database(loaded, _file(source))
    tell(f"{done.database} is now what {source} holds, with this version's tables.")
    if done.kept is not None:
        note(f"The database of before lies in {done.kept}: `{program()} db restore` brings it back.")
    for problem in done.problems:
        note(problem)
    for path in done.missing[:SHOWN]:
        note(f"This picture is missing: {path}.")
    if done.missing:
        count = "1 picture" if len(done.missing) == 1 else f"{len(done.missing)} pictures"
        note(
            f"{count} that it names cannot be found: put them back into {loaded.data_dir / 'media'} from your own copy."
        )
    return 0


def _file(name: str) -> Path:
    return Path(name).expanduser().absolute()


def _new_file(to: str) -> Path:
    """Raises: BadInput."""
    path = _file(to)
    if path.is_dir():
        path /= time.strftime("easel-%Y%m%d-%H%M%S.db")
    if path.exists():
        raise BadInput(f"{path} is there already: choose another name, or move it away.")
    if not path.parent.is_dir():
        raise BadInput(f"There is no folder {path.parent} for the copy: make it first.")
    return path
