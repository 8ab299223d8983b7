"""When sheets are composed, of which files, and what happens if that fails."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from structlog.testing import capture_logs

from bot.errors import EngineError, NotFound
from bot.jobs import Media
from bot.ports import RenderedImage
from bot.usecases.grids import RETRY_S, GridUseCases
from tests.bot.usecases.test_grid_sheets import make_job, make_record


class Batches:
    """One batch. `refusals`: how often its sheets are not kept, as a picture was deleted meanwhile."""

    def __init__(self, *jobs, refusals=0, **overrides):
        self.record, self.refusals = make_record(*jobs, **overrides), refusals
        self.kept: list[Any] = []
        self.saved = asyncio.Event()
        self.looked = defaultdict(asyncio.Event)

    async def get_batch(self, batch_id, _owner):
        if batch_id != self.record.id:
            raise NotFound("batch", batch_id)
        return self.record

    async def list_due(self):
        self.looked[sum(event.is_set() for event in self.looked.values()) + 1].set()
        return [] if self.kept else [self.record.id]

    async def save_sheets(self, _batch_id, _spec, pictures, sheets):
        self.refusals -= 1
        if self.refusals >= 0:
            return False
        self.kept.append((dict(pictures), list(sheets)))
        self.saved.set()
        return True


class Files:
    """Whole files and thumbnails, which count how they are read; and the image child, which may fail."""

    def __init__(self):
        self.read_whole, self.read_small, self.resized = [], [], []
        self.failures = 0
        self.sheet, self.jpegs = b"sheet", {}

    async def read_media(self, media_id, _owner):
        self.read_whole.append(media_id)
        return Media(b"whole", "image/png")

    async def read(self, _owner, image, width):
        self.read_small.append((image.id, width))
        return Media(b"small", "image/webp")

    async def resize(self, media, width, height):
        self.resized.append((width, height))
        return RenderedImage(media=media, width=width, height=height, parameters="")

    async def run_tool(self, *_args, **_more):
        self.failures -= 1
        if self.failures >= 0:
            raise EngineError("the image child was lost")
        return [RenderedImage(media=Media(self.sheet, "image/png"), width=9, height=9, parameters="")]

    async def convert(self, media, image_format, quality):
        assert media.data == self.sheet
        return Media(self.jpegs.pop(quality), f"image/{image_format}")


@pytest.fixture
def files():
    return Files()


def build(batches, files, **more):
    parts: Any = {"batches": batches, "jobs": None, "media": files, "images": files, "thumbnails": files}
    return GridUseCases(**parts, **more)


def large_jobs():
    return [make_job(name, size=(1024, 1024)) for name in "abcd"]


async def test_the_sheets_of_an_ended_grid_are_composed_of_whole_pictures_at_the_start(files):
    batches = Batches(*large_jobs())
    running = asyncio.create_task(build(batches, files).run_forever())
    await asyncio.wait_for(batches.saved.wait(), 10)
    running.cancel()

    [(pictures, sheets)] = batches.kept
    assert pictures == {name: name for name in "abcd"}
    assert [one.z for one in sheets] == [0, 1]
    assert (files.read_whole, files.read_small) == (list("abcd"), [])


@pytest.mark.parametrize(("sizes", "kept"), [((9,), "png"), ((9 * 10**6, 9), "jpeg"), ((9 * 10**6,) * 3, "jpeg")])
async def test_a_sheet_that_is_too_large_as_png_is_a_jpeg(files, sizes, kept):
    files.sheet, *jpegs = map(bytes, sizes)
    files.jpegs = dict(zip((92, 80), jpegs, strict=False))
    axes = [{"axis": "x", "option": "steps", "title": "steps", "values": [4]}]
    batches = Batches(make_job("a"), axes=axes, cells="a")
    running = asyncio.create_task(build(batches, files).run_forever())
    await asyncio.wait_for(batches.saved.wait(), 10)
    running.cancel()

    [(_, [sheet])] = batches.kept
    assert sheet.media.media_type == f"image/{kept}"
    assert not files.jpegs


async def test_a_sheet_so_far_is_drawn_of_thumbnails_where_they_are_large_enough(files):
    cells = [f"job{number}" for number in range(16)]
    axes = [{"axis": "x", "option": "seed", "title": "seed", "values": list(range(16))}]
    jobs = [make_job(name, size=(1024, 1024)) for name in cells[:2]]
    await build(Batches(*jobs, axes=axes, cells=cells), files).draw_so_far("ann", "g")
    await build(Batches(*large_jobs()), files).draw_so_far("ann", "g")

    assert files.read_small[:2] == [("job0", 256), ("job1", 256)]
    assert (files.read_small[2:], files.read_whole) == ([], list("abcd"))


async def test_a_picture_that_is_deleted_meanwhile_has_the_sheet_drawn_anew(files):
    batches = Batches(*large_jobs(), refusals=2)
    running = asyncio.create_task(build(batches, files).run_forever())
    await asyncio.wait_for(batches.saved.wait(), 10)
    running.cancel()

    assert len(batches.kept) == 1


async def test_a_failure_is_logged_and_tried_again_a_minute_later(files):
    files.failures, now = 1, [0.0]
    batches = Batches(*large_jobs())
    grids = build(batches, files, clock=lambda: now[0])
    with capture_logs() as logged:
        running = asyncio.create_task(grids.run_forever())
        for looked in range(1, 4):
            await asyncio.wait_for(batches.looked[looked].wait(), 10)
            now[0] += RETRY_S / 2
            grids.wake()
        await asyncio.wait_for(batches.saved.wait(), 10)
        running.cancel()

    assert [one["action"] for one in logged] == ["sheet_failed"]
    assert now[0] >= RETRY_S
