"""Personal data: export, erasing a job, and forgetting a person, with a ledger that stays balanced."""

import asyncio
import json
import os
import threading
import time
import zipfile

import pytest

from bot.errors import JobNotFound, MediaNotFound, NotFound
from bot.jobs import ImageRef, JobState
from bot.ports import RequestKey
from storage import open_storage
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept, claim, make_media, make_origin, make_picture, make_result, render, requeue

SECRET = "a zebra in pyjamas"


async def upload(storage, owner, data=b"a photo"):
    return await storage.media.add_upload(owner.id, make_media(data), width=8, height=8, parameters=None)


async def ask(storage, owner, **overrides):
    """A job from a chat with a secret prompt."""
    plain = {"options": {"prompt": SECRET}, "search_text": SECRET, "wants_delivery": True}
    [job] = await accept(storage, owner, **{**plain, **overrides})
    return job


async def finish(storage, job, data=b"a picture"):
    """Claim it and save a result with one image."""
    running = await claim(storage, only=frozenset({job.id}))
    made = await storage.media.write_file(make_media(data))
    picture = make_picture(made, alt=SECRET)
    await storage.jobs.save_result(job.id, running.attempt, make_result(media=(picture,), text=SECRET))
    return made


async def deliver(storage, ref="5:6"):
    for delivery in await storage.outbox.due_deliveries():
        await storage.outbox.mark_sent(delivery, ref)


async def has_file(storage, media_id):
    try:
        await storage.media.read_media(media_id, None)
    except MediaNotFound:
        return False
    return True


async def everything_written(storage, data_dir):
    await storage.maintenance.backup(data_dir / "copy.db")
    return (data_dir / "copy.db").read_bytes()


async def assert_sound(storage):
    assert await storage.ledger.find_imbalances() == []
    assert await storage.maintenance.check() == []


async def test_a_deleted_job_is_found_nowhere_and_its_picture_is_gone(storage, ann, data_dir):
    job = await ask(storage, ann)
    made = await finish(storage, job)
    await deliver(storage)
    before = await storage.privacy.erase_job(job.id, ann.id)

    assert before.options == {"prompt": SECRET}
    for owner in (ann.id, None):
        with pytest.raises(JobNotFound):
            await storage.jobs.get_job(job.id, owner)
    assert await storage.history.list_jobs(ann.id, state=None, q="", before=None, limit=5) == ([], None)
    assert await storage.history.list_jobs(ann.id, state=None, q="zebra", before=None, limit=5) == ([], None)
    assert await storage.outbox.find_job("discord", "5:6") is None
    assert not await has_file(storage, made)
    assert SECRET.encode() not in await everything_written(storage, data_dir)
    await assert_sound(storage)


async def test_a_result_that_is_on_its_way_is_owed_no_longer(storage, ann):
    job = await ask(storage, ann)
    await finish(storage, job)
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(placeholder, "5:6")
    [result] = await storage.outbox.due_deliveries()
    before = await storage.outbox.is_pending(result)
    await storage.privacy.erase_job(job.id, ann.id)

    assert (before, await storage.outbox.is_pending(result)) == (True, False)
    await storage.outbox.mark_sent(result, "5:6")
    assert await storage.outbox.find_job("discord", "5:6") is None


async def test_somebody_elses_job_cannot_be_deleted(storage, ann, ben):
    job = await ask(storage, ann)

    with pytest.raises(JobNotFound):
        await storage.privacy.erase_job(job.id, ben.id)
    assert (await storage.jobs.get_job(job.id, ann.id)).state == JobState.QUEUED


async def test_deleting_a_queued_job_cancels_it_without_a_message(storage, ann):
    job = await ask(storage, ann)
    await storage.privacy.erase_job(job.id, ann.id)

    assert await storage.outbox.due_deliveries() == []
    assert await claim(storage) is None
    assert (await storage.ledger.daily_usage(ann.id, job.created_at.date().isoformat())).reserved == 0
    await assert_sound(storage)


@pytest.mark.parametrize("after", ["render", "fail", "requeue", "restart", "cancel"])
async def test_a_deleted_job_that_runs_brings_nothing_back(storage, ann, after):
    job = await ask(storage, ann)
    running = await claim(storage)
    await storage.privacy.erase_job(job.id, ann.id)
    await assert_sound(storage)
    made = await storage.media.write_file(make_media(b"late"))
    match after:
        case "render":
            ended = await render(storage, running, media=(make_picture(made),), text=SECRET)
            assert ended.state == JobState.CANCELLED
        case "fail":
            await storage.jobs.end_job(job.id, running.attempt, JobState.FAILED, None)
        case "requeue":
            await requeue(storage, running)
        case "restart":
            await storage.jobs.requeue_interrupted(max_interruptions=10)
        case "cancel":
            await storage.jobs.end_job(job.id, running.attempt, JobState.CANCELLED, None)

    assert await storage.outbox.due_deliveries() == []
    assert await claim(storage) is None
    assert not await has_file(storage, made)
    assert await storage.history.list_jobs(ann.id, state=None, q="", before=None, limit=5) == ([], None)
    await assert_sound(storage)


