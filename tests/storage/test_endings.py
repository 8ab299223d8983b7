"""How queued and running jobs end, with all effects."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from bot.errors import JobNotFound, NotCancellable
from bot.jobs import JobError, JobState
from tests.storage.factories import accept, claim, make_picture, make_result, render, requeue

WRONG = JobError(code="engine_failed", message="It went wrong.", incident="abcd")


async def usage(storage, person):
    spent = await storage.ledger.daily_usage(person.id, datetime.now(UTC).date().isoformat())
    return spent.used, spent.reserved


async def test_a_rendered_job_is_captured_and_kept_for_delivery(storage, ann):
    await accept(storage, ann, cost=2.0, wants_delivery=True)
    done = await render(storage, await claim(storage))

    assert (done.state, done.version, done.result) == (JobState.RENDERED, 3, make_result())
    assert done.finished_at is not None
    assert await usage(storage, ann) == (2.0, 0.0)


async def test_a_job_that_wants_no_delivery_is_delivered_immediately(storage, ann):
    await accept(storage, ann, wants_delivery=False)
    done = await render(storage, await claim(storage))

    assert done.state == JobState.DELIVERED
    assert done == await storage.jobs.get_job(done.id, ann.id)


async def test_result_pictures_belong_to_the_owner_of_the_job(storage, ann, ben):
    await accept(storage, ann)
    media_id = "a" * 64
    await render(storage, await claim(storage), media=(make_picture(media_id, alt="a fox"),))

    assert (await storage.media.get_image(media_id, ann.id)).alt == "a fox"


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.DEAD, JobState.CANCELLED])
async def test_an_ending_without_result_refunds_fully(storage, ann, state):
    await accept(storage, ann, cost=2.0)
    job = await claim(storage)
    ended = await storage.jobs.end_job(job.id, job.attempt, state, WRONG, used_s=1.0)

    assert (ended.state, ended.error) == (state, WRONG)
    assert await usage(storage, ann) == (0.0, 0.0)
    assert await storage.ledger.find_imbalances() == []


async def test_a_job_ends_only_in_states_that_are_ends(storage, ann):
    await accept(storage, ann)
    job = await claim(storage)

    with pytest.raises(ValueError, match="queued"):
        await storage.jobs.end_job(job.id, job.attempt, JobState.QUEUED, None)


async def test_the_result_of_a_lost_claim_is_discarded(storage, ann):
    await accept(storage, ann)
    old = await claim(storage)
    await storage.jobs.requeue_interrupted(max_interruptions=10)
    new = await claim(storage)

    assert await render(storage, old) is None
    assert await storage.jobs.end_job(old.id, old.attempt, JobState.FAILED, WRONG) is None
    assert await requeue(storage, old) is None
    assert (await render(storage, new)).result == make_result()
    assert await render(storage, new) is None
    assert await storage.ledger.find_imbalances() == []


async def test_of_many_concurrent_endings_one_counts(storage, ann):
    await accept(storage, ann)
    job = await claim(storage)
    endings = [render(storage, job), render(storage, job), requeue(storage, job)]
    endings += [storage.jobs.end_job(job.id, job.attempt, JobState.FAILED, WRONG), render(storage, job)]
    answers = await asyncio.gather(*endings)

    assert sum(answer is not None for answer in answers) == 1
    assert await storage.ledger.find_imbalances() == []


async def test_a_queued_job_is_cancelled_immediately_and_idempotently(storage, ann):
    [job] = await accept(storage, ann)
    first = await storage.jobs.request_cancel(job.id, ann.id)
    second = await storage.jobs.request_cancel(job.id, ann.id)

    assert (first.state, first.cancel_requested) == (JobState.CANCELLED, True)
    assert second == first
    assert await usage(storage, ann) == (0.0, 0.0)
    assert await claim(storage) is None


async def test_cancelling_a_running_job_is_reported_to_its_device(storage, ann):
    await accept(storage, ann)
    job = await claim(storage)
    asked = await storage.jobs.request_cancel(job.id, ann.id)
    again = await storage.jobs.request_cancel(job.id, ann.id)
    renewed = await storage.jobs.renew_leases({job.id: job.attempt}, 60.0)

    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert again == asked
    assert renewed.cancel_requested == {job.id}
    assert renewed.lost == frozenset()


async def test_a_result_that_comes_after_the_cancel_is_refunded(storage, ann):
    await accept(storage, ann)
    job = await claim(storage)
    await storage.jobs.request_cancel(job.id, ann.id)
    ended = await render(storage, job)

    assert (ended.state, ended.result) == (JobState.CANCELLED, None)
    assert await usage(storage, ann) == (0.0, 0.0)


async def test_a_job_whose_cancel_was_asked_does_not_return_to_the_queue(storage, ann):
    await accept(storage, ann)
    job = await claim(storage)
    await storage.jobs.request_cancel(job.id, ann.id)

    assert (await requeue(storage, job)).state == JobState.CANCELLED


async def test_an_ended_job_cannot_be_cancelled(storage, ann):
    await accept(storage, ann)
    done = await render(storage, await claim(storage))

    with pytest.raises(NotCancellable) as refused:
        await storage.jobs.request_cancel(done.id, ann.id)
    assert refused.value.state == "delivered"


async def test_a_queued_job_whose_model_is_unavailable_fails_with_a_refund(storage, ann):
    [job] = await accept(storage, ann)
    failed = await storage.jobs.fail_queued(job.id, WRONG)

    assert (failed.state, failed.error) == (JobState.FAILED, WRONG)
    assert await storage.jobs.fail_queued(job.id, WRONG) is None
    assert await usage(storage, ann) == (0.0, 0.0)


async def test_only_queued_jobs_of_other_models_are_stranded(storage, ann):
    await accept(storage, ann)
    first, second = await accept(storage, ann, 2, model="gone")
    [ended] = await accept(storage, ann, model="gone")
    await storage.jobs.request_cancel(ended.id, ann.id)

    assert [job.id for job in await storage.jobs.orphaned(["fox"], 9)] == [first.id, second.id]
    assert [job.id for job in await storage.jobs.orphaned(["fox"], 1)] == [first.id]
    assert await storage.jobs.orphaned(["fox", "gone"], 9) == []


@pytest.mark.parametrize(
    ("why", "counts"),
    [
        ({"crashed": True}, (1, 0, 0)),
        ({"interrupted": True}, (0, 1, 0)),
        ({}, (0, 0, 1)),
        ({"faultless": True}, (0, 0, 0)),
    ],
)
async def test_a_return_counts_what_caused_it(storage, ann, why, counts):
    await accept(storage, ann)
    back = await requeue(storage, await claim(storage), **why)

    assert (back.crashes, back.interruptions, back.failures) == counts
    assert (back.state, back.started_at) == (JobState.QUEUED, None)
    assert (await claim(storage)).attempt == 2


async def test_recovery_returns_all_running_jobs_in_their_order(storage, ann):
    jobs = await accept(storage, ann, 4)
    for _ in range(3):
        await claim(storage, max_running=9)
    returned = await storage.jobs.requeue_interrupted(max_interruptions=10)
    claimed = [await claim(storage, max_running=9) for _ in range(4)]

    assert returned == 3
    assert [job.id for job in claimed] == [job.id for job in jobs]
    assert [job.interruptions for job in claimed] == [1, 1, 1, 0]
    assert [job.crashes for job in claimed] == [0, 0, 0, 0]


async def test_recovery_gives_up_a_job_that_was_interrupted_too_often(storage, ann):
    [job] = await accept(storage, ann)
    for _ in range(2):
        await claim(storage)
        assert await storage.jobs.requeue_interrupted(max_interruptions=2) == 1
    await claim(storage)

    assert await storage.jobs.requeue_interrupted(max_interruptions=2) == 0
    ended = await storage.jobs.get_job(job.id, ann.id)
    assert (ended.state, ended.error.code) == (JobState.FAILED, "interrupted_too_often")
    assert await usage(storage, ann) == (0.0, 0.0)


async def test_recovery_cancels_what_was_to_be_cancelled(storage, ann):
    [job] = await accept(storage, ann)
    await claim(storage)
    await storage.jobs.request_cancel(job.id, ann.id)

    assert await storage.jobs.requeue_interrupted(max_interruptions=10) == 0
    assert (await storage.jobs.get_job(job.id, ann.id)).state == JobState.CANCELLED


async def test_only_jobs_whose_lease_ran_out_are_rescued(storage, ann):
    first, second = await accept(storage, ann, 2)
    await claim(storage, lease_s=60.0)
    kept = await claim(storage, lease_s=60.0)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=50)):
        await storage.jobs.renew_leases({kept.id: kept.attempt}, 60.0)
        assert await storage.jobs.requeue_expired(max_interruptions=10) == 0
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=70)):
        assert await storage.jobs.requeue_expired(max_interruptions=10) == 1

    assert (await storage.jobs.get_job(first.id, ann.id)).state == JobState.QUEUED
    assert (await storage.jobs.get_job(second.id, ann.id)).state == JobState.RUNNING


async def test_leases_of_others_are_lost(storage, ann):
    await accept(storage, ann, 2)
    mine, returned = await claim(storage), await claim(storage)
    await requeue(storage, returned)
    leases = {mine.id: mine.attempt, returned.id: returned.attempt, "unknown": 1}
    renewed = await storage.jobs.renew_leases(leases, 60.0)

    assert renewed.lost == {returned.id, "unknown"}


async def test_every_stored_change_grows_the_version(storage, ann):
    [job] = await accept(storage, ann)
    versions = [job.version]
    running = await claim(storage)
    versions.append(running.version)
    versions.append((await requeue(storage, running)).version)
    running = await claim(storage)
    versions.append(running.version)
    versions.append((await storage.jobs.request_cancel(job.id, ann.id)).version)
    versions.append((await render(storage, running)).version)

    assert versions == [1, 2, 3, 4, 5, 6]


async def test_a_job_is_found_by_a_prefix_that_only_it_has(storage, ann, ben):
    [first] = await accept(storage, ann, id="abcdaaaaaaaaaaaa")
    await accept(storage, ann, id="abceaaaaaaaaaaaa")
    await accept(storage, ben, id="abcdbbbbbbbbbbbb")

    assert (await storage.jobs.get_job("abcd", ann.id)).id == first.id
    assert (await storage.jobs.get_job("abcdaaaaaaaaaaaa", None)).id == first.id
    await accept(storage, ann, id="abcdcccccccccccc")
    for name in ("abc", "abcd", "abcz", "", "%", "abcdbbbbbbbbbbbb"):
        with pytest.raises(JobNotFound):
            await storage.jobs.get_job(name, ann.id)
