"""Data of one person is invisible to another."""

import pytest

from bot.errors import JobNotFound, MediaNotFound
from bot.jobs import ImageRef
from tests.storage.factories import accept, claim, make_media, make_picture, render


@pytest.fixture
async def belongings(storage, ann):
    """Ann's finished job with an uploaded image and a generated one."""
    uploaded = await storage.media.add_upload(ann.id, make_media(), width=8, height=8, parameters={"prompt": "secret"})
    made = await storage.media.write_file(make_media(b"made"))
    await accept(storage, ann, images=(ImageRef(uploaded.id),), search_text="secret fox")
    job = await render(storage, await claim(storage), media=(make_picture(made),), text="secret answer")
    return job, uploaded.id, made


async def test_jobs_of_others_are_neither_shown_nor_cancelled(storage, belongings, ben):
    job, *_ = belongings

    for asked in (storage.jobs.get_job(job.id, ben.id), storage.jobs.get_job(job.id[:6], ben.id)):
        with pytest.raises(JobNotFound):
            await asked
    with pytest.raises(JobNotFound):
        await storage.jobs.request_cancel(job.id, ben.id)


@pytest.mark.parametrize("q", ["", "secret", "fox", "answer"])
async def test_history_and_search_show_only_ones_own(storage, belongings, ann, ben, q):
    mine, _ = await storage.history.list_jobs(ann.id, state=None, q=q, before=None, limit=10)
    theirs, more = await storage.history.list_jobs(ben.id, state=None, q=q, before=None, limit=10)

    assert len(mine) == 1
    assert (theirs, more) == ([], None)


async def test_history_does_not_continue_from_a_job_of_others(storage, belongings, ben):
    job, *_ = belongings
    await accept(storage, ben)

    assert await storage.history.list_jobs(ben.id, state=None, q="", before=job.id, limit=10) == ([], None)


async def test_pictures_of_others_are_not_found(storage, belongings, ben):
    _, uploaded, made = belongings

    for media_id in (uploaded, made):
        with pytest.raises(MediaNotFound):
            await storage.media.get_image(media_id, ben.id)
        with pytest.raises(MediaNotFound):
            await storage.media.read_media(media_id, ben.id)


async def test_equal_bytes_do_not_reveal_the_parameters_of_anothers_file(storage, belongings, ben):
    theirs = await storage.media.add_upload(ben.id, make_media(), width=8, height=8, parameters=None)

    assert (await storage.media.get_image(theirs.id, ben.id)).parameters is None


async def test_quota_is_each_persons_own(storage, belongings, ann, ben):
    job, *_ = belongings
    day = job.created_at.date().isoformat()

    assert (await storage.ledger.daily_usage(ann.id, day)).used > 0
    assert (await storage.ledger.daily_usage(ben.id, day)).used == 0