async def test_a_picture_that_another_job_uses_stays(storage, ann):
    photo = await upload(storage, ann)
    first = await ask(storage, ann, images=(ImageRef(photo.id),))
    second = await ask(storage, ann, images=(ImageRef(photo.id),))
    await storage.privacy.erase_job(first.id, ann.id)
    kept = await has_file(storage, photo.id)
    await storage.privacy.erase_job(second.id, ann.id)

    assert kept
    assert not await has_file(storage, photo.id)


async def test_a_picture_that_was_shared_stays_with_the_other_person(storage, ann, ben):
    job = await ask(storage, ann)
    made = await finish(storage, job)
    shared = await storage.media.share(made, ben.id)
    await storage.privacy.erase_job(job.id, ann.id)

    assert shared.id == made
    assert (await storage.media.read_media(made, ben.id)).data == b"a picture"
    with pytest.raises(MediaNotFound):
        await storage.media.get_image(made, ann.id)


async def test_sharing_does_not_reveal_the_parameters_of_the_upload(storage, ann, ben):
    photo = await storage.media.add_upload(ann.id, make_media(), width=8, height=8, parameters={"prompt": SECRET})
    shared = await storage.media.share(photo.id, ben.id)

    assert (shared.width, shared.parameters) == (8, None)
    with pytest.raises(MediaNotFound):
        await storage.media.share("0" * 64, ben.id)


async def test_sharing_with_oneself_changes_nothing(storage, ann):
    photo = await storage.media.add_upload(ann.id, make_media(), width=8, height=8, parameters={"prompt": "mine"})

    assert (await storage.media.share(photo.id, ann.id)).parameters == {"prompt": "mine"}


async def test_an_erased_job_is_no_answer_to_a_replay(storage, ann):
    job = await ask(storage, ann, key=RequestKey("k", "hash"))
    before = await storage.jobs.find_request("k")
    await storage.privacy.erase_job(job.id, ann.id)

    assert before == ("hash", (job,))
    assert await storage.jobs.find_request("k") == ("hash", ())
    assert await storage.jobs.find_request("another") is None


async def settled(storage, person):
    """A person with data of every kind: uploads, a shared image, settings, a key, jobs in every state."""
    photo = await upload(storage, person, b"a photo of " + person.name.encode())
    done = await ask(storage, person, images=(ImageRef(photo.id),), space=f"dm-{person.name}")
    await finish(storage, done, b"made for " + person.name.encode())
    await deliver(storage, f"{person.name}:1")
    open_job = await ask(storage, person, space=f"dm-{person.name}")
    running = await claim(storage, only=frozenset({open_job.id}))
    await ask(storage, person)
    await upload(storage, person, b"unused, of " + person.name.encode())
    await storage.people.set_setting(person.id, "steps", 30)
    await storage.people.add_key(f"p-{person.name}", "00", person, False)
    return running


async def test_a_forgotten_person_leaves_balanced_books_and_nothing_else(storage, ann, ben, data_dir):
    running = await settled(storage, ann)
    await settled(storage, ben)
    forgotten = await storage.privacy.forget_person(ann.id)
    written = await everything_written(storage, data_dir)
    again = await storage.people.identify_account("discord", "1", "Ann")

    assert [job.id for job in forgotten] == [running.id]
    assert b"Ann" not in written
    assert b"dm-Ann" not in written
    assert b"dm-Ben" in written
    assert again.id != ann.id
    assert await storage.people.get_settings(ann.id) == {}
    assert await storage.people.find_key("p-Ann") is None
    assert (await storage.history.list_jobs(ben.id, state=None, q="zebra", before=None, limit=9))[0]
    assert len(list((data_dir / "media").glob("??/??/*"))) == 3  # Ben's
    await assert_sound(storage)


async def test_a_running_job_of_a_forgotten_person_brings_nothing_back(storage, ann, data_dir):
    running = await settled(storage, ann)
    await storage.privacy.forget_person(ann.id)
    made = await storage.media.write_file(make_media(b"late"))
    ended = await render(storage, running, media=(make_picture(made),), text=SECRET)

    assert ended.state == JobState.CANCELLED
    assert not await has_file(storage, made)
    assert SECRET.encode() not in await everything_written(storage, data_dir)
    assert await storage.outbox.due_deliveries() == []
    await assert_sound(storage)


async def test_nothing_is_accepted_from_a_forgotten_person(storage, ann):
    await storage.privacy.forget_person(ann.id)

    with pytest.raises(NotFound):
        await accept(storage, ann)


async def test_asking_while_being_forgotten_leaves_nothing(storage, ann):
    async def ask_on():
        for _ in range(20):
            await accept(storage, ann)

    await accept(storage, ann, 3)
    asking = asyncio.create_task(ask_on())
    await storage.privacy.forget_person(ann.id)
    await asyncio.wait([asking])

    assert isinstance(asking.exception(), NotFound | None)
    assert await storage.history.list_jobs(ann.id, state=None, q="", before=None, limit=5) == ([], None)
    await assert_sound(storage)


