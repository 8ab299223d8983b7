import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from bot.errors import IdempotencyConflict, MediaNotFound, QueueFull, QuotaExceeded, StorageFull
from bot.jobs import ImageRef, JobState
from bot.ports import Limits, RequestKey
from storage import StorageSettings, open_storage
from tests.storage.factories import accept, claim, make_media, make_new_job, render

EVENING = datetime(2026, 3, 1, 23, 59, 30, tzinfo=UTC)


async def usage(storage, person):
    return await storage.ledger.daily_usage(person.id, datetime.now(UTC).date().isoformat())


async def test_an_accepted_job_is_queued_and_its_cost_reserved(storage, ann):
    [job] = await accept(storage, ann, cost=2.5)

    assert job == await storage.jobs.get_job(job.id, ann.id)
    assert (job.state, job.version, job.attempt) == (JobState.QUEUED, 1, 0)
    assert (await usage(storage, ann)).reserved == 2.5
    assert await storage.ledger.find_imbalances() == []


async def test_an_accepted_job_is_there_after_the_storage_was_opened_again(data_dir):
    settings = StorageSettings(min_free_mb=0)
    async with open_storage(settings, data_dir) as storage:
        ann = await storage.people.identify_account("discord", "1", "Ann")
        [job] = await accept(storage, ann)

    async with open_storage(settings, data_dir) as storage:
        assert await storage.jobs.get_job(job.id, ann.id) == job


async def test_the_same_request_twice_is_one_job(storage, ann):
    key = RequestKey("tg:1:77", "hash")
    [first] = await accept(storage, ann, key=key)
    again = await storage.jobs.accept_jobs([make_new_job(ann)], key=key, limits=Limits(outstanding=0))

    assert again.is_replay
    assert again.jobs == (first,)
    assert (await usage(storage, ann)).reserved == 2.0


async def test_thirty_concurrent_copies_of_a_request_are_one_job(storage, ann):
    key = RequestKey("api:k:1", "hash")
    asked = [storage.jobs.accept_jobs([make_new_job(ann)], key=key, limits=Limits()) for _ in range(30)]
    answers = await asyncio.gather(*asked)

    assert len({answer.jobs[0].id for answer in answers}) == 1
    assert sum(not answer.is_replay for answer in answers) == 1


async def test_a_replay_shows_the_job_as_it_is_now(storage, ann):
    key = RequestKey("api:k:1", "hash")
    await accept(storage, ann, key=key)
    done = await render(storage, await claim(storage))
    again = await storage.jobs.accept_jobs([make_new_job(ann)], key=key, limits=Limits())

    assert again.jobs == (done,)


async def test_the_same_key_with_another_body_conflicts(storage, ann):
    await accept(storage, ann, key=RequestKey("api:k:1", "one"))

    with pytest.raises(IdempotencyConflict):
        await accept(storage, ann, key=RequestKey("api:k:1", "two"))


async def test_a_quote_is_good_for_one_acceptance(storage, ann):
    first = await storage.jobs.accept_jobs([make_new_job(ann)], key=None, limits=Limits(), quote="one-quote")
    again = await storage.jobs.accept_jobs([make_new_job(ann)], key=None, limits=Limits(), quote="one-quote")
    other = await storage.jobs.accept_jobs([make_new_job(ann)], key=None, limits=Limits(), quote="other-quote")

    assert again.is_replay
    assert again.jobs == first.jobs != other.jobs


async def test_a_batch_is_replayed_in_its_order(storage, ann):
    key = RequestKey("api:k:1", "hash")
    jobs = await accept(storage, ann, 20, key=key, batch="b")
    again = await storage.jobs.accept_jobs([make_new_job(ann)], key=key, limits=Limits())

    assert list(again.jobs) == jobs


async def test_all_jobs_are_accepted_or_none(storage, ann):
    with pytest.raises(QuotaExceeded):
        await accept(storage, ann, 3, cost=2.0, limits=Limits(daily_s=5.0))

    assert (await storage.jobs.count_by_state())[JobState.QUEUED] == 0
    assert (await usage(storage, ann)).reserved == 0
    assert await storage.ledger.find_imbalances() == []


async def test_a_refusal_says_what_is_left_and_when_the_day_ends(storage, ann):
    with time_machine.travel(EVENING, tick=False):
        await accept(storage, ann, cost=3.0)
        with pytest.raises(QuotaExceeded) as refused:
            await accept(storage, ann, cost=3.0, limits=Limits(daily_s=5.0))

    error = refused.value
    assert (error.limit, error.left, error.cost, error.retry_after_s) == (5.0, 2.0, 3.0, 30)
    assert error.resets_at == datetime(2026, 3, 2, tzinfo=UTC)


