"""Sanitizes uploads and encodes results in small child processes; implements `bot.ports.ImageProcessor`.

Uploads have their own children, of which nobody has all, and HEIC has some apart: a result never waits for uploads, and
nobody's uploads wait for all of somebody else's. So have thumbnails, for which neither uploads nor results wait. The
other children are shared fairly between kinds of work, so a result waits for sheets and resized images neither. An
image that crashes, hangs or exhausts its child is refused; the child is replaced.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import structlog

from bot.errors import EngineError, TooLarge, UnsupportedMedia
from bot.jobs import Media
from bot.ports import RenderedImage, SanitizedImage
from bot.ports.images import is_heic
from inference.images.children import ChildLimits, ChildLost, ImageChildren
from inference.ipc import image_messages
from inference.ipc.mask_messages import MaskReply, MaskRequest
from inference.ipc.thumbnail_messages import ThumbnailRequest
from inference.ipc.tool_messages import ToolRequest

_log = structlog.get_logger("inference")
_DECODER_NICE = 5
"""Uploads yield the processor to results."""
_HEIC_TIME = 3
"""A HEIC may take so many times the seconds of another image, as it may have three times the pixels."""
_TOOL_TIME = 3
"""A tool may take so many times the seconds of another image."""
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Limits of uploads and of the image workers.

    Attributes:
        max_mb, max_heic_mb: largest upload, MiB.
        max_megapixels, max_heic_megapixels: largest image, in millions of pixels, by its header. A HEIC beyond the
            first is scaled down to it.
        timeout_s: seconds that one image may take.
        memory_mb: address space of a child, MiB.
        processes: number of uploads that are decoded concurrently, at least 2: one person has at most all but one of
            them. As many results are encoded at the same time, beside the sheets and resized images of messages.
    """

    max_mb: float = 10.0
    max_megapixels: float = 16.0
    max_heic_mb: float = 20.0
    max_heic_megapixels: float = 50.0
    timeout_s: float = 10.0
    memory_mb: int = 1024
    processes: int = 2


