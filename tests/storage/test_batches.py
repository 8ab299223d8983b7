"""Batches and the sheets of grids: when they are due, what they go with, and who has them."""

import json
import zipfile

import pytest

from bot.errors import MediaNotFound, NotFound
from bot.jobs import ImageRef, Media
from bot.ports import HistoryFilter
from bot.ports.batches import NewBatch, NewSheet
from storage import merge
from tests.storage.factories import PLENTY, accept, claim, make_media, make_new_job, make_picture, render

SPEC = {
    "axes": [
        {"axis": "x", "option": "prompt", "title": "prompt", "values": ["fox", "lynx"]},
        {"axis": "y", "option": "steps", "title": "steps", "values": [4, 8]},
    ],
}
ALL = {"unused_s": 0, "keep_days": 0, "max_gb": 0}


async def start(storage, owner):
    """A grid whose jobs wait."""
    new = [make_new_job(owner, batch="g", space="web") for _ in range(4)]
    batch = NewBatch(id="g", kind="grid", spec={**SPEC, "cells": [one.id for one in new]})
    return (await storage.jobs.accept_jobs(new, key=None, limits=PLENTY, batch=batch)).jobs


async def finish(storage, jobs):
    made = {}
    for number, one in enumerate(jobs):
        running = await claim(storage, only=frozenset({one.id}), max_running=99)
        made[one.id] = await storage.media.write_file(make_media(b"cell %d" % number))
        await render(storage, running, media=(make_picture(made[one.id]),), text=None)
    return made


def make_sheet(z=0, data=b"a sheet"):
    return NewSheet(z=z, media=Media(data, "image/png"), width=90, height=80, alt="Grid of pictures")


async def compose(storage, pictures, sheets=None):
    spec = (await storage.batches.get_batch("g", None)).spec
    return await storage.batches.save_sheets("g", spec, pictures, sheets or [make_sheet(), make_sheet(1, b"another")])


async def test_a_history_lists_each_grid_once(storage, ann):
    before = await accept(storage, ann, 1)
    cells = await start(storage, ann)
    after = await accept(storage, ann, 1)
    once = HistoryFilter(grids_once=True)
    shown, following = await storage.history.list_jobs(ann.id, state=None, q="", only=once, before=None, limit=2)
    rest, _ = await storage.history.list_jobs(ann.id, state=None, q="", only=once, before=following, limit=2)

    assert [job.id for job in (*shown, *rest)] == [after[0].id, cells[-1].id, before[0].id]
    await storage.privacy.erase_jobs([cells[-1].id], ann.id)
    shown, _ = await storage.history.list_jobs(ann.id, state=None, q="", only=once, before=None, limit=2)
    assert shown[1].id == cells[-2].id


@pytest.fixture
async def jobs(storage, ann):
    return await start(storage, ann)


@pytest.fixture
async def pictures(storage, jobs):
    """The pictures by the ids of their jobs, on two sheets."""
    made = await finish(storage, jobs)
    assert await compose(storage, made)
    return made


async def sheets_of(storage):
    record = await storage.batches.get_batch("g", None)
    return [one.image.id for one in record.sheets]


async def test_a_grids_sheets_are_due_once_its_last_job_has_ended(storage, jobs):
    assert await storage.batches.list_due() == []
    made = await finish(storage, jobs[:3])
    assert await storage.batches.list_due() == []
    await storage.jobs.request_cancel(jobs[3].id, jobs[3].owner)
    assert await storage.batches.list_due() == ["g"]
    assert await compose(storage, made)
    assert await storage.batches.list_due() == []


async def test_a_batch_of_combinations_has_no_sheets_and_is_never_due(storage, ann):
    for one in await accept(storage, ann, 2, batch="both"):
        await storage.jobs.request_cancel(one.id, ann.id)

    assert await storage.batches.list_due() == []
    assert (await storage.batches.get_batch("both", ann.id)).kind == "prompts"


async def test_a_batch_is_its_owners_alone(storage, ann, ben, pictures):
    record = await storage.batches.get_batch("g", ann.id)

    assert [one.id for one in record.jobs] == record.spec["cells"]
    assert [(one.z, one.image.width, one.image.alt) for one in record.sheets] == [
        (0, 90, "Grid of pictures"),
        (1, 90, "Grid of pictures"),
    ]
    assert (await storage.media.get_image(record.sheets[0].image.id, ann.id)).alt == "Grid of pictures"
    with pytest.raises(NotFound):
        await storage.batches.get_batch("g", ben.id)
    with pytest.raises(MediaNotFound):
        await storage.media.get_image(record.sheets[0].image.id, ben.id)
    with pytest.raises(NotFound):
        await storage.batches.get_batch("unknown", None)


async def test_sheets_that_are_ready_are_a_change_of_the_last_job(storage, ann, jobs):
    made = await finish(storage, jobs)
    before = await storage.changes.last_change(ann.id)
    await compose(storage, made)

    assert [one.job.id for one in await storage.changes.list_changes(ann.id, before, 10)] == [jobs[-1].id]


