"""The zip of images: in small chunks, and closed when its reader goes."""

import zipfile
from dataclasses import replace
from io import BytesIO
from typing import Any, cast

from bot.jobs import JobState, StoredImage
from bot.ports import MediaStream
from bot.usecases.image_export import ExportUseCases
from tests.fakes import FakeHistory, FakeJobStore, FakeMediaStore, make_job, make_origin, make_person, make_result
from tests.moderation import Unmoderated

ANN = make_person()
CHUNK = 2**16


class LargeImages(FakeMediaStore):
    """Every image has 1 MiB, read in chunks; `open` counts the files that are open."""

    def __init__(self):
        super().__init__()
        self.open = 0

    async def stream_media(self, media_id, owner):
        async def chunks():
            self.open += 1
            try:
                for _ in range(2**20 // CHUNK):
                    yield bytes(CHUNK)
            finally:
                self.open -= 1

        return MediaStream(media_type="image/png", size=2**20, chunks=chunks())


def make_exports(images=3):
    store, media = FakeJobStore(), LargeImages()
    stored = tuple(StoredImage(id=f"{n}" * 64, media_type="image/png", width=8, height=8) for n in range(images))
    store.add(make_job(state=JobState.DELIVERED, result=replace(make_result(), media=stored)), make_job())
    return ExportUseCases(store, FakeHistory(store), media, cast("Any", Unmoderated()), cast("Any", None)), media


async def test_an_export_is_sent_while_it_is_read():
    exports, media = make_exports()

    chunks = [chunk async for chunk in await exports.export_images(ANN, make_origin(), None, [])]

    assert max(map(len, chunks)) < 2 * CHUNK
    with zipfile.ZipFile(BytesIO(b"".join(chunks))) as archive:
        assert archive.testzip() is None
        assert sum(name.endswith(".png") for name in archive.namelist()) == 3
    assert media.open == 0


async def test_a_reader_that_goes_away_leaves_no_file_open():
    exports, media = make_exports()
    reading: Any = await exports.export_images(ANN, make_origin(), None, [])

    await anext(reading)
    assert media.open == 1
    await reading.aclose()

    assert media.open == 0
