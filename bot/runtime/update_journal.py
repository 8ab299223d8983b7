"""The journal of an update of Easel, written before each change, so that a killed update can be rolled back.

While the file exists, code, packages and database may not match, and only `easel update` can acquire the data lock.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bot.errors import StartupError
from bot.runtime.durable_files import fsync_path, write_atomically

FILE_NAME = "update.json"
DELEGATED_BY = "EASEL_LOCK_LENT_BY"
"""The variable with the id of the process that holds the data lock and delegates it to its children."""
STEPS = ("pull", "install", "upgrade", "smoke")
"""In order of execution."""


@dataclass(frozen=True, kw_only=True)
class UpdateJournal:
    """A running or interrupted update.

    Attributes:
        root: the clone.
        old, new: commits.
        step: the current step, one of STEPS.
        reinstall: whether packages are reinstalled.
        database: the SQLite file.
        backup: its backup; empty: there was no database.
    """

    root: str
    old: str
    new: str
    step: str
    reinstall: bool
    database: str
    backup: str

    def has_reached(self, step: str) -> bool:
        return STEPS.index(self.step) >= STEPS.index(step)


def read_journal(data_dir: Path) -> UpdateJournal | None:
    """None: no update was interrupted. Raises: StartupError: the file cannot be read."""
    path = data_dir / FILE_NAME
    try:
        journal = UpdateJournal(**json.loads(path.read_text(encoding="utf-8")))
        journal.has_reached("pull")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StartupError(
            f"{path}, the journal of an interrupted update, cannot be read. Check out the commit that you want, "
            "install its packages (python scripts/install.py), and delete that file."
        ) from error
    return journal


def write_journal(data_dir: Path, journal: UpdateJournal) -> None:
    write_atomically(data_dir / FILE_NAME, json.dumps(asdict(journal)))


def remove_journal(data_dir: Path) -> None:
    (data_dir / FILE_NAME).unlink(missing_ok=True)
    fsync_path(data_dir)
