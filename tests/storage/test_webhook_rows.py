"""Events for webhooks in the outbox: written with the end of the job, once, and gone with an erased job."""

from datetime import UTC, datetime, timedelta

import pytest

from bot.jobs import JobError, JobState
from tests.storage.factories import accept, claim, make_origin, render, requeue

ORIGIN = make_origin(platform="web", space_id="web", webhook="studio")


@pytest.fixture
async def submitted(storage, ann):
    [job] = await accept(storage, ann, origin=ORIGIN)
    return job


async def due(storage):
    return [(one.kind, one.platform, one.target, one.job.state) for one in await storage.outbox.due_deliveries()]


async def render_it(storage, ann, job):
    await render(storage, await claim(storage))


async def fail_it(storage, ann, job):
    await storage.jobs.end_job(job.id, (await claim(storage)).attempt, JobState.FAILED, JobError(code="x", message="y"))


async def kill_it(storage, ann, job):
    await storage.jobs.end_job(job.id, (await claim(storage)).attempt, JobState.DEAD, JobError(code="x", message="y"))


async def fail_it_in_the_queue(storage, ann, job):
    await storage.jobs.fail_queued(job.id, JobError(code="x", message="y"))


async def cancel_it(storage, ann, job):
    await storage.jobs.request_cancel(job.id, ann.id)


async def cancel_it_while_it_runs(storage, ann, job):
    running = await claim(storage)
    await storage.jobs.request_cancel(job.id, ann.id)
    await render(storage, running)


async def interrupt_it_too_often(storage, ann, job):
    await claim(storage)
    await storage.jobs.requeue_interrupted(max_interruptions=0)


ENDINGS = {
    render_it: JobState.DELIVERED, fail_it: JobState.FAILED, kill_it: JobState.DEAD,
    fail_it_in_the_queue: JobState.FAILED, cancel_it: JobState.CANCELLED, cancel_it_while_it_runs: JobState.CANCELLED,
    interrupt_it_too_often: JobState.FAILED,
}  # fmt: skip


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
async def test_each_end_of_a_job_has_one_event(storage, ann, submitted, end):
    before = await due(storage)
    await end(storage, ann, submitted)

    assert before == []
    assert await due(storage) == [("webhook", "webhook", "studio", ENDINGS[end])]
    assert await storage.maintenance.check() == []


async def test_a_job_that_returns_to_the_queue_has_no_event_yet(storage, ann, submitted):
    await requeue(storage, await claim(storage), interrupted=True)

    assert await due(storage) == []


async def test_a_job_without_a_webhook_has_no_event(storage, ann):
    await accept(storage, ann, origin=make_origin(platform="web"))
    await render(storage, await claim(storage))

    assert await due(storage) == []


async def test_an_event_that_was_accepted_is_not_due_again_and_is_no_message(storage, ann, submitted):
    await render_it(storage, ann, submitted)
    [event] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(event, "")

    assert await due(storage) == []
    assert await storage.outbox.message_refs(submitted.id, "web") == []
    assert (await storage.jobs.get_job(submitted.id, ann.id)).version == event.job.version


async def test_an_erased_job_has_no_event_any_more(storage, ann, submitted):
    await render_it(storage, ann, submitted)
    [event] = await storage.outbox.due_deliveries()
    await storage.privacy.erase_job(submitted.id, ann.id)

    assert not await storage.outbox.is_pending(event)
    assert await due(storage) == []


async def test_a_job_that_was_erased_while_it_ran_has_no_event(storage, ann, submitted):
    running = await claim(storage)
    await storage.privacy.erase_job(submitted.id, ann.id)
    await render(storage, running)

    assert await due(storage) == []
    assert await storage.maintenance.check() == []


async def test_an_event_that_waits_does_not_prevent_linking_accounts(storage, ann):
    other = await storage.people.identify_account("telegram", "7", "Ann too")
    [job] = await accept(storage, other, origin=ORIGIN)
    await fail_it(storage, other, job)
    await storage.links.add_code(ann.id, "code", datetime.now(UTC) + timedelta(minutes=10))
    await storage.links.link(other.id, "code", None)

    assert await due(storage) == [("webhook", "webhook", "studio", JobState.FAILED)]


async def test_the_events_of_a_webhook_that_rests_are_not_due(storage, ann, submitted):
    await render_it(storage, ann, submitted)

    assert await storage.outbox.due_deliveries(excluded_webhooks={"studio"}) == []
    assert await storage.outbox.next_due_s(excluded_webhooks={"studio"}) is None
    assert len(await storage.outbox.due_deliveries(excluded_webhooks={"other"})) == 1
    assert await storage.outbox.next_due_s(excluded_webhooks={"other"}) == 0


async def test_old_events_are_given_up_together_and_no_others(storage, ann, submitted):
    await render_it(storage, ann, submitted)
    [other] = await accept(storage, ann, origin=make_origin(platform="web", space_id="web", webhook="other"))
    await render_it(storage, ann, other)
    [event, _] = await storage.outbox.due_deliveries()
    moment = datetime.now(UTC)

    await storage.outbox.give_up_events(event, before=moment - timedelta(days=1), reason="down")
    kept = len(await due(storage))
    await storage.outbox.give_up_events(event, before=moment + timedelta(seconds=1), reason="down")

    assert kept == 2
    assert [target for _, _, target, _ in await due(storage)] == ["other"]
