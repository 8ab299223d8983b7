"""The picture child: what it costs to break it, and what it encodes."""

import asyncio
import os

import pytest
import pytest_asyncio
from PIL import Image, PngImagePlugin

from bot.errors import EngineError, TooLarge, UnsupportedMedia
from bot.jobs import Media
from inference.images.service import PictureService, PictureSettings
from inference.ipc import messages
from inference.ipc.process import ChildProcess
from tests.inference.images.test_service import gradient, opened, saved
from tests.inference.support import is_alive, png

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pictures():
    async with PictureService() as service:
        yield service


@pytest_asyncio.fixture(loop_scope="module")
async def fresh():
    """A service of the test's own, to do harm to."""
    async with PictureService() as service:
        await service.clean(png(gradient()))
        yield service


async def test_a_picture_that_costs_its_child_is_refused_and_the_next_is_read(fresh):
    (first,) = fresh._all
    hung = asyncio.create_task(fresh.clean(png(gradient(size=(3000, 3000)))))
    await asyncio.sleep(0.01)
    os.kill(first.pid, 9)

    with pytest.raises(UnsupportedMedia, match="damaged"):
        await hung

    assert (await fresh.clean(png(gradient()))).width == 64


async def test_a_picture_that_takes_too_long_is_refused_as_slow():
    async with PictureService(PictureSettings(timeout_s=1.5)) as pictures:
        await pictures.clean(png(gradient()))
        (child,) = pictures._all
        os.kill(child.pid, 19)

        with pytest.raises(UnsupportedMedia) as refused:
            await pictures.clean(png(gradient()))

        assert refused.value.problem == "slow"
        assert not is_alive(child.pid)
        assert (await pictures.clean(png(gradient()))).width == 64


async def test_a_child_has_no_more_memory_than_it_is_given():
    async with PictureService(PictureSettings(memory_mb=100)) as pictures:
        with pytest.raises(TooLarge):
            await pictures.clean(saved(Image.new("RGB", (4000, 4000)), "PNG"))


async def test_two_pictures_are_worked_on_at_once_and_more_wait(fresh):
    made = await asyncio.gather(*(fresh.clean(png(gradient(size=(500, 500 + n)))) for n in range(6)))

    assert [clean.height for clean in made] == [500, 501, 502, 503, 504, 505]
    assert len(fresh._all) == 2


async def test_no_child_is_left_when_the_service_closes():
    async with PictureService() as pictures:
        await pictures.clean(png(gradient()))
        pids = [child.pid for child in pictures._all]

    assert pids
    assert not any(is_alive(pid) for pid in pids)


async def test_an_abandoned_request_does_not_answer_the_next_one(fresh):
    abandoned = asyncio.create_task(fresh.clean(png(gradient(size=(3000, 3000)))))
    await asyncio.sleep(0.01)
    abandoned.cancel()
    await asyncio.gather(abandoned, return_exceptions=True)

    assert (await fresh.clean(png(gradient(size=(20, 10))))).width == 20


async def test_a_request_that_is_none_is_answered_with_an_error():
    child = await ChildProcess.start("pictures", "inference.images.worker", "1024", "5")
    child.post(messages.Shutdown())

    ready, reply = await child.receive(), await child.receive()
    await child.close()

    assert ready == messages.Ready(slots=1)
    assert reply == messages.Failure("EngineError", {"detail": "Shutdown is no request"})


async def test_encoding_the_same_pixels_gives_the_same_bytes(pictures):
    first, second = [await pictures.encode(b"\1\2\3" * 64, 8, 8, parameters="a fox") for _ in range(2)]

    assert first == second
    assert opened(first).convert("RGB").tobytes() == b"\1\2\3" * 64


async def test_encoding_goes_on_in_a_new_child_when_the_first_dies(fresh):
    (child,) = fresh._all
    os.kill(child.pid, 19)
    asyncio.get_running_loop().call_later(0.05, os.kill, child.pid, 9)

    media = await fresh.encode(b"\0" * 192, 8, 8)

    assert media.media_type == "image/png"


async def test_pixels_that_do_not_fill_the_picture_are_an_engine_error(pictures):
    with pytest.raises(EngineError):
        await pictures.encode(b"\0" * 10, 8, 8)


async def test_a_sheet_shows_every_picture_in_rows(pictures):
    colours = ["red", "green", "blue"]
    cells = [Media(png(Image.new("RGB", (10, 10), colour)), "image/png") for colour in colours]

    sheet = opened(await pictures.grid(cells, parameters="a fox"))

    assert sheet.size == (24, 24)
    assert [sheet.getpixel(at) for at in ((5, 5), (19, 5), (5, 19))] == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]
    assert isinstance(sheet, PngImagePlugin.PngImageFile)
    assert "trainedAlgorithmicMedia" in sheet.text["XML:com.adobe.xmp"]
