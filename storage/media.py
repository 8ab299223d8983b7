"""Stored images and their owners. Files are written before their rows, and deleted after them."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO

from sqlalchemy import Connection

from bot.errors import MediaNotFound
from bot.jobs import Media, StoredImage
from bot.ports import MediaStream, SweepResult, UploadUsage
from storage import carried_usage, media_queries
from storage.database import Database
from storage.discarded import DiscardedFiles
from storage.disk import DiskSpace
from storage.files import MediaFiles, is_media_id
from storage.media_retention import MediaSweep
from storage.people import refuse_forgotten
from storage.schema import utcnow

CHUNK_BYTES = 256 * 1024
"""What one download has in memory."""


class SqlMediaStore:
    def __init__(
        self, database: Database, files: MediaFiles, disk: DiskSpace, discarded: DiscardedFiles, sweep: MediaSweep
    ) -> None:
        self._database = database
        self._sweep = sweep
        self._files = files
        self._disk = disk
        self._discarded = discarded

    async def add_upload(
        self,
        owner: str,
        media: Media,
        *,
        width: int,
        height: int,
        parameters: Mapping[str, Any] | None,
        source: str | None = None,
    ) -> StoredImage:
        await asyncio.to_thread(self._disk.require_free_space)
        image = StoredImage(
            id=await self.write_file(media),
            media_type=media.media_type,
            width=width,
            height=height,
            size=len(media.data),
            parameters=None if parameters is None else dict(parameters),
        )
        try:
            await self._database.run_write(lambda tx: _save_upload(tx, image, owner, source))
        except Exception:
            self._discarded.add([image])
            raise
        return image

    async def list_parameters(self, owner: str, since: datetime) -> list[Mapping[str, Any]]:
        return await self._database.run_read(lambda tx: media_queries.list_parameters(tx, owner, since))

    async def upload_usage(self, owner: str, since: datetime) -> UploadUsage:
        await asyncio.to_thread(self._disk.require_free_space)
        used, oldest_at = await self._database.run_read(lambda tx: carried_usage.sum_all_uploads(tx, owner, since))
        return UploadUsage(used=used, spare=self._disk.spare_mb() * 2**20, oldest_at=oldest_at)

    async def write_file(self, media: Media) -> str:
        return await asyncio.to_thread(self._files.write_file, media)

    async def get_image(self, media_id: str, owner: str) -> StoredImage:
        return await self._find(media_id, owner)

    async def read_media(self, media_id: str, owner: str | None) -> Media:
        image = await self._find(media_id, owner)
        data = await asyncio.to_thread(self._files.read_file, image.id, image.media_type)
        if data is None:
            raise MediaNotFound(media_id)
        return Media(data, image.media_type)

    async def stream_media(self, media_id: str, owner: str) -> MediaStream:
        image = await self._find(media_id, owner)
        file = await asyncio.to_thread(self._files.open_file, image.id, image.media_type)
        if file is None:
            raise MediaNotFound(media_id)
        size = os.fstat(file.fileno()).st_size
        return MediaStream(media_type=image.media_type, size=size, chunks=_read_chunks(file))

    async def stream_thumbnail(self, media_id: str, owner: str, width: int) -> MediaStream | None:
        image = await self._find(media_id, owner)
        file = await asyncio.to_thread(self._files.open_thumbnail, image.id, width)
        if file is None:
            return None
        size = os.fstat(file.fileno()).st_size
        return MediaStream(media_type="image/webp", size=size, chunks=_read_chunks(file))

    async def save_thumbnail(self, media_id: str, width: int, thumbnail: Media) -> None:
        await asyncio.to_thread(self._disk.require_free_space)
        image = await self._find(media_id, None)
        write = self._files.write_thumbnail
        is_kept = False
        try:
            size = await asyncio.to_thread(write, image.id, image.media_type, width, thumbnail.data)
            is_kept = await self._database.run_write(lambda tx: media_queries.set_size(tx, image.id, size))
        except FileNotFoundError:
            pass
        finally:
            if not is_kept:  # it was deleted meanwhile
                await asyncio.to_thread(self._files.remove_thumbnail, image.id, width)
        if not is_kept:
            raise MediaNotFound(media_id)

    async def share(self, media_id: str, person_id: str, *, source: str | None = None) -> StoredImage:
        found = await self._find(media_id, None)
        await self._database.run_write(lambda tx: _share(tx, found.id, person_id, source))
        return await self._find(media_id, person_id)

    async def read_sheet(self, job_id: str) -> Media | None:
        found = await self._database.run_read(lambda tx: media_queries.find_sheet(tx, job_id))
        if found is None:
            return None
        data = await asyncio.to_thread(self._files.read_file, found.id, found.media_type)
        return None if data is None else Media(data, found.media_type)

    async def save_sheet(self, job_id: str, composed: Sequence[str], sheet: Media, *, width: int, height: int) -> None:
        media_id = await self.write_file(sheet)
        image = StoredImage(id=media_id, media_type=sheet.media_type, width=width, height=height, size=len(sheet.data))
        is_kept = await self._database.run_write(
            lambda tx: media_queries.save_sheet(tx, job_id, composed, image, utcnow())
        )
        if not is_kept:
            self._discarded.add([image])

    async def sweep(self, *, unused_s: float, keep_days: int, max_gb: float) -> SweepResult:
        return await self._sweep.run(unused_s=unused_s, keep_days=keep_days, max_gb=max_gb)

    async def _find(self, media_id: str, owner: str | None) -> StoredImage:
        if not is_media_id(media_id):
            raise MediaNotFound(media_id)
        found = await self._database.run_read(lambda tx: media_queries.find_image(tx, media_id, owner))
        if found is None:
            raise MediaNotFound(media_id)
        return found


def _save_upload(tx: Connection, image: StoredImage, owner: str, source: str | None) -> None:
    refuse_forgotten(tx, owner)
    media_queries.save_image(tx, image, owner, utcnow(), source)


def _share(tx: Connection, media_id: str, person_id: str, source: str | None) -> None:
    refuse_forgotten(tx, person_id)
    media_queries.share_image(tx, media_id, person_id, utcnow(), source)


async def _read_chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
