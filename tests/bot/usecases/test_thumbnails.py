"""Thumbnails are made once, for their owners only, and few at a time."""

import asyncio

import pytest

from bot.errors import EngineError, InvalidOption, MediaNotFound, StorageFull, UnsupportedMedia
from bot.jobs import Media
from bot.ports import Person
from bot.usecases.thumbnails import MADE_PER_PERSON, Thumbnails, parse_width
from tests.fakes import FakeImageProcessor, FakeMediaStore

ANN, BEN = Person(id="ann", name="Ann"), Person(id="ben", name="Ben")


class Maker(FakeImageProcessor):
    """Counts; waits for `gate`, and fails with `error`."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[bytes, int, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def make_thumbnail(self, media, max_width, *, owner) -> Media:
        self.made.append((media.data, max_width, owner))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().make_thumbnail(media, max_width, owner=owner)


@pytest.fixture
def store():
    return FakeMediaStore()


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def thumbnails(store, maker):
    return Thumbnails(store, maker)


async def add(store, owner=ANN, data=b"a fox", width=1024):
    return await store.add_upload(owner.id, Media(data, "image/png"), width=width, height=8, parameters=None)


async def read(thumbnails, person, image, width=256):
    stream = await thumbnails.stream(person, image, width)
    return b"".join([chunk async for chunk in stream.chunks])


async def test_it_is_made_once_and_kept(store, maker, thumbnails):
    image = await add(store)

    answers = {await read(thumbnails, ANN, image) for _ in range(3)}

    assert answers == {b"a fox, 256 px"}
    assert maker.made == [(b"a fox", 256, "ann")]


async def test_concurrent_requests_share_one(store, maker, thumbnails):
    image = await add(store)
    maker.gate.clear()
    waiting = [asyncio.create_task(read(thumbnails, ANN, image)) for _ in range(20)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()  # the first one gives up
    await asyncio.sleep(0)
    maker.gate.set()

    assert set(await asyncio.gather(*waiting[1:])) == {b"a fox, 256 px"}
    assert len(maker.made) == 1


@pytest.mark.parametrize("error", [UnsupportedMedia("damaged"), EngineError("it was lost")])
async def test_those_who_wait_share_a_failure_and_the_next_request_tries_again(store, maker, thumbnails, error):
    image = await add(store)
    maker.error = error
    failed = await asyncio.gather(*(read(thumbnails, ANN, image) for _ in range(9)), return_exceptions=True)
    maker.error = None

    assert failed == [error] * 9
    assert await read(thumbnails, ANN, image) == b"a fox, 256 px"
    assert len(maker.made) == 2


async def test_other_peoples_images_are_not_found_whether_there_is_a_thumbnail_or_not(store, maker, thumbnails):
    image = await add(store)

    for _ in range(2):
        with pytest.raises(MediaNotFound):
            await read(thumbnails, BEN, image)
        await read(thumbnails, ANN, image)
    assert len(maker.made) == 1


@pytest.mark.parametrize(("width", "kept"), [(128, {256}), (256, {256}), (300, {256, 512}), (2000, {256, 512, 1024})])
async def test_what_is_not_enlarged_is_kept_once(store, maker, thumbnails, width, kept):
    image = await add(store, width=width)

    for asked in (256, 512, 1024):
        await read(thumbnails, ANN, image, asked)

    assert {made for _, made, _ in maker.made} == kept


async def test_on_a_full_disk_it_is_shown_and_not_kept(store, maker, thumbnails):
    image = await add(store)
    store.failures["save_thumbnail"].append(StorageFull())

    assert await read(thumbnails, ANN, image) == b"a fox, 256 px"
    assert await read(thumbnails, ANN, image) == b"a fox, 256 px"
    assert len(maker.made) == 2


async def test_a_flood_of_one_person_holds_few_images_in_memory_and_lets_others_pass(store, maker, thumbnails):
    maker.gate.clear()
    flood = [await add(store, data=b"%d" % number) for number in range(30)]
    waiting = [asyncio.create_task(read(thumbnails, ANN, image)) for image in flood]
    await asyncio.sleep(0.01)
    held = len(store.called("read_media"))
    theirs = asyncio.create_task(read(thumbnails, BEN, await add(store, BEN, b"ben's")))
    await asyncio.sleep(0.01)

    assert held == MADE_PER_PERSON
    assert maker.made[-1] == (b"ben's", 256, "ben")
    maker.gate.set()
    await asyncio.gather(theirs, *waiting)


@pytest.mark.parametrize(
    "text", ["", "0", "-256", "257", "256.0", "1e9", "999999999999", "../../x", "\u0662\u0665\u0666", " 256", "a" * 99]
)
def test_other_widths_are_refused(text):
    with pytest.raises(InvalidOption) as refused:
        parse_width(text)

    assert refused.value.allowed == "256, 512 or 1024"
    assert len(str(refused.value.value)) <= 20