async def test_sheets_stay_while_the_grid_does_and_are_no_uploads(storage, ann, jobs, pictures):
    before = await sheets_of(storage)
    usage = await storage.media.upload_usage(ann.id, jobs[0].created_at)
    await storage.media.sweep(**ALL)

    assert await sheets_of(storage) == before
    assert usage.used == 0
    assert await storage.maintenance.check() == []


async def test_a_deleted_cell_takes_the_sheets_which_are_due_again_and_its_own_words(storage, ann, jobs, pictures):
    sheets = await sheets_of(storage)
    for job in (jobs[1], jobs[3]):  # all cells of the second prompt
        await storage.privacy.erase_job(job.id, ann.id)
    record = await storage.batches.get_batch("g", ann.id)

    assert (record.sheets, await storage.batches.list_due()) == ((), ["g"])
    for sheet in sheets:
        with pytest.raises(MediaNotFound):
            await storage.media.read_media(sheet, None)
    assert [axis["values"] for axis in record.spec["axes"]] == [["fox", None], [4, 8]]
    assert record.spec["cells"] == [job.id for job in jobs]


async def test_a_deleted_picture_of_several_takes_the_sheets(storage, ann, jobs):
    made = await finish(storage, jobs[:3])
    running = await claim(storage, only=frozenset({jobs[3].id}), max_running=99)
    both = [await storage.media.write_file(make_media(data)) for data in (b"one", b"two")]
    await render(storage, running, media=tuple(map(make_picture, both)), text=None)
    assert await compose(storage, {**made, jobs[3].id: both[0]})
    await storage.privacy.erase_picture(jobs[3].id, ann.id, 1)

    assert await sheets_of(storage) == []
    assert await storage.batches.list_due() == ["g"]


async def test_a_sheet_with_a_picture_that_was_deleted_meanwhile_is_not_kept(storage, ann, jobs):
    made = await finish(storage, jobs)
    await storage.privacy.erase_job(jobs[0].id, ann.id)

    assert not await compose(storage, made)
    assert await sheets_of(storage) == []
    assert await storage.batches.list_due() == ["g"]


async def test_a_sheet_with_words_that_were_deleted_meanwhile_is_not_kept(storage, ann, jobs):
    made = await finish(storage, jobs)
    spec = (await storage.batches.get_batch("g", None)).spec
    for job in (jobs[1], jobs[3]):
        await storage.privacy.erase_job(job.id, ann.id)
        del made[job.id]

    assert not await storage.batches.save_sheets("g", spec, made, [make_sheet()])


async def test_a_sheet_that_another_job_was_given_stays_for_that_job(storage, ann, jobs, pictures):
    sheet = (await sheets_of(storage))[0]
    await accept(storage, ann, images=(ImageRef(sheet),))
    await storage.privacy.erase_job(jobs[0].id, ann.id)

    assert await sheets_of(storage) == []
    assert await storage.media.read_media(sheet, ann.id)


async def test_the_batch_and_its_sheets_go_with_its_last_job(storage, ann, jobs, pictures):
    sheets = await sheets_of(storage)
    for job in jobs:
        await storage.privacy.erase_job(job.id, ann.id)

    with pytest.raises(NotFound):
        await storage.batches.get_batch("g", None)
    for media_id in (*sheets, *pictures.values()):
        with pytest.raises(MediaNotFound):
            await storage.media.read_media(media_id, None)
    assert await storage.maintenance.check() == []


async def test_retention_takes_the_sheets_with_the_pictures_and_composes_none_anew(storage, ann, jobs, pictures):
    sheets = await sheets_of(storage)
    swept = await storage.media.sweep(unused_s=3600, keep_days=0, max_gb=1e-12)

    assert swept.files == len(pictures) + len(sheets)
    assert await sheets_of(storage) == []
    assert await storage.batches.list_due() == []
    assert len((await storage.batches.get_batch("g", ann.id)).jobs) == 4


async def test_forgetting_a_person_takes_their_grids_and_an_export_has_them(storage, ann, pictures):
    path = await storage.privacy.export_person(ann.id)
    with zipfile.ZipFile(path) as archive:
        rows, names = json.loads(archive.read("everything.json")), archive.namelist()
    sheets = await sheets_of(storage)
    await storage.privacy.forget_person(ann.id)

    assert [one["kind"] for one in rows["batches"]] == ["grid"]
    assert [one["media"] for one in rows["batch_sheets"]] == sheets
    assert all(any(media_id in name for name in names) for media_id in sheets)
    with pytest.raises(NotFound):
        await storage.batches.get_batch("g", None)
    with pytest.raises(MediaNotFound):
        await storage.media.read_media(sheets[0], None)
    assert await storage.maintenance.check() == []


async def test_a_linked_person_keeps_the_grid_of_the_other(storage, ann, ben, pictures):
    await storage.links._database.run_write(
        lambda tx: merge.merge_persons(tx, storage.links._database.dialect, kept=ben.id, emptied=ann.id)
    )
    record = await storage.batches.get_batch("g", ben.id)

    assert len(record.sheets) == 2
    assert await storage.media.read_media(record.sheets[0].image.id, ben.id)
    assert await storage.maintenance.check() == []
