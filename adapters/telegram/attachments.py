"""People's pictures, fetched when they are asked about: the same file is never fetched twice for a person."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from adapters.telegram.bot_api import FETCH_MB, Wire
from adapters.telegram.message_parsing import Photo
from bot.errors import MediaNotFound, TooLarge
from bot.jobs import BY_BOT, ImageRef
from bot.ports import Person
from bot.usecases import UseCases

REMEMBERED = 10_000
"""Files whose picture is known by Telegram's id."""


@dataclass(frozen=True)
class Pictures:
    wire: Wire
    usecases: UseCases
    _known: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _fetching: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    async def of(self, person: Person, photos: Sequence[Photo]) -> tuple[ImageRef, ...]:
        """Raises: TooLarge, UnsupportedMedia, StorageFull, PlatformError."""
        return tuple([ImageRef(await self._one(person, photo), author=self._author(photo)) for photo in photos])

    def _author(self, photo: Photo) -> str:
        return BY_BOT if photo.author == str(self.wire.bot.id) else photo.author

    async def _one(self, person: Person, photo: Photo) -> str:
        lock = self._fetching.setdefault(photo.unique_id, asyncio.Lock())
        async with lock:
            known = self._known.get(photo.unique_id)
            if known is not None:
                with suppress(MediaNotFound):  # forgotten meanwhile
                    return (await self.usecases.media.share(person, known)).id
            limit = min(FETCH_MB, self.usecases.media.settings.max_upload_mb)
            if photo.size > limit * 2**20:
                raise TooLarge(limit=limit, unit="MiB")
            data = await self.wire.fetch(photo.file_id, limit)
            picture = await self.usecases.media.upload(person, data)
            self._known[photo.unique_id] = picture.id
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return picture.id
