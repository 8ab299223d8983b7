"""Sanitizes uploads and encodes results in small child processes; implements `bot.ports.ImageProcessor`.

An image that crashes, hangs or exhausts its child is refused; the child is replaced for the next image.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import structlog

from bot.errors import EngineError, TooLarge, UnsupportedMedia
from bot.jobs import Media
from bot.ports import RenderedImage, SanitizedImage
from inference.ipc import messages
from inference.ipc.process import ChildProcess

_log = structlog.get_logger("inference")
_START_TIMEOUT_S = 60.0
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Limits of uploads and of the image workers.

    Attributes:
        max_mb: largest upload, MiB.
        max_megapixels: largest image, in millions of pixels, by its header.
        timeout_s: seconds that one image may take.
        memory_mb: address space of a child, MiB.
        processes: number of images that are processed concurrently.
    """

    max_mb: float = 10.0
    max_megapixels: float = 16.0
    timeout_s: float = 10.0
    memory_mb: int = 1024
    processes: int = 2


class _ChildLost(Exception):
    """The child exited or did not answer. `is_late`: it exceeded its time limit."""

    def __init__(self, reason: str, *, is_late: bool) -> None:
        super().__init__(reason)
        self.is_timeout = is_late


class ImageService:
    """Use as an async context manager. Children start on first use."""

    def __init__(self, settings: ImageSettings = ImageSettings()) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.processes)
        self._idle: list[ChildProcess] = []
        self._children: set[ChildProcess] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(child.close() for child in self._children))
        self._children.clear()
        self._idle.clear()

    async def sanitize(self, data: bytes) -> SanitizedImage:
        if len(data) > self._settings.max_mb * 2**20:
            raise TooLarge(limit=self._settings.max_mb, unit="MiB")
        max_pixels = int(self._settings.max_megapixels * 1e6)
        try:
            reply = await self._request(messages.SanitizeRequest(data=data, max_pixels=max_pixels))
        except _ChildLost as lost:
            _log.warning(
                "The image worker was lost while sanitizing an upload", action="picture_lost", reason=str(lost)
            )
            raise UnsupportedMedia("slow" if lost.is_timeout else "damaged") from lost
        return SanitizedImage(
            media=Media(reply.data, reply.media_type),
            width=reply.width,
            height=reply.height,
            parameters=reply.parameters,
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
        request = messages.EncodeRequest(
            pixels=pixels,
            width=width,
            height=height,
            parameters=parameters,
            easel=easel,
            image_format=image_format,
        )
        return await self._encode_media(request)

    async def contact_sheet(
        self, images: Sequence[Media], *, columns: int = 0, image_format: str = "png", parameters: str = ""
    ) -> Media:
        """Several of our own images on one sheet. Raises: EngineError."""
        data = tuple(image.data for image in images)
        return await self._encode_media(
            messages.ContactSheetRequest(images=data, columns=columns, image_format=image_format, parameters=parameters)
        )

    async def fit_bytes(self, media: Media, max_bytes: int) -> Media:
        reply = await self._request_with_retry(messages.FitBytesRequest(data=media.data, max_bytes=max_bytes))
        return Media(reply.data, reply.media_type)

    async def resize(self, media: Media, width: int, height: int) -> RenderedImage:
        reply = await self._request_with_retry(messages.ResizeRequest(data=media.data, width=width, height=height))
        resized = Media(reply.data, reply.media_type)
        return RenderedImage(media=resized, width=reply.width, height=reply.height, parameters=reply.parameters)

    async def _encode_media(self, request: Any) -> Media:
        reply = await self._request_with_retry(request)
        return Media(reply.data, reply.media_type)

    async def _request_with_retry(self, request: Any) -> messages.EncodeReply:
        """The child's reply, if necessary on a second attempt in a new child. Raises: EngineError."""
        try:
            reply: messages.EncodeReply = await self._request(request)
        except _ChildLost:
            try:
                reply = await self._request(request)
            except _ChildLost as lost:
                raise EngineError(f"encoding an image: {lost}") from lost
        return reply

    async def _request(self, request: Any) -> Any:
        """Raises: _ChildLost; the error that the child answers with."""
        async with self._slots:
            child = self._idle.pop() if self._idle else await self._start_child()
            try:
                child.send(request)
                reply = await self._receive_reply(child, self._settings.timeout_s)
            except BaseException:
                # Also when we are cancelled: the next request would receive its answer.
                await self._discard_child(child)
                raise
            self._idle.append(child)
        if isinstance(reply, messages.PackedError):
            raise messages.unpack_error(reply)
        return reply

    async def _receive_reply(self, child: ChildProcess, within_s: float) -> Any:
        """The child's next message. Raises: _ChildLost."""
        try:
            async with asyncio.timeout(within_s):
                reply = await child.receive()
        except TimeoutError:
            raise _ChildLost("no answer in time", is_late=True) from None
        except messages.ProtocolError as error:
            raise _ChildLost(f"it broke the protocol: {error}", is_late=False) from error
        if reply is None:
            status = await child.close()
            raise _ChildLost(f"exit status {status}", is_late=status == -_SIGXCPU)
        return reply

    async def _start_child(self) -> ChildProcess:
        settings = self._settings
        limits = (str(settings.memory_mb), str(max(1, round(settings.timeout_s))))
        try:
            child = await ChildProcess.start("images", "inference.images.worker", *limits)
        except OSError as error:
            raise _ChildLost(f"it did not start: {error}", is_late=False) from error
        self._children.add(child)
        try:
            await self._receive_reply(child, _START_TIMEOUT_S)
        except BaseException:
            await self._discard_child(child)
            raise
        return child

    async def _discard_child(self, child: ChildProcess) -> None:
        self._children.discard(child)
        child.kill()
        await asyncio.shield(child.close())


_SIGXCPU = 24
