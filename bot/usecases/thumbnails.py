"""Thumbnails of people's images: made when they are first asked for, once, and kept beside the image."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import structlog

from bot.errors import InvalidOption, StorageFull
from bot.jobs import Media, StoredImage
from bot.ports import ImageProcessor, MediaStore, MediaStream, Person
from bot.runtime.fair_slots import FairSlots

log = structlog.get_logger()

WIDTHS = (256, 512, 1024)
_CHOICES = {str(width): width for width in WIDTHS}
MADE_IN_ALL, MADE_PER_PERSON = 4, 2
"""Numbers of images that are in memory because their thumbnail is made."""


def parse_width(text: str) -> int:
    """Raises: InvalidOption."""
    if text not in _CHOICES:
        raise InvalidOption("w", "choice", value=text[:20], allowed="256, 512 or 1024")
    return _CHOICES[text]


@dataclass(frozen=True)
class Thumbnails:
    store: MediaStore
    pictures: ImageProcessor
    _slots: FairSlots = field(default_factory=lambda: FairSlots(MADE_IN_ALL, MADE_PER_PERSON))
    _under_way: "dict[tuple[str, int], asyncio.Task[Media]]" = field(default_factory=dict)

    async def stream(self, person: Person, image: StoredImage, width: int) -> MediaStream:
        """A WebP of the person's image, at most so wide: one of `WIDTHS`.

        Raises: MediaNotFound, also if it belongs to somebody else; UnsupportedMedia: its file is damaged; EngineError.
        """
        width = min(width, next((one for one in WIDTHS if one >= image.width), width))  # the same one, not enlarged
        kept = await self.store.stream_thumbnail(image.id, person.id, width)
        if kept is not None:
            return kept
        made = await self._make_once(person.id, image.id, width)
        return MediaStream(media_type=made.media_type, size=len(made.data), chunks=_one_chunk(made.data))

    async def read(self, owner: str, image: StoredImage, width: int) -> Media:
        """All of it, for our own use. Raises like `stream`."""
        kept = await self.store.stream_thumbnail(image.id, owner, width)
        if kept is None:
            return await self._make_once(owner, image.id, width)
        return Media(b"".join([chunk async for chunk in kept.chunks]), kept.media_type)

    async def _make_once(self, owner: str, media_id: str, width: int) -> Media:
        """What several requests wait for goes on when one of them is given up."""
        key = (media_id, width)
        making = self._under_way.get(key)
        if making is None:
            making = asyncio.create_task(self._make(owner, media_id, width), name="thumbnail")
            self._under_way[key] = making
            making.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(making)

    def _forget(self, key: tuple[str, int], done: "asyncio.Task[Media]") -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # it is raised where it is waited for, if anyone still does

    async def _make(self, owner: str, media_id: str, width: int) -> Media:
        async with self._slots.hold(owner):
            image = await self.store.read_media(media_id, owner)
            made = await self.pictures.make_thumbnail(image, width, owner=owner)
        try:
            await self.store.save_thumbnail(media_id, width, made)
        except StorageFull:
            log.debug("a thumbnail is not kept: the disk is full", action="thumbnail_not_kept")
        return made


async def _one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data
