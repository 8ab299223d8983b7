"""A person's single pictures: favourites, and deleting one of several."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from bot.errors import JobNotFound, NotFound, NotYours
from bot.jobs import Job
from bot.ports import JobStore, Person, PictureStore, Privacy
from bot.usecases.jobs import JobUseCases


@dataclass(frozen=True, kw_only=True)
class PictureUseCases:
    jobs: JobUseCases
    store: JobStore
    pictures: PictureStore
    privacy: Privacy

    async def set_favourite(self, person: Person, job_id: str, number: int, *, is_favourite: bool) -> None:
        """Idempotent. Raises: JobNotFound, NotFound: there never was such a picture, ImageGone."""
        await self.pictures.set_favourite(person.id, job_id, number, is_favourite=is_favourite)

    async def toggle_favourite(self, person: Person, job_id: str, number: int) -> bool:
        """Whether it is a favourite now. Raises: JobNotFound, NotFound, NotYours: of somebody else's job."""
        await self._require_own(person, job_id)
        return await self.pictures.toggle_favourite(person.id, job_id, max(number, 1))

    async def erase_job(self, person: Person, job_id: str) -> None:
        """Cancel the job if it is open, and erase it with its pictures and its chat messages. Idempotent.

        Raises: JobNotFound, also if it is somebody else's.
        """
        job = await self.privacy.erase_job(job_id, person.id, retracts=True)
        self.jobs.on_erased([job])
        self.jobs.wake()

    async def delete_picture(
        self, person: Person, job_id: str, number: int, *, retracts: bool = False, besides: str = ""
    ) -> Job:
        """Delete one of a job's pictures, and the job with its last; its message is updated. Idempotent.
        `retracts`: messages that show only what is deleted go, too; those of the platform `besides` are the caller's to
        delete.

        Returns the job as it was. Raises: JobNotFound, NotFound.
        """
        before = await self.privacy.erase_picture(job_id, person.id, number, retracts=retracts, besides=besides)
        self.jobs.on_changed(before)
        self.jobs.forget_maps()
        self.jobs.forget_searches({person.id})
        return before

    async def erase_all(self, person: Person, job_ids: Iterable[str], pictures: Iterable[tuple[str, int]]) -> None:
        """Erase these jobs and single pictures with their chat messages; what is gone or not theirs is left out."""
        for job_id in dict.fromkeys(job_ids):
            with suppress(JobNotFound):
                await self.erase_job(person, job_id)
        for job_id, number in dict.fromkeys(pictures):
            with suppress(JobNotFound, NotFound):
                await self.delete_picture(person, job_id, number, retracts=True)

    async def _require_own(self, person: Person, job_id: str) -> None:
        """Raises: JobNotFound, NotYours."""
        if (await self.store.get_job(job_id, None)).owner != person.id:
            raise NotYours(job_id)