class ImageService:
    """Use as an async context manager. Children start on first use."""

    def __init__(self, settings: ImageSettings = ImageSettings()) -> None:
        self._settings = settings
        decoders = max(2, settings.processes)
        limits = ChildLimits(memory_mb=settings.memory_mb, timeout_s=settings.timeout_s)
        self._decoders = ImageChildren(replace(limits, nice=_DECODER_NICE), decoders, per_owner=decoders - 1)
        heic_limits = replace(
            limits, timeout_s=_HEIC_TIME * settings.timeout_s, nice=_DECODER_NICE, may_start_threads=True
        )
        self._heic_decoders = ImageChildren(heic_limits, decoders, per_owner=decoders - 1)
        self._tools = ImageChildren(replace(limits, timeout_s=_TOOL_TIME * settings.timeout_s, has_tools=True), 2, 1)
        thumbnail_limits = replace(limits, nice=_DECODER_NICE)
        self._thumbnails = ImageChildren(thumbnail_limits, settings.processes + 1, per_owner=settings.processes)
        self._encoders = ImageChildren(limits, settings.processes + 1, per_owner=settings.processes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._decoders.close()
        await self._heic_decoders.close()
        await self._encoders.close()
        await self._tools.close()
        await self._thumbnails.close()

    async def sanitize(self, data: bytes, *, owner: str = "") -> SanitizedImage:
        settings = self._settings
        max_mb = max(settings.max_mb, settings.max_heic_mb) if is_heic(data) else settings.max_mb
        if len(data) > max_mb * 2**20:
            raise TooLarge(limit=settings.max_mb, unit="MiB", heic_limit=settings.max_heic_mb)
        request = image_messages.SanitizeRequest(
            data=data,
            max_pixels=int(settings.max_megapixels * 1e6),
            max_heic_pixels=int(settings.max_heic_megapixels * 1e6),
        )
        try:
            reply = await self._request(request, owner)
        except ChildLost as lost:
            _log.warning(
                "The image worker was lost while sanitizing an upload", action="picture_lost", reason=str(lost)
            )
            raise UnsupportedMedia("slow" if lost.is_timeout else "damaged") from lost
        return SanitizedImage(
            media=Media(reply.data, reply.media_type),
            width=reply.width,
            height=reply.height,
            parameters=reply.parameters,
            text=reply.text,
        )

    async def encode_image(
        self,
        pixels: bytes,
        width: int,
        height: int,
        *,
        parameters: str = "",
        easel: str = "",
        image_format: str = "png",
    ) -> Media:
        """Encode one image with its metadata.

        Args:
            pixels: RGB, 8 bit, height x width x 3 bytes.
            image_format: a key of `MEDIA_TYPES`.

        Raises:
            EngineError: it could not be encoded, nor on a second attempt in a new child.
        """
        request = image_messages.EncodeRequest(
            pixels=pixels,
            width=width,
            height=height,
            parameters=parameters,
            easel=easel,
            image_format=image_format,
        )
        return await self._encode_media(request)

    async def encode_derived(
        self, pixels: bytes, width: int, height: int, *, source: Media, postprocess: str = ""
    ) -> RenderedImage:
        """Encode one image as PNG with the metadata of the image that it was computed from.

        Args:
            pixels: RGB or RGBA, 8 bit, height x width x 3 or 4 bytes.
            postprocess: what was done to that image, for its A1111 text; it is marked as generated then.

        Raises: EngineError.
        """
        request = image_messages.EncodeRequest(
            pixels=pixels, width=width, height=height, parameters=postprocess, easel="", source=source.data
        )
        reply = await self._request_with_retry(request)
        encoded = Media(reply.data, reply.media_type)
        return RenderedImage(media=encoded, width=reply.width, height=reply.height, parameters=reply.parameters)

    async def contact_sheet(
        self, images: Sequence[Media], *, columns: int = 0, image_format: str = "png", parameters: str = ""
    ) -> Media:
        """Several of our own images on one sheet. Raises: EngineError."""
        data = tuple(image.data for image in images)
        return await self._encode_media(
            image_messages.ContactSheetRequest(
                images=data, columns=columns, image_format=image_format, parameters=parameters
            )
        )

    async def fit_bytes(self, media: Media, max_bytes: int) -> Media:
        reply = await self._request_with_retry(image_messages.FitBytesRequest(data=media.data, max_bytes=max_bytes))
        return Media(reply.data, reply.media_type)

    async def convert(self, media: Media, image_format: str, quality: int = 0) -> Media:
        return await self._encode_media(
            image_messages.ConvertRequest(data=media.data, image_format=image_format, quality=quality)
        )

    async def resize(self, media: Media, width: int, height: int) -> RenderedImage:
        reply = await self._request_with_retry(
            image_messages.ResizeRequest(data=media.data, width=width, height=height)
        )
        resized = Media(reply.data, reply.media_type)
        return RenderedImage(media=resized, width=reply.width, height=reply.height, parameters=reply.parameters)

    async def make_thumbnail(self, media: Media, max_width: int, *, owner: str) -> Media:
        try:
            reply = await self._request(ThumbnailRequest(data=media.data, max_width=max_width), owner)
        except ChildLost as lost:
            raise EngineError(f"making a thumbnail: {lost}") from lost
        return Media(reply.data, reply.media_type)

    async def is_empty_mask(self, media: Media) -> bool:
        reply: MaskReply = await self._request_with_retry(MaskRequest(data=media.data))
        return reply.is_empty

    async def run_tool(
        self,
        tool: str,
        images: Sequence[Media],
        values: Mapping[str, Any] | None = None,
        *,
        parameters: str = "",
        easel: str = "",
        owner: str = "",
    ) -> list[RenderedImage]:
        request = ToolRequest(
            tool=tool,
            images=tuple(image.data for image in images),
            values=dict(values or {}),
            parameters=parameters,
            easel=easel,
        )
        try:
            reply = await self._tools.request(request, owner)
        except ChildLost as lost:
            raise EngineError(f"the image tool {tool}: {lost}") from lost
        return [
            RenderedImage(media=Media(data, "image/png"), width=width, height=height, parameters=reply.parameters)
            for data, width, height in reply.images
        ]

    async def _encode_media(self, request: Any) -> Media:
        reply = await self._request_with_retry(request)
        return Media(reply.data, reply.media_type)

    async def _request_with_retry(self, request: Any) -> Any:
        """The child's reply, if necessary on a second attempt in a new child. Raises: EngineError."""
        try:
            reply = await self._request(request)
        except ChildLost:
            try:
                reply = await self._request(request)
            except ChildLost as lost:
                raise EngineError(f"encoding an image: {lost}") from lost
        return reply

    async def _request(self, request: Any, owner: str = "") -> Any:
        """Raises: ChildLost; the error that the child answers with."""
        if isinstance(request, image_messages.SanitizeRequest):
            decoders = self._heic_decoders if is_heic(request.data) else self._decoders
            return await decoders.request(request, owner)
        if isinstance(request, ThumbnailRequest):
            return await self._thumbnails.request(request, owner)
        return await self._encoders.request(request, type(request).__name__)
