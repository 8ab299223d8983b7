"""Uploads people's photos when they are needed; a file that is already stored is not downloaded again."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from adapters.telegram.bot_api import TelegramApi
from adapters.telegram.file_request import MAX_DOWNLOAD_MB
from adapters.telegram.message_parsing import Photo
from adapters.telegram.settings import PLATFORM
from bot.errors import MediaNotFound, TooLarge
from bot.jobs import BY_BOT, ImageRef
from bot.ports import Person
from bot.runtime.fair_slots import FairSlots
from bot.usecases import UseCases

MAX_FETCHES = 8
"""Photos that are processed concurrently; no more are in memory."""
MAX_FETCHES_PER_PERSON = 2
CACHE_SIZE = 10_000
"""Stored images remembered by Telegram's file id."""


@dataclass(frozen=True)
class PhotoUploads:
    api: TelegramApi
    usecases: UseCases
    _known: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _slots: FairSlots = field(default_factory=lambda: FairSlots(MAX_FETCHES, per_owner=MAX_FETCHES_PER_PERSON))
    _fetching: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    async def upload_photos(self, person: Person, photos: Sequence[Photo]) -> tuple[ImageRef, ...]:
        """Raises: TooLarge, UnsupportedMedia, StorageFull, UploadQuotaExceeded, PlatformError."""
        return tuple(
            [ImageRef(await self._upload_photo(person, photo), author=self._author(photo)) for photo in photos]
        )

    def _author(self, photo: Photo) -> str:
        return BY_BOT if photo.author == str(self.api.bot.id) else photo.author

    async def _upload_photo(self, person: Person, photo: Photo) -> str:
        lock = self._fetching.setdefault(photo.unique_id, asyncio.Lock())
        async with lock:
            known = self._known.get(photo.unique_id)
            if known is not None:
                with suppress(MediaNotFound):  # deleted meanwhile
                    return (await self.usecases.media.share(person, known, source=PLATFORM)).id
            limit = min(MAX_DOWNLOAD_MB, self.usecases.media.max_file_mb)
            if photo.size > limit * 2**20:
                raise self.usecases.media.too_large()
            await self.usecases.media.check_allowance(person)
            async with self._slots.hold(person.id):
                try:
                    data = await self.api.download_file(photo.file_id, limit)
                except TooLarge:
                    raise self.usecases.media.too_large() from None
                picture = await self.usecases.media.upload(person, data, source=PLATFORM)
            self._known[photo.unique_id] = picture.id
            while len(self._known) > CACHE_SIZE:
                self._known.popitem(last=False)
            return picture.id