async def test_many_jobs_are_forgotten_in_several_steps(storage, ann, monkeypatch):
    monkeypatch.setattr("storage.privacy.CHUNK", 3)
    await accept(storage, ann, 10)
    await storage.privacy.forget_person(ann.id)

    assert await storage.history.list_jobs(ann.id, state=None, q="", before=None, limit=5) == ([], None)
    await assert_sound(storage)


async def test_a_copy_has_every_row_and_every_picture_and_no_secret(storage, ann, ben):
    await settled(storage, ann)
    await settled(storage, ben)
    path = await storage.privacy.export_person(ann.id)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        rows = json.loads(archive.read("everything.json"))
        pictures = {archive.read(name) for name in names if name.startswith("pictures/")}

    assert len(rows["jobs"]) == 3
    assert {job["owner"] for job in rows["jobs"]} == {ann.id}
    assert rows["settings"] == [{"person": ann.id, "name": "steps", "value": 30}]
    assert pictures == {b"a photo of Ann", b"made for Ann", b"unused, of Ann"}
    assert "secret_hash" not in json.dumps(rows)
    assert "Ben" not in json.dumps(rows)
    assert rows["pictures_left_out"] == []
    assert path.stat().st_mode & 0o077 == 0


async def test_a_copy_has_no_token_that_a_platform_answers_to(storage, ann):
    await ask(storage, ann, origin=make_origin(extra={"token": "an-interaction's-token", "spoiler": True}))
    with zipfile.ZipFile(await storage.privacy.export_person(ann.id)) as archive:
        everything = archive.read("everything.json").decode()

    assert "an-interaction's-token" not in everything
    assert json.loads(everything)["jobs"][0]["origin"]["extra"] == {"spoiler": True}


async def test_a_copy_that_must_be_small_says_which_pictures_it_leaves_out(storage, ann):
    for number in range(4):
        await upload(storage, ann, bytes([number]) * 30_000)
    path = await storage.privacy.export_person(ann.id, max_bytes=70_000)
    with zipfile.ZipFile(path) as archive:
        rows = json.loads(archive.read("everything.json"))
        names = [name for name in archive.namelist() if name.startswith("pictures/")]

    assert path.stat().st_size <= 70_000
    assert (len(names), len(rows["pictures_left_out"])) == (2, 2)


async def test_exports_are_deleted_after_a_day(storage, ann):
    old, fresh = [await storage.privacy.export_person(ann.id) for _ in range(2)]
    yesterday = time.time() - 90_000
    os.utime(old, (yesterday, yesterday))
    await storage.privacy.delete_old_exports()

    assert (old.exists(), fresh.exists()) == (False, True)


async def test_exports_of_an_ended_process_are_deleted_by_the_next(storage, ann, data_dir):
    left = await storage.privacy.export_person(ann.id)
    async with open_storage(SETTINGS, data_dir) as after_restart:
        fresh = await after_restart.privacy.export_person(ann.id)
        await after_restart.privacy.delete_old_exports()

    assert (left.exists(), fresh.exists()) == (False, True)


async def test_an_export_that_is_written_while_its_person_is_forgotten_is_deleted(storage, ann, data_dir, monkeypatch):
    is_read, may_write = asyncio.Event(), threading.Event()
    write, loop = storage.privacy._write_zip, asyncio.get_running_loop()

    def write_late(*arguments):
        loop.call_soon_threadsafe(is_read.set)
        may_write.wait(5)
        return write(*arguments)

    monkeypatch.setattr(storage.privacy, "_write_zip", write_late)
    exporting = asyncio.create_task(storage.privacy.export_person(ann.id))
    await is_read.wait()
    await storage.privacy.forget_person(ann.id)
    may_write.set()

    with pytest.raises(NotFound):
        await exporting
    assert list((data_dir / "exports").iterdir()) == []


async def test_exports_are_gone_before_anything_else_is_forgotten(storage, ann, monkeypatch):
    """A process that ends in between resumes by what is left in the database."""
    path = await storage.privacy.export_person(ann.id)
    monkeypatch.setattr("storage.erasure.begin_forgetting", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await storage.privacy.forget_person(ann.id)

    assert not path.exists()


async def test_defaults_are_kept_per_person_and_cleared(storage, ann, ben):
    await storage.people.set_setting(ann.id, "steps", 30)
    await storage.people.set_setting(ann.id, "steps", 40)
    await storage.people.set_setting(ann.id, "aspect", "3:2")
    await storage.people.clear_setting(ann.id, "aspect")
    await storage.people.clear_setting(ann.id, "never set")

    assert await storage.people.get_settings(ann.id) == {"steps": 40}
    assert await storage.people.get_settings(ben.id) == {}
