"""Taking one's own things away: a copy of everything, one job, or the whole person."""

from pathlib import Path
from typing import Protocol

from bot.jobs import Job


class Privacy(Protocol):
    """The ledger stays balanced through all of it: jobs stay as empty rows that nobody finds."""

    async def export(self, person_id: str, *, max_bytes: int | None = None) -> Path:
        """A zip of everything kept of the person: `everything.json` and the pictures, newest first, as far as
        `max_bytes` goes. Whoever asked removes the file; what is left lying goes after a day. Raises: StorageFull."""

    async def tidy(self) -> None:
        """Remove copies that nobody fetched for a day."""

    async def erase(self, job_id: str, owner: str) -> Job:
        """Cancel the job if it is open, and empty it: its words, its result, and the pictures that no other job of
        the owner uses. Nothing of it is delivered any more. Returns the job as it was; twice is once.
        Raises: JobNotFound."""

    async def forget(self, person_id: str) -> list[Job]:
        """Erase every job of the person, all pictures, settings, keys, accounts and their name. Returns the jobs that
        were running: they must be interrupted, and whatever they still bring is thrown away."""