async def test_a_refusal_leaves_nothing_that_a_replay_could_find(storage, ann):
    key = RequestKey("api:k:1", "hash")
    with pytest.raises(QuotaExceeded):
        await accept(storage, ann, key=key, limits=Limits(daily_s=1.0))
    [job] = await accept(storage, ann, key=key)

    assert job.state == JobState.QUEUED


async def test_fifty_takers_of_a_quota_for_five_get_five(storage, ann):
    async def take():
        await accept(storage, ann, cost=1.0, limits=Limits(daily_s=5.0))

    answers = await asyncio.gather(*(take() for _ in range(50)), return_exceptions=True)

    assert sum(answer is None for answer in answers) == 5
    assert sum(isinstance(answer, QuotaExceeded) for answer in answers) == 45
    assert (await usage(storage, ann)).reserved == 5.0


async def test_costs_that_have_no_exact_binary_form_fill_the_quota_exactly(storage, ann):
    for _ in range(10):
        await accept(storage, ann, cost=0.1, limits=Limits(daily_s=1.0))
    for _ in range(10):
        await render(storage, await claim(storage))

    assert (await usage(storage, ann)).used == 1.0
    assert await storage.ledger.find_imbalances() == []


async def test_a_job_that_ends_after_midnight_is_charged_to_the_day_it_was_accepted_on(storage, ann):
    with time_machine.travel(EVENING, tick=False) as clock:
        await accept(storage, ann, cost=3.0)
        clock.shift(timedelta(minutes=1))
        await render(storage, await claim(storage))
        next_day = await usage(storage, ann)

    assert (await storage.ledger.daily_usage(ann.id, "2026-03-01")).used == 3.0
    assert (next_day.used, next_day.reserved) == (0, 0)
    assert await storage.ledger.find_imbalances() == []


async def test_a_demo_job_costs_nothing_even_when_the_quota_is_spent(storage, ann):
    await accept(storage, ann, cost=5.0, limits=Limits(daily_s=5.0))
    await accept(storage, ann, cost=0.0, limits=Limits(daily_s=5.0))

    assert (await usage(storage, ann)).reserved == 5.0
    assert await storage.ledger.find_imbalances() == []


async def test_a_person_may_have_only_so_many_unfinished_jobs(storage, ann, ben):
    limits = Limits(outstanding=3)
    await accept(storage, ann, 2, limits=limits)
    await claim(storage)
    await accept(storage, ann, limits=limits)

    with pytest.raises(QueueFull) as refused:
        await accept(storage, ann, limits=limits)
    assert (refused.value.limit, refused.value.is_global) == (3, False)
    await accept(storage, ben, limits=limits)


async def test_the_total_number_of_queued_jobs_is_limited(storage, ann, ben):
    limits = Limits(total_queued=2)
    await accept(storage, ann, 2, limits=limits)

    with pytest.raises(QueueFull) as refused:
        await accept(storage, ben, limits=limits)
    assert refused.value.is_global


async def test_pictures_must_be_ones_own(storage, ann, ben):
    picture = await storage.media.add_upload(ann.id, make_media(), width=8, height=8, parameters=None)
    images = (ImageRef(picture.id),)
    [job] = await accept(storage, ann, images=images)

    assert job.images == images
    with pytest.raises(MediaNotFound):
        await accept(storage, ben, images=images)
    with pytest.raises(MediaNotFound):
        await accept(storage, ann, images=(ImageRef("../../etc/passwd"),))


async def test_new_jobs_are_refused_when_the_disk_is_nearly_full_but_replays_and_results_are_not(data_dir):
    key = RequestKey("api:k:1", "hash")
    async with open_storage(StorageSettings(min_free_mb=0), data_dir) as storage:
        ann = await storage.people.identify_account("discord", "1", "Ann")
        await accept(storage, ann, key=key)

    async with open_storage(StorageSettings(min_free_mb=1 << 40), data_dir) as storage:
        with pytest.raises(StorageFull) as refused:
            await accept(storage, ann)
        again = await storage.jobs.accept_jobs([make_new_job(ann)], key=key, limits=Limits())
        done = await render(storage, await claim(storage))

    assert refused.value.need_mb == 1 << 40
    assert again.is_replay
    assert done is not None


async def test_one_request_has_one_owner(storage, ann, ben):
    with pytest.raises(ValueError, match="the same owner"):
        await storage.jobs.accept_jobs([make_new_job(ann), make_new_job(ben)], key=None, limits=Limits())


async def test_a_job_survives_unusual_values(storage, ann):
    prompt = "quote ' \" percent % null-ish \u2028 猫 🦊 :name ?"
    new = make_new_job(ann, options={"prompt": prompt, "seed": 4294967295, "list": [1, None]}, search_text=prompt)
    new = replace(new, origin=replace(new.origin, extra={"token": "a'b", "size": 8_000_000}))
    [job] = (await storage.jobs.accept_jobs([new], key=None, limits=Limits())).jobs

    assert job.options == new.options
    assert job.origin == new.origin
