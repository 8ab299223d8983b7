"""Pictures of jobs for further requests: the person becomes an owner of them, without uploading them again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from bot.commands.image_flags import ImageFlag, parse_job_ref
from bot.errors import ImageGone, MediaNotFound
from bot.jobs import ImageRef, Origin
from bot.ports import JobStore, MediaStore, Person
from bot.usecases.job_images import as_map, image_at, images_with_authors, seen_from

T = TypeVar("T")


async def _allow_all(_origin: Origin, _images: Sequence[ImageRef]) -> None: ...


@dataclass(frozen=True)
class ImageSharing:
    """`check_authors` raises Blocked where other people's images may not be edited."""

    store: JobStore
    media: MediaStore
    check_authors: Callable[[Origin, Sequence[ImageRef]], Awaitable[None]] = _allow_all

    async def find_named_images(
        self, person: Person, origin: Origin, flags: Sequence[ImageFlag]
    ) -> dict[int, ImageRef]:
        """The pictures of the person's own jobs that flags name, by the place of the flag; see `as_map`.

        Raises: JobNotFound, ImageGone.
        """
        found: dict[int, ImageRef] = {}
        for place, flag in enumerate(flags):
            if flag.source:
                job_id, picture = parse_job_ref(flag.source)
                job = await self.store.get_job(job_id, person.id)
                image = image_at(job, picture)
                await or_image_gone(self.media.share(image.id, person.id, source=origin.platform))
                found[place] = as_map(job, seen_from(origin, job, [image])[0])
        return found

    async def share_picture(
        self, person: Person, job_id: str, origin: Origin, *, picture: int = 0, wants_mask: bool = False
    ) -> tuple[ImageRef, ...]:
        """One picture of a job for a request with flags about images, shared with the person; see `as_map`.

        `wants_mask`: the mask that a `preview` made comes with the picture that it is for.
        Raises: JobNotFound, ImageGone, Blocked.
        """
        job = await self.store.get_job(job_id, None)
        image = as_map(job, image_at(job, picture))
        images: tuple[ImageRef, ...] = (image,)
        if image.role == "mask":
            inputs = tuple(one for one in images_with_authors(job) if one.role == "init")
            images = (*inputs[:1], image) if wants_mask else (replace(image, role="init"),)
        await self.check_authors(origin, images)
        for one in images:
            await or_image_gone(self.media.share(one.id, person.id, source=origin.platform))
        return seen_from(origin, job, images)


async def or_image_gone(reading: Awaitable[T]) -> T:
    try:
        return await reading
    except MediaNotFound as error:
        raise ImageGone from error
