"""Export and erasure of personal data: a copy of everything, one job, or the whole person."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bot.jobs import Job


class Privacy(Protocol):
    """The ledger stays balanced: erased jobs stay as empty rows that no query returns."""

    async def export_person(self, person_id: str, *, max_bytes: int | None = None) -> Path:
        """Write a zip of all data stored about the person: `everything.json` and the images, newest first, within
        `max_bytes`. The caller deletes the file; one that is left over is deleted after a day. Raises: StorageFull."""

    async def delete_exports_of(self, person_id: str) -> None:
        """Delete the exports of a person whose accounts were linked to another one."""

    async def delete_old_exports(self) -> None:
        """Delete exports that are older than a day."""

    async def erase_job(self, job_id: str, owner: str, *, retracts: bool = False, besides: str = "") -> Job:
        """Cancel the job if it is open, and erase its texts, its result, and the images that no other job of the owner
        uses. Its pending messages are cancelled; `retracts`: those that were sent are deleted, through the outbox,
        except on the platform `besides`, whose adapter does it. Idempotent; returns the job as it was.

        Raises: JobNotFound.
        """

    async def erase_jobs(
        self, job_ids: Sequence[str], owner: str, *, retracts: bool = False, besides: str = ""
    ) -> list[Job]:
        """The same for several jobs in one transaction, such as all cells of a grid."""

    async def erase_picture(
        self, job_id: str, owner: str, number: int, *, retracts: bool = False, besides: str = ""
    ) -> Job:
        """Erase one picture of a job, and what refers to it; the others keep their numbers, and the job's message is
        delivered again without it. `retracts`: messages that show only this picture are deleted, through the outbox.
        The job is erased with its last picture. Idempotent; returns the job as it was.
        Raises: JobNotFound, NotFound: it never had such a picture."""

    async def forget_person(self, person_id: str, *, with_linked: bool = True) -> list[Job]:
        """Erase every job of the person, all images, settings, keys, accounts and their name. Returns the jobs that
        were running: the caller interrupts them, and their results are discarded.

        Raises: LinkRefused: there are several accounts, and `with_linked` is false; NotFound: the person's accounts
            were linked to another person meanwhile.
        """
