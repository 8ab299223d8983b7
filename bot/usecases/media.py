"""Uploading and reading images."""

import asyncio
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

from bot.errors import ImageGone, MediaNotFound, TooLarge, UploadQuotaExceeded
from bot.jobs import Job, Media, StoredImage
from bot.ports import ImageProcessor, MediaStore, MediaStream, Person, SanitizedImage
from bot.ports.images import is_heic
from bot.settings.core import ImagesSettings, QuotaSettings
from bot.usecases.refused_requests import refuse_blocked

UPLOAD_PERIOD = timedelta(hours=24)
"""The period of the allowance: after it, uploads that no job uses are deleted."""


MAX_SHEET_SIDE = 4800
"""Of a contact sheet, pixels: width and height together are what a photo on Telegram may have."""
BLANK = Media(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c6390909006000097004cda950d"
        "c50000000049454e44ae426082"
    ),
    "image/png",
)
"""A pixel in the background colour of a sheet."""


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height. Source: PNG specification, 11.2.2."""
    width, height = struct.unpack(">II", data[16:24]) if data[12:16] == b"IHDR" else (0, 0)
    return width, height


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """What an image tool does to an upload before it is stored; see `ImageProcessor.run_tool`."""

    tool: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class MediaUseCases:
    store: MediaStore
    pictures: ImageProcessor
    settings: ImagesSettings
    quota: QuotaSettings
    _storing: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    @property
    def max_upload_mb(self) -> int:
        """The largest upload, MiB, unless it is HEIC."""
        return self.settings.max_upload_mb

    @property
    def max_file_mb(self) -> int:
        """The largest upload of any kind, MiB: only its bytes say what it is."""
        return max(self.settings.max_upload_mb, self.settings.max_heic_mb)

    def too_large(self) -> TooLarge:
        """The refusal of a file that exceeds the limit of its kind."""
        return TooLarge(limit=self.max_upload_mb, unit="MiB", heic_limit=self.max_file_mb)

    async def upload(
        self, person: Person, data: bytes, *, source: str, adjustment: Adjustment | None = None
    ) -> StoredImage:
        """Sanitize an image and store it for the person. `source`: the platform that it comes through.

        Raises: TooLarge, UnsupportedMedia, StorageFull, UploadQuotaExceeded, Blocked, EngineError.
        """
        await self._check_file(person, data)
        sanitized = await self._adjust(await self.pictures.sanitize(data, owner=person.id), adjustment, person)
        async with self._storing.setdefault(person.id, asyncio.Lock()):  # concurrent uploads add up
            await self.check_allowance(person, len(sanitized.media.data))
            return await self.store.add_upload(
                person.id,
                sanitized.media,
                width=sanitized.width,
                height=sanitized.height,
                parameters=sanitized.parameters,
                source=source,
            )

    async def inspect(self, person: Person, data: bytes) -> SanitizedImage:
        """Like an upload, but nothing is stored. Raises: like `upload`."""
        await self._check_file(person, data)
        return await self.pictures.sanitize(data, owner=person.id)

    async def _adjust(self, image: SanitizedImage, adjustment: Adjustment | None, person: Person) -> SanitizedImage:
        if adjustment is None:
            return image
        [made] = await self.pictures.run_tool(adjustment.tool, [image.media], adjustment.values, owner=person.id)
        return replace(image, media=made.media, width=made.width, height=made.height)

    async def _check_file(self, person: Person, data: bytes) -> None:
        """Raises: like `upload`."""
        refuse_blocked(person)
        limit = self.max_file_mb if is_heic(data) else self.max_upload_mb
        if len(data) > limit * 2**20:
            raise self.too_large()
        await self.check_allowance(person)

    async def check_allowance(self, person: Person, size: int = 1) -> None:
        """Whether the person may store `size` more bytes: no more than `quota.daily_upload_mb` in 24 hours, and never
        more than is left for everybody else. The local person, who owns the disk, may use all of it.

        Raises: StorageFull, UploadQuotaExceeded.
        """
        now = datetime.now(UTC)
        usage = await self.store.upload_usage(person.id, now - UPLOAD_PERIOD)
        limit = (usage.used + usage.spare) // 2
        if self.quota.daily_upload_mb > 0:
            limit = min(limit, int(self.quota.daily_upload_mb * 2**20))
        if person.is_local or usage.used + size <= limit:
            return
        retry_at = (usage.oldest_at or now) + UPLOAD_PERIOD
        raise UploadQuotaExceeded(
            limit_mb=limit / 2**20,
            used_mb=usage.used / 2**20,
            retry_after_s=max(1, int((retry_at - now).total_seconds())),
        )

    async def share(self, person: Person, media_id: str, *, source: str) -> StoredImage:
        """Make the person a further owner of a stored image that they can see in a chat of the platform `source`.

        Raises: ImageGone.
        """
        try:
            return await self.store.share(media_id, person.id, source=source)
        except MediaNotFound as error:
            raise ImageGone from error

    async def fit_bytes(self, media: Media, max_bytes: int) -> tuple[Media, bool]:
        """The image in at most `max_bytes`: unchanged, else as WebP, JPEG, or smaller. True: it was changed.

        Its metadata is kept. Raises: TooLarge: it cannot be made small enough.
        """
        if len(media.data) <= max_bytes:
            return media, False
        return await self.pictures.fit_bytes(media, max_bytes), True

    async def convert(self, media: Media, image_format: str, quality: int = 0) -> Media:
        """The image as "png", "jpeg" or "webp", with its metadata; unchanged if it has that format and no `quality`
        (1 to 100) is given. Raises: UnsupportedMedia; EngineError."""
        if media.media_type == f"image/{image_format}" and not quality:
            return media
        return await self.pictures.convert(media, image_format, quality)

    async def mask_transparency(self, person: Person, media: Media) -> Media:
        """A mask that repaints what is transparent in the image. Raises: InvalidOption: nothing is; EngineError."""
        (mask,) = await self.pictures.run_tool("mask_transparency", [media], owner=person.id)
        return mask.media

    async def fit_size(self, person: Person, media: Media, width: int, height: int, *, is_cropped: bool) -> Media:
        """The image at most so large, or cropped to exactly that size, with its metadata. Raises: EngineError."""
        values = {"width": width, "height": height, "fit": "crop" if is_cropped else "inside"}
        [fitted] = await self.pictures.run_tool("fit_picture", [media], values, owner=person.id)
        return fitted.media

    async def contact_sheet(self, pictures: Sequence[Media | None]) -> Media:
        """All images in one PNG, in a grid, marked as generated; None: a blank cell. A single image is returned
        unchanged, large ones are scaled down."""
        if len(pictures) == 1 and pictures[0] is not None:
            return pictures[0]
        longest = MAX_SHEET_SIDE // math.ceil(math.sqrt(len(pictures)))
        cells = [BLANK if one is None else await self._scale_down(one, longest) for one in pictures]
        return await self.pictures.contact_sheet(cells)

    async def _scale_down(self, picture: Media, longest: int) -> Media:
        width, height = png_size(picture.data)
        if not width:  # no PNG: large sheets are JPEG
            values = {"width": longest, "height": longest, "fit": "shrink"}
            [fitted] = await self.pictures.run_tool("fit_picture", [picture], values)
            return fitted.media
        share = longest / max(width, height, 1)
        if share >= 1:
            return picture
        return (await self.pictures.resize(picture, max(1, int(width * share)), max(1, int(height * share)))).media

    async def result_sheet(self, job: Job) -> Media | None:
        """All pictures of a job in one, with blank cells for those that are deleted. It is kept with the job.

        None: the job has only one picture.
        """
        if job.result is None or job.result.places < 2:
            return None
        if (kept := await self.store.read_sheet(job.id)) is not None:
            return kept
        cells: list[Media | None] = []
        for image in job.result.pictures:
            try:
                cells.append(None if image is None else await self.store.read_media(image.id, None))
            except MediaNotFound:
                cells.append(None)
        sheet = await self.contact_sheet(cells)
        width, height = png_size(sheet.data)
        ids = [image.id for image in job.result.media]
        await self.store.save_sheet(job.id, ids, sheet, width=width, height=height)
        return sheet

    async def get_image(self, person: Person, media_id: str) -> StoredImage:
        """Raises: MediaNotFound."""
        return await self.store.get_image(media_id, person.id)

    async def stream_media(self, person: Person, media_id: str) -> MediaStream:
        """For responses to clients that may read slowly. Raises: MediaNotFound."""
        return await self.store.stream_media(media_id, person.id)

    async def read_media(self, person: Person, media_id: str) -> Media:
        """Raises: MediaNotFound, also if it belongs to somebody else."""
        return await self.store.read_media(media_id, person.id)
