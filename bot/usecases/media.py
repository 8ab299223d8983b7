"""Uploading pictures and getting them back."""

from collections.abc import Sequence
from dataclasses import dataclass

from bot.errors import MediaNotFound, PictureGone, TooLarge
from bot.jobs import Media, Picture
from bot.ports import MediaStore, Person, Pictures
from bot.settings.core import ImagesSettings


@dataclass(frozen=True)
class MediaUseCases:
    store: MediaStore
    pictures: Pictures
    settings: ImagesSettings

    async def upload(self, person: Person, data: bytes) -> Picture:
        """Clean the picture and keep it as the person's.

        Raises: TooLarge, UnsupportedMedia, StorageFull.
        """
        if len(data) > self.settings.max_upload_mb * 2**20:
            raise TooLarge(limit=self.settings.max_upload_mb, unit="MiB")
        clean = await self.pictures.clean(data)
        return await self.store.add(
            person.id,
            clean.media,
            width=clean.width,
            height=clean.height,
            parameters=clean.parameters,
        )

    async def share(self, person: Person, media_id: str) -> Picture:
        """Make a picture that is kept already the person's too: one that they can see in a chat.

        Raises: PictureGone.
        """
        try:
            return await self.store.share(media_id, person.id)
        except MediaNotFound as error:
            raise PictureGone from error

    async def fit(self, media: Media, max_bytes: int) -> tuple[Media, bool]:
        """The picture in at most `max_bytes`: as it is, else WebP, JPEG, or smaller. True: it is not as rendered.

        What it says about itself stays inside. Raises: TooLarge when nothing helps.
        """
        if len(media.data) <= max_bytes:
            return media, False
        return await self.pictures.shrink(media, max_bytes), True

    async def grid(self, pictures: Sequence[Media]) -> Media:
        """All of them in one, two beside each other, as PNG; one alone stays as it is."""
        return pictures[0] if len(pictures) == 1 else await self.pictures.grid(pictures)

    async def picture(self, person: Person, media_id: str) -> Picture:
        """Raises: MediaNotFound."""
        return await self.store.picture(media_id, person.id)

    async def read(self, person: Person, media_id: str) -> Media:
        """Raises: MediaNotFound, also for what belongs to others."""
        return await self.store.read(media_id, person.id)
