"""Single pictures in the database: numbers that stay, the composed photo, messages that show one, favourites."""

import pytest
from sqlalchemy import update

from bot.errors import ImageGone, JobNotFound, MediaNotFound, NotFound
from bot.jobs import Media, Result
from bot.ports import HistoryFilter
from storage.mapping import from_result, to_result
from storage.schema import job as job_table
from tests.storage.factories import accept, claim, make_media, make_picture, make_result

SHEET = Media(b"a sheet of foxes", "image/png")


@pytest.fixture
async def grid(storage, ann):
    """A delivered job with three pictures and a message for each of them and for all."""
    [job] = await accept(storage, ann, wants_delivery=True)
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(placeholder, "7:1")
    running = await claim(storage)
    made = tuple([make_picture(await storage.media.write_file(make_media(b"fox %d" % n))) for n in range(3)])
    await storage.jobs.save_result(job.id, running.attempt, make_result(media=made))
    [result] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(result, "7:1")
    for number in (1, 2):
        await storage.outbox.remember_message(job.id, "discord", f"7:{number + 1}", picture=number)
    await storage.media.save_sheet(job.id, [one.id for one in made], SHEET, width=9, height=9)
    return await storage.jobs.get_job(job.id, ann.id)


async def has(storage, media_id):
    try:
        return bool(await storage.media.read_media(media_id, None))
    except MediaNotFound:
        return False


async def test_one_picture_goes_with_all_that_refers_to_it_and_the_others_keep_their_numbers(storage, ann, grid):
    for number in (2, 3):
        await storage.pictures.set_favourite(ann.id, grid.id, number, is_favourite=True)
    before = await storage.privacy.erase_picture(grid.id, ann.id, 2)
    after = await storage.jobs.get_job(grid.id, ann.id)

    assert before.result.media == grid.result.media
    assert [one and one.number for one in after.result.pictures] == [1, None, 3]
    assert [await has(storage, one.id) for one in grid.result.media] == [True, False, True]
    assert await storage.media.read_sheet(grid.id) is None
    assert await storage.outbox.message_refs(grid.id, "discord") == ["7:1", "7:2"]
    assert not await storage.pictures.toggle_favourite(ann.id, grid.id, 3)
    with pytest.raises(ImageGone):
        await storage.pictures.set_favourite(ann.id, grid.id, 2, is_favourite=True)
    assert await storage.maintenance.check() == []
    assert await storage.ledger.find_imbalances() == []


async def test_a_picture_deleted_while_the_result_is_being_sent_is_taken_out_afterwards(storage, ann, grid):
    await storage.privacy.erase_picture(grid.id, ann.id, 1)
    [underway] = await storage.outbox.due_deliveries()
    await storage.privacy.erase_picture(grid.id, ann.id, 2)
    await storage.outbox.mark_sent(underway, "7:1")
    [again] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(again, "7:1")

    assert [one.number for one in underway.job.result.media] == [2, 3]
    assert [one.number for one in again.job.result.media] == [3]
    assert (again.message_ref, again.is_update) == ("7:1", True)
    assert await storage.outbox.due_deliveries() == []


async def test_the_jobs_message_is_delivered_again_in_place(storage, ann, grid):
    await storage.privacy.erase_picture(grid.id, ann.id, 2)
    [update_] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(update_, "7:1")

    assert (update_.kind, update_.message_ref, update_.is_update) == ("result", "7:1", True)
    assert [one.number for one in update_.job.result.media] == [1, 3]
    assert await storage.outbox.due_deliveries() == []
    assert (await storage.jobs.get_job(grid.id, ann.id)).state == "delivered"


async def test_the_job_goes_with_its_last_picture_and_deleting_again_changes_nothing(storage, ann, ben, grid):
    for number in (1, 2, 2, 3):
        await storage.privacy.erase_picture(grid.id, ann.id, number)

    with pytest.raises(JobNotFound):
        await storage.jobs.get_job(grid.id, ann.id)
    with pytest.raises(JobNotFound):
        await storage.privacy.erase_picture(grid.id, ben.id, 1)
    assert await storage.outbox.message_refs(grid.id, "discord") == []


async def test_a_picture_that_never_was_is_not_found(storage, ann, grid):
    for number in (0, 4, -1):
        with pytest.raises(NotFound):
            await storage.privacy.erase_picture(grid.id, ann.id, number)


async def test_a_sheet_is_no_upload_and_goes_with_the_first_of_its_pictures(storage, ann, grid):
    await storage.pictures.set_favourite(ann.id, grid.id, 2, is_favourite=True)
    usage = await storage.media.upload_usage(ann.id, grid.created_at)
    kept = await storage.media.read_sheet(grid.id)
    await storage.media.sweep(unused_s=0, keep_days=0, max_gb=1e-12)

    assert usage.used == 0
    assert kept == SHEET
    assert await storage.media.read_sheet(grid.id) is None
    assert await storage.history.count_jobs(ann.id, state=None, q="", only=HistoryFilter(favourite=True)) == 0


async def test_a_sheet_that_shows_a_picture_deleted_meanwhile_is_not_kept(storage, ann, grid):
    composed = [one.id for one in grid.result.media]
    await storage.privacy.erase_picture(grid.id, ann.id, 1)
    await storage.media.save_sheet(grid.id, composed, Media(b"too late", "image/png"), width=9, height=9)

    assert await storage.media.read_sheet(grid.id) is None


async def test_forgetting_and_erasing_take_the_sheet(storage, ann, grid):
    await storage.privacy.erase_job(grid.id, ann.id)

    assert await storage.media.read_sheet(grid.id) is None
    assert await storage.maintenance.check() == []


async def test_a_message_shows_one_picture_until_it_shows_something_else(storage, grid):
    assert await storage.outbox.find_picture("discord", "7:2") == 1
    assert await storage.outbox.find_picture("discord", "7:1") == 0
    assert await storage.outbox.find_picture("telegram", "7:2") == 0
    assert await storage.outbox.message_refs(grid.id, "discord", picture=2) == ["7:3"]


async def test_results_of_earlier_versions_get_their_numbers(storage, ann, grid):
    stored = from_result(grid.result)
    stored.pop("places")
    for image in stored["media"]:
        image.pop("number")
    old = update(job_table).where(job_table.c.id == grid.id).values(result=stored)
    await storage.jobs._database.run_write(lambda tx: tx.execute(old).rowcount)
    read = await storage.jobs.get_job(grid.id, ann.id)

    assert [one.number for one in read.result.media] == [1, 2, 3]
    assert read.result.places == 3
    assert to_result(from_result(Result())).places == 0


async def test_the_history_counts_and_lists_by_favourites_command_and_model(storage, ann, ben, grid):
    await accept(storage, ann, 2, command="caption", model="owl")
    await storage.pictures.set_favourite(ann.id, grid.id, 2, is_favourite=True)

    async def found(person, **only):
        chosen = {"state": None, "q": "", "only": HistoryFilter(**only)}
        jobs, _ = await storage.history.list_jobs(person.id, before=None, limit=1, **chosen)
        return len(jobs), await storage.history.count_jobs(person.id, **chosen)

    assert await found(ann) == (1, 3)
    assert await found(ann, favourite=True) == (1, 1)
    assert await found(ann, command="caption") == (1, 2)
    assert await found(ann, model="fox", favourite=True) == (1, 1)
    assert await found(ann, model="owl", favourite=True) == (0, 0)
    assert await found(ben, favourite=True) == (0, 0)
