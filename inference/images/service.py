"""Cleans uploads and encodes results in small child processes; implements `bot.ports.Pictures`.

A picture that kills, stops or starves its child costs that child and is refused; the next picture gets a new one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import structlog

from bot.errors import EngineError, TooLarge, UnsupportedMedia
from bot.jobs import Media
from bot.ports import CleanPicture, Rendered
from inference.ipc import messages
from inference.ipc.process import ChildProcess

_log = structlog.get_logger("inference")
_START_S = 60.0
MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """Attributes:
    max_mb: largest upload, MiB.
    max_megapixels: largest picture, in millions of pixels, by its header.
    timeout_s: how long one picture may take.
    memory_mb: address space of a child, MiB.
    processes: how many pictures are worked on at once.
    """

    max_mb: float = 10.0
    max_megapixels: float = 16.0
    timeout_s: float = 10.0
    memory_mb: int = 1024
    processes: int = 2


class _Lost(Exception):
    """The child died or did not answer. `is_late`: it was killed for its time."""

    def __init__(self, reason: str, *, is_late: bool) -> None:
        super().__init__(reason)
        self.is_late = is_late


class PictureService:
    """Use as an async context manager. Children start when they are first needed."""

    def __init__(self, settings: PictureSettings = PictureSettings()) -> None:
        self._settings = settings
        self._places = asyncio.Semaphore(settings.processes)
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(child.close() for child in self._all))
        self._all.clear()
        self._idle.clear()

    async def clean(self, data: bytes) -> CleanPicture:
        if len(data) > self._settings.max_mb * 2**20:
            raise TooLarge(limit=self._settings.max_mb, unit="MiB")
        max_pixels = int(self._settings.max_megapixels * 1e6)
        try:
            reply = await self._ask(messages.CleanRequest(data=data, max_pixels=max_pixels))
        except _Lost as lost:
            _log.warning("A picture cost its child", action="picture_lost", reason=str(lost))
            raise UnsupportedMedia("slow" if lost.is_late else "damaged") from lost
        return CleanPicture(
            media=Media(reply.data, reply.media_type),
            width=reply.width,
            height=reply.height,
            parameters=reply.parameters,
        )

    async def encode(
        self,
        pixels: bytes,
        width: int,
        height: int,
        *,
        parameters: str = "",
        easel: str = "",
        image_format: str = "png",
    ) -> Media:
        """Encode one picture with its metadata.

        Args:
            pixels: RGB, 8 bit, height x width x 3 bytes.
            image_format: a key of `MEDIA_TYPES`.

        Raises:
            EngineError: it could not be encoded, also not at a second try in a new child.
        """
        request = messages.EncodeRequest(
            pixels=pixels,
            width=width,
            height=height,
            parameters=parameters,
            easel=easel,
            image_format=image_format,
        )
        return await self._made(request)

    async def grid(
        self, pictures: Sequence[Media], *, columns: int = 0, image_format: str = "png", parameters: str = ""
    ) -> Media:
        """Several of our own pictures on one sheet. Raises: EngineError."""
        data = tuple(picture.data for picture in pictures)
        return await self._made(
            messages.GridRequest(pictures=data, columns=columns, image_format=image_format, parameters=parameters)
        )

    async def shrink(self, media: Media, max_bytes: int) -> Media:
        reply = await self._done(messages.ShrinkRequest(data=media.data, max_bytes=max_bytes))
        return Media(reply.data, reply.media_type)

    async def enlarge(self, media: Media, width: int, height: int) -> Rendered:
        reply = await self._done(messages.EnlargeRequest(data=media.data, width=width, height=height))
        made = Media(reply.data, reply.media_type)
        return Rendered(media=made, width=reply.width, height=reply.height, parameters=reply.parameters)

    async def _made(self, request: Any) -> Media:
        reply = await self._done(request)
        return Media(reply.data, reply.media_type)

    async def _done(self, request: Any) -> messages.EncodeReply:
        """The child's reply, at a second try in a new child if need be. Raises: EngineError."""
        try:
            reply: messages.EncodeReply = await self._ask(request)
        except _Lost:
            try:
                reply = await self._ask(request)
            except _Lost as lost:
                raise EngineError(f"encoding a picture: {lost}") from lost
        return reply

    async def _ask(self, request: Any) -> Any:
        """Raises: _Lost, and what the child answers with."""
        async with self._places:
            child = self._idle.pop() if self._idle else await self._start()
            try:
                child.post(request)
                reply = await self._reply(child, self._settings.timeout_s)
            except BaseException:
                # Also when we are cancelled: its answer would be taken for the next one's.
                await self._drop(child)
                raise
            self._idle.append(child)
        if isinstance(reply, messages.Failure):
            raise messages.unpack_error(reply)
        return reply

    async def _reply(self, child: ChildProcess, within_s: float) -> Any:
        """The child's next message. Raises: _Lost."""
        try:
            async with asyncio.timeout(within_s):
                reply = await child.receive()
        except TimeoutError:
            raise _Lost("no answer in time", is_late=True) from None
        except messages.BadFrame as error:
            raise _Lost(f"noise: {error}", is_late=False) from error
        if reply is None:
            status = await child.close()
            raise _Lost(f"exit status {status}", is_late=status == -_SIGXCPU)
        return reply

    async def _start(self) -> ChildProcess:
        settings = self._settings
        limits = (str(settings.memory_mb), str(max(1, round(settings.timeout_s))))
        try:
            child = await ChildProcess.start("pictures", "inference.images.worker", *limits)
        except OSError as error:
            raise _Lost(f"no child: {error}", is_late=False) from error
        self._all.add(child)
        try:
            await self._reply(child, _START_S)
        except BaseException:
            await self._drop(child)
            raise
        return child

    async def _drop(self, child: ChildProcess) -> None:
        self._all.discard(child)
        child.kill()
        await asyncio.shield(child.close())


_SIGXCPU = 24
