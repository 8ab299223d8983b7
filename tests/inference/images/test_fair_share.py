"""Whose images wait for whose: uploads that take long keep neither results nor other people's uploads waiting."""

import asyncio

import pytest
import pytest_asyncio

from bot.jobs import Media
from inference.images.service import ImageService, ImageSettings
from inference.ipc import image_messages, messages
from inference.ipc.process import ChildProcess
from inference.ipc.thumbnail_messages import ThumbnailRequest

SLOW, QUICK = b"many scans", b"a photo"
REPLY = image_messages.SanitizeReply(data=b"clean", media_type="image/png", width=1, height=1, parameters=None)


class StubChild:
    """Answers immediately, but slow uploads and all sheets never."""

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self.arguments = arguments
        self._replies: list[object] = [messages.Ready(slots=1)]

    def send(self, request) -> None:
        if isinstance(request, image_messages.EncodeRequest):
            self._replies.append(image_messages.EncodeReply(b"result", "image/png", 1, 1))
        elif isinstance(request, image_messages.SanitizeRequest) and request.data == QUICK:
            self._replies.append(REPLY)
        elif isinstance(request, ThumbnailRequest) and request.data == QUICK:
            self._replies.append(image_messages.EncodeReply(b"small", "image/webp", 1, 1))

    async def receive(self):
        return self._replies.pop() if self._replies else await asyncio.Event().wait()

    def kill(self) -> None: ...

    async def close(self) -> int:
        return 0


@pytest.fixture
def started(monkeypatch):
    """The children that were started."""
    children: list[StubChild] = []

    async def start(name, module, *arguments, threads=0):
        children.append(StubChild(arguments))
        return children[-1]

    monkeypatch.setattr(ChildProcess, "start", start)
    return children


@pytest_asyncio.fixture
async def service(started):
    """Ann has sent 16 uploads that take for ever."""
    async with ImageService(ImageSettings(timeout_s=60)) as service:
        slow = [asyncio.create_task(service.sanitize(SLOW, owner="ann")) for _ in range(16)]
        await asyncio.sleep(0)
        yield service
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_another_persons_upload_does_not_wait_for_somebodys_slow_ones(service):
    async with asyncio.timeout(2):
        image = await service.sanitize(QUICK, owner="bob")

    assert image.media.data == b"clean"


async def test_a_result_never_waits_for_uploads(service):
    everybody = [asyncio.create_task(service.sanitize(SLOW, owner=f"person {n}")) for n in range(16)]
    await asyncio.sleep(0)

    async with asyncio.timeout(2):
        media = await service.encode_image(b"\0" * 3, 1, 1)

    assert media.data == b"result"
    for task in everybody:
        task.cancel()
    await asyncio.gather(*everybody, return_exceptions=True)


async def test_a_result_never_waits_for_sheets(service):
    sheets = [asyncio.create_task(service.contact_sheet([Media(QUICK, "image/png")] * 4)) for _ in range(16)]
    await asyncio.sleep(0)

    async with asyncio.timeout(2):
        media = await service.encode_image(b"\0" * 3, 1, 1)

    assert media.data == b"result"
    for task in sheets:
        task.cancel()
    await asyncio.gather(*sheets, return_exceptions=True)


async def test_uploads_yield_the_processor_to_results(service, started):
    await service.encode_image(b"\0" * 3, 1, 1)
    decoder, encoder = started

    assert int(decoder.arguments[-1]) > int(encoder.arguments[-1])


@pytest.mark.parametrize("processes", [1, 2, 3])
async def test_nobody_has_all_decoders_however_few_there_are(started, processes):
    async with ImageService(ImageSettings(processes=processes, timeout_s=60)) as service:
        slow = [asyncio.create_task(service.sanitize(SLOW, owner="ann")) for _ in range(4)]
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            await service.sanitize(QUICK, owner="bob")
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)


async def test_a_flood_of_thumbnails_keeps_nothing_and_nobody_waiting(started):
    async with ImageService(ImageSettings(timeout_s=60)) as service, asyncio.timeout(5):
        slow = [
            asyncio.create_task(service.make_thumbnail(Media(SLOW, "image/png"), 256, owner="ann")) for _ in range(16)
        ]
        await asyncio.sleep(0)
        uploaded = await service.sanitize(QUICK, owner="ann")
        small = await service.make_thumbnail(Media(QUICK, "image/png"), 256, owner="ben")
        result = await service.encode_image(b"", 1, 1)
        for task in slow:
            task.cancel()

    assert (uploaded.media.data, small.data, result.data) == (b"clean", b"small", b"result")
    assert len(started) == 5  # two for Ann's thumbnails, one for Ben's, an upload's, a result's
