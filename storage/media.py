"""Pictures and whose they are. Files come before rows, and go after them."""

import asyncio
from collections.abc import Mapping
from typing import Any

from bot.errors import MediaNotFound
from bot.jobs import Media, Picture
from bot.ports import Swept
from storage import media_queries
from storage.database import Database
from storage.disk import Disk
from storage.files import Files, is_media_id
from storage.media_retention import Sweep
from storage.schema import utcnow


class SqlMediaStore:
    def __init__(self, database: Database, files: Files, disk: Disk) -> None:
        self._database = database
        self._files = files
        self._disk = disk

    async def add(
        self, owner: str, media: Media, *, width: int, height: int, parameters: Mapping[str, Any] | None
    ) -> Picture:
        await asyncio.to_thread(self._disk.require_room)
        picture = Picture(
            id=await self.write(media),
            media_type=media.media_type,
            width=width,
            height=height,
            size=len(media.data),
            parameters=None if parameters is None else dict(parameters),
        )
        await self._database.write(lambda tx: media_queries.keep(tx, picture, owner, utcnow()))
        return picture

    async def write(self, media: Media) -> str:
        return await asyncio.to_thread(self._files.write, media)

    async def picture(self, media_id: str, owner: str) -> Picture:
        return await self._find(media_id, owner)

    async def read(self, media_id: str, owner: str | None) -> Media:
        picture = await self._find(media_id, owner)
        data = await asyncio.to_thread(self._files.read, picture.id, picture.media_type)
        if data is None:
            raise MediaNotFound(media_id)
        return Media(data, picture.media_type)

    async def share(self, media_id: str, person_id: str) -> Picture:
        found = await self._find(media_id, None)
        await self._database.write(lambda tx: media_queries.share(tx, found.id, person_id, utcnow()))
        return await self._find(media_id, person_id)

    async def sweep(self, *, unused_s: float, keep_days: int, max_gb: float) -> Swept:
        return await Sweep(self._database, self._files).run(unused_s=unused_s, keep_days=keep_days, max_gb=max_gb)

    async def _find(self, media_id: str, owner: str | None) -> Picture:
        if not is_media_id(media_id):
            raise MediaNotFound(media_id)
        found = await self._database.read(lambda tx: media_queries.find(tx, media_id, owner))
        if found is None:
            raise MediaNotFound(media_id)
        return found
