"""The image worker: how it is replaced when it breaks, and what it encodes."""

import asyncio
import os
import signal
from dataclasses import replace

import pytest
import pytest_asyncio
from PIL import Image, PngImagePlugin

from bot.errors import EngineError, TooLarge, UnsupportedMedia
from bot.jobs import Media
from inference.images.service import ImageService, ImageSettings
from inference.ipc import messages
from inference.ipc.process import ChildProcess
from tests.inference.images.test_service import gradient, opened, saved
from tests.inference.support import is_alive, png

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.process]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service():
    async with ImageService() as service:
        yield service


@pytest_asyncio.fixture(loop_scope="module")
async def child(service):
    """The only child that decodes."""
    await service.sanitize(png(gradient()))
    [child] = service._decoders._all
    return child


@pytest_asyncio.fixture(loop_scope="module")
async def encoder(service):
    """The only child that encodes."""
    await service.encode_image(b"\0" * 192, 8, 8)
    [child] = service._encoders._all
    return child


async def test_an_image_that_crashes_its_child_is_refused_and_the_next_is_accepted(service, child):
    os.kill(child.pid, signal.SIGSTOP)
    pending = asyncio.create_task(service.sanitize(png(gradient())))
    await asyncio.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(UnsupportedMedia, match="damaged"):
        await pending

    assert (await service.sanitize(png(gradient()))).width == 64


async def test_an_image_that_takes_too_long_is_refused_as_slow(service, child, monkeypatch):
    os.kill(child.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(service._decoders, "_limits", replace(service._decoders._limits, timeout_s=0.2))
        with pytest.raises(UnsupportedMedia) as refused:
            await service.sanitize(png(gradient()))

    assert refused.value.problem == "slow"
    assert not is_alive(child.pid)
    assert (await service.sanitize(png(gradient()))).width == 64


async def test_a_childs_memory_is_limited():
    async with ImageService(ImageSettings(memory_mb=100)) as service:
        with pytest.raises(TooLarge):
            await service.sanitize(saved(Image.new("RGB", (4000, 4000)), "PNG"))


async def test_images_of_two_people_are_processed_concurrently_and_no_child_is_left_when_the_service_is_closed():
    async with ImageService() as service:
        uploads = [(png(gradient(size=(500, 500 + n))), "ann" if n % 2 else "bob") for n in range(6)]
        images = await asyncio.gather(*(service.sanitize(data, owner=owner) for data, owner in uploads))
        pids = [child.pid for child in service._decoders._all]

    assert [image.height for image in images] == [500, 501, 502, 503, 504, 505]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


async def test_an_abandoned_request_does_not_answer_the_next_one(service, child):
    os.kill(child.pid, signal.SIGSTOP)
    abandoned = asyncio.create_task(service.sanitize(png(gradient())))
    await asyncio.sleep(0.01)
    abandoned.cancel()
    await asyncio.gather(abandoned, return_exceptions=True)

    assert (await service.sanitize(png(gradient(size=(20, 10))))).width == 20


async def test_an_unknown_request_is_answered_with_an_error():
    child = await ChildProcess.start("images", "inference.images.worker", "1024", "5", "0")
    child.send(messages.Shutdown())

    ready, reply = await child.receive(), await child.receive()
    await child.close()

    assert ready == messages.Ready(slots=1)
    assert reply == messages.PackedError("EngineError", {"detail": "Shutdown is not a request"})


async def test_encoding_the_same_pixels_gives_the_same_bytes(service):
    first, second = [await service.encode_image(b"\1\2\3" * 64, 8, 8, parameters="a fox") for _ in range(2)]

    assert first == second
    assert opened(first).convert("RGB").tobytes() == b"\1\2\3" * 64


async def test_encoding_is_retried_in_a_new_child_when_the_first_is_killed(service, encoder):
    os.kill(encoder.pid, signal.SIGSTOP)
    asyncio.get_running_loop().call_later(0.05, os.kill, encoder.pid, signal.SIGKILL)

    media = await service.encode_image(b"\0" * 192, 8, 8)

    assert media.media_type == "image/png"


async def test_too_few_pixels_are_an_engine_error(service):
    with pytest.raises(EngineError):
        await service.encode_image(b"\0" * 10, 8, 8)


async def test_a_contact_sheet_shows_every_image_in_rows(service):
    colours = ["red", "green", "blue"]
    cells = [Media(png(Image.new("RGB", (10, 10), colour)), "image/png") for colour in colours]

    sheet = opened(await service.contact_sheet(cells, parameters="a fox"))

    assert sheet.size == (24, 24)
    assert [sheet.getpixel(at) for at in ((5, 5), (19, 5), (5, 19))] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert isinstance(sheet, PngImagePlugin.PngImageFile)
    assert "trainedAlgorithmicMedia" in sheet.text["XML:com.adobe.xmp"]
