"""Single pictures of jobs: favourites."""

from typing import Protocol


class PictureStore(Protocol):
    """Pictures are numbered from 1; those of a person's own jobs only."""

    async def set_favourite(self, person_id: str, job_id: str, number: int, *, is_favourite: bool) -> None:
        """Idempotent. Raises: JobNotFound, NotFound: there never was such a picture, ImageGone."""

    async def toggle_favourite(self, person_id: str, job_id: str, number: int) -> bool:
        """Whether it is a favourite now. Raises: JobNotFound, NotFound."""
