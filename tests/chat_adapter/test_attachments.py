"""Pictures attached to messages: one person's do not keep another's waiting."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.discord.attachments import AttachmentFetcher, AttachmentUnavailable
from adapters.discord.context import DiscordContext
from adapters.discord.events import AttachedFile
from adapters.telegram.attachments import PhotoUploads
from adapters.telegram.message_parsing import Photo
from bot.errors import UploadQuotaExceeded
from tests.fakes import eventually, make_person

ANN, BOB = make_person(id="ann"), make_person(id="bob")


class SlowUploads:
    """Ann's uploads take for ever."""

    max_file_mb = 20
    downloads = 0

    def __init__(self) -> None:
        self.decoding: Counter[str] = Counter()
        self.refusal: Exception | None = None

    async def check_allowance(self, person):
        if self.refusal is not None:
            raise self.refusal

    async def upload(self, person, data, *, source):
        self.decoding[person.id] += 1
        if person is ANN:
            await asyncio.Event().wait()
        return SimpleNamespace(id="stored")


@pytest.fixture
def uploads():
    return SlowUploads()


@pytest.fixture(params=["discord", "telegram"])
def send_picture(request, uploads, monkeypatch):
    """Receives one picture of a person, as the platform's adapter does."""
    usecases: Any = SimpleNamespace(media=uploads)

    async def download(*_):
        uploads.downloads += 1
        return b"picture"

    if request.param == "telegram":
        api: Any = SimpleNamespace(download_file=download, bot=SimpleNamespace(id=1))
        photos = PhotoUploads(api, usecases)
        return lambda person, n: photos.upload_photos(person, [Photo(f"file {n}", f"file {n}", 100)])
    fetcher = AttachmentFetcher()
    monkeypatch.setattr(fetcher, "fetch", download)
    context: Any = SimpleNamespace(usecases=usecases, _fetcher=fetcher, _author=lambda _: "")
    return lambda person, n: DiscordContext.upload_attachments(context, person, [AttachedFile(url=f"https://cdn/{n}")])


async def test_another_persons_picture_does_not_wait_for_somebodys_sixteen_slow_ones(send_picture, uploads):
    slow = [asyncio.create_task(send_picture(ANN, n)) for n in range(16)]
    await eventually(lambda: uploads.decoding["ann"] == 2)

    async with asyncio.timeout(30):
        (picture,) = await send_picture(BOB, 16)

    assert picture.id == "stored"
    assert uploads.decoding["ann"] <= 2  # the others are not even in memory
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_file_that_never_ends_holds_its_slot_for_one_deadline(monkeypatch):
    requests = []

    async def never_answer(_reader, writer):
        requests.append(writer)
        await asyncio.Event().wait()

    monkeypatch.setattr("adapters.discord.attachments.FETCH_TIMEOUT_S", 0.1)
    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(AttachmentUnavailable):
        await AttachmentFetcher(url).fetch(f"{url}/picture.png", 100)
    await eventually(lambda: requests)
    server.close()

    assert len(requests) == 1
    requests[0].close()


async def test_a_picture_beyond_the_allowance_is_not_even_downloaded(send_picture, uploads):
    uploads.refusal = UploadQuotaExceeded(limit_mb=1.0, used_mb=1.0, retry_after_s=60)
    with pytest.raises(UploadQuotaExceeded):
        await send_picture(BOB, 1)

    assert uploads.downloads == 0
