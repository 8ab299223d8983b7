"""What an update of Easel is about to change, on disk before it changes: so that one that was killed can be undone.

While the file is there, code, packages and database may not fit together, and nobody takes the data lock but
`easel update`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bot.errors import StartupError
from bot.runtime.durable_files import sync, write_whole

FILE_NAME = "update.json"
LENT_BY = "EASEL_LOCK_LENT_BY"
"""The variable with the process that holds the data lock and lends it to its children."""
STEPS = ("pull", "install", "upgrade", "smoke")
"""In the order in which they are done."""


@dataclass(frozen=True, kw_only=True)
class Journal:
    """One update on its way.

    Attributes:
        root: the clone.
        old, new: commits.
        step: the step that is being done, one of STEPS.
        reinstall: whether packages are installed anew.
        database: the SQLite file.
        backup: its copy; empty: there was no database.
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


def read_journal(data_dir: Path) -> Journal | None:
    """None: no update was cut short. Raises: StartupError when the file cannot be understood."""
    path = data_dir / FILE_NAME
    try:
        journal = Journal(**json.loads(path.read_text(encoding="utf-8")))
        journal.has_reached("pull")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StartupError(
            f"{path}, the record of an update that was cut short, cannot be read. Put the clone on the commit that you "
            "want, install its packages (python scripts/install.py), and delete that file."
        ) from error
    return journal


def write_journal(data_dir: Path, journal: Journal) -> None:
    write_whole(data_dir / FILE_NAME, json.dumps(asdict(journal)))


def remove_journal(data_dir: Path) -> None:
    (data_dir / FILE_NAME).unlink(missing_ok=True)
    sync(data_dir)
