"""A grid's message while it is filled."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from bot.jobs import JobState, Media, Result, StoredImage
from bot.queue import delivery, message_progress
from bot.queue.grid_message import GridCell, as_message
from bot.queue.message_progress import MessageProgress
from bot.queue.progress import ProgressBus
from tests.fakes import FakeMediaStore, FakeOutbox, FakePlatform, eventually, make_chat_job, make_result

DONE, RUNNING = JobState.DELIVERED, JobState.RUNNING


class Grids:
    """One grid of two cells; `shown` is it as it is now."""

    def __init__(self):
        jobs = [make_chat_job(batch="grid", state=RUNNING) for _ in range(2)]
        cells = [GridCell(name=f"a{n}", title="", z=0, job=job) for n, job in enumerate(jobs, 1)]
        self.shown = as_message(jobs[0], grid="grid", axes=(), cells=tuple(cells))
        self.drawn = 0

    def end(self, *states):
        cells = [replace(cell, job=replace(cell.job, state=state)) for cell, state in zip(self.shown.cells, states)]  # noqa: B905
        self.shown = as_message(cells[0].job, grid="grid", axes=(), cells=tuple(cells))

    async def find(self, job):
        return self.shown

    async def draw_preview(self, shown):
        self.drawn += 1
        return b"a sheet"


@pytest.fixture(autouse=True)
def quick_filling(monkeypatch):
    monkeypatch.setattr(message_progress, "GRID_INTERVAL_S", 0.001)


@asynccontextmanager
async def following(grids, chat, bus):
    progress = MessageProgress(progress_bus=bus, grids=grids)
    async with asyncio.TaskGroup() as group:
        progress.start(chat, grids.shown, "m1", group)
        await asyncio.sleep(0)
        yield progress
        await progress.stop(grids.shown)


def change(bus, grids):
    bus.publish_change(grids.shown.cells[1].job.id)


@pytest.fixture
def chat():
    chat = FakePlatform()
    chat.messages["m1"] = []
    return chat


async def test_each_change_of_a_cell_shows_the_sheet_so_far(chat):
    grids, bus = Grids(), ProgressBus()
    async with following(grids, chat, bus):
        grids.end(DONE, RUNNING)
        change(bus, grids)
        await eventually(lambda: chat.called("show_progress"))

    [shown] = chat.called("show_progress")
    progress = shown.progress
    assert (progress.step, progress.steps, progress.preview) == (1, 2, b"a sheet")
    assert not bus.is_watched(grids.shown.id)  # nobody needs previews of single cells


async def test_what_the_limits_do_not_allow_now_is_shown_without_a_further_change(chat):
    grids, bus, answers = Grids(), ProgressBus(), [False, False, True]
    allow = chat.show_progress

    async def show(job, message_ref, progress):
        await allow(job, message_ref, progress)
        return answers.pop(0)

    chat.show_progress = show
    async with following(grids, chat, bus):
        change(bus, grids)
        await eventually(lambda: not answers)

    assert len(chat.called("show_progress")) == 3


async def test_an_ended_grid_is_left_to_its_result(chat):
    grids, bus = Grids(), ProgressBus()
    async with following(grids, chat, bus):
        grids.end(DONE, DONE)
        change(bus, grids)
        await asyncio.sleep(0.01)

    assert (chat.called("show_progress"), grids.drawn) == ([], 0)


class UnreadyGrids(Grids):
    """Its sheets are composed at the third look."""

    looks = 0

    async def find(self, job):
        self.looks += 1
        sheet = StoredImage(id="0" * 64, media_type="image/png", width=9, height=9)
        result = Result(media=(sheet,) if self.looks > 2 else ())
        cells = tuple(replace(one, job=replace(one.job, state=DONE)) for one in self.shown.cells)
        return as_message(job, grid="grid", axes=(), cells=cells, result=result)

    async def read_sheets(self, shown):
        return [Media(b"the sheet", "image/png")] if shown.result.media else []


async def test_a_result_waits_for_sheets_that_could_not_be_composed_yet(chat, monkeypatch):
    monkeypatch.setattr(delivery, "back_off_s", lambda tries: 0.002)
    grids, outbox = UnreadyGrids(), FakeOutbox()
    job = replace(grids.shown.cells[0].job, state=JobState.RENDERED, result=make_result())
    outbox.refs[job.id] = "m1"
    outbox.enqueue(job, "result")
    worker = delivery.Deliverer(
        outbox=outbox, media=FakeMediaStore(), progress_bus=ProgressBus(), platforms={chat.name: chat}
    )
    worker.connect_grids(grids)
    running = asyncio.create_task(worker.run_forever())
    await eventually(lambda: not outbox.pending)
    running.cancel()

    assert chat.messages["m1"] == [(b"the sheet",)]
