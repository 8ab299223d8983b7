from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from bot.jobs import JobError, JobState
from tests.storage.factories import accept, claim, render


async def due_kinds(storage):
    return [delivery.kind for delivery in await storage.outbox.due_deliveries()]


@pytest.fixture
async def asked(storage, ann):
    """A newly accepted job from a chat."""
    [job] = await accept(storage, ann, wants_delivery=True)
    return job


async def test_a_placeholder_is_owed_from_the_moment_of_acceptance(storage, asked):
    [placeholder] = await storage.outbox.due_deliveries()

    assert (placeholder.kind, placeholder.job, placeholder.tries) == ("placeholder", asked, 0)
    assert placeholder.message_ref is None
    assert len(placeholder.nonce) <= 25


async def test_a_job_that_came_by_the_page_owes_no_message(storage, ann):
    await accept(storage, ann, wants_delivery=False)
    await render(storage, await claim(storage))

    assert await storage.outbox.due_deliveries() == []
    assert await storage.outbox.next_due_s() is None


async def test_a_result_waits_for_its_placeholder_and_has_its_message_ref(storage, asked):
    await render(storage, await claim(storage))
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(placeholder, "message 5")
    [result] = await storage.outbox.due_deliveries()

    assert placeholder.kind == "placeholder"
    assert (result.kind, result.message_ref) == ("result", "message 5")
    assert result.job.state == JobState.RENDERED
    assert result.nonce != placeholder.nonce


async def test_a_confirmed_result_is_delivered(storage, asked, ann):
    await render(storage, await claim(storage))
    for _ in range(2):
        for delivery in await storage.outbox.due_deliveries():
            await storage.outbox.mark_sent(delivery, "message")
    job = await storage.jobs.get_job(asked.id, ann.id)

    assert job.state == JobState.DELIVERED
    assert await storage.outbox.due_deliveries() == []


async def test_confirming_twice_is_once(storage, asked, ann):
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(placeholder, "first")
    await storage.outbox.mark_sent(placeholder, "second")
    await storage.outbox.give_up(placeholder, "too late")
    await render(storage, await claim(storage))
    [result] = await storage.outbox.due_deliveries()

    assert result.message_ref == "first"


async def test_a_result_goes_out_without_its_placeholder_when_that_was_given_up(storage, asked):
    await render(storage, await claim(storage))
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.give_up(placeholder, "blocked")
    [result] = await storage.outbox.due_deliveries()

    assert (result.kind, result.message_ref) == ("result", None)


async def test_a_retry_waits_and_is_counted(storage, asked):
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.schedule_retry(placeholder, delay_s=30.0, reason="429")
    due_s = await storage.outbox.next_due_s()

    assert await storage.outbox.due_deliveries() == []
    assert 15 < due_s <= 30
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=31)):
        [again] = await storage.outbox.due_deliveries()
    assert again.tries == 1


async def test_an_undeliverable_result_stays_rendered_and_is_found_in_history(storage, asked, ann):
    await render(storage, await claim(storage))
    for _ in range(2):
        for delivery in await storage.outbox.due_deliveries():
            await storage.outbox.give_up(delivery, "left")
    page, _ = await storage.history.list_jobs(ann.id, state=JobState.RENDERED, q="", before=None, limit=5)

    assert [job.id for job in page] == [asked.id]
    assert await storage.outbox.due_deliveries() == []


@pytest.mark.parametrize("ending", ["failed", "cancelled", "cannot be had", "interrupted too often"])
async def test_every_ending_is_announced_in_the_chat(storage, asked, ann, ending):
    error = JobError(code="engine_failed", message="It went wrong.")
    if ending == "cancelled":
        await storage.jobs.request_cancel(asked.id, ann.id)
    elif ending == "cannot be had":
        await storage.jobs.fail_queued(asked.id, error)
    else:
        job = await claim(storage)
        if ending == "failed":
            await storage.jobs.end_job(job.id, job.attempt, JobState.FAILED, error)
        else:
            await storage.jobs.requeue_interrupted(max_interruptions=0)
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(placeholder, "message")
    [result] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(result, "message")

    assert result.job.state in (JobState.FAILED, JobState.CANCELLED)
    assert (await storage.jobs.get_job(asked.id, ann.id)).state == result.job.state
    assert await storage.ledger.find_imbalances() == []


async def test_the_oldest_come_first_and_no_more_than_asked(storage, ann):
    jobs = await accept(storage, ann, 5, wants_delivery=True)

    assert [delivery.job.id for delivery in await storage.outbox.due_deliveries(limit=3)] == [
        job.id for job in jobs[:3]
    ]


async def test_what_is_under_way_is_left_out_and_hides_nothing(storage, ann):
    jobs = await accept(storage, ann, 5, wants_delivery=True)

    found = await storage.outbox.due_deliveries(limit=2, excluded_jobs={jobs[0].id, jobs[2].id})

    assert [delivery.job.id for delivery in found] == [jobs[1].id, jobs[3].id]
    assert await storage.outbox.due_deliveries(excluded_jobs={job.id for job in jobs}) == []


async def test_a_running_job_owes_only_its_placeholder(storage, asked):
    await claim(storage)

    assert await due_kinds(storage) == ["placeholder"]


async def test_every_message_of_a_job_leads_to_it_even_after_years(storage, asked, ann):
    await render(storage, await claim(storage))
    for ref in ("7:1", "7:2"):  # the result took a new message
        [delivery] = await storage.outbox.due_deliveries()
        await storage.outbox.mark_sent(delivery, ref)
    await storage.outbox.remember_message(asked.id, "discord", "7:3")
    with time_machine.travel(datetime.now(UTC) + timedelta(days=900)):
        found = [await storage.outbox.find_job("discord", ref) for ref in ("7:1", "7:2", "7:3", "7:4")]
    elsewhere = await storage.outbox.find_job("telegram", "7:1")
    stand_at = await storage.outbox.message_refs(asked.id, "discord")

    assert sorted(stand_at) == ["7:1", "7:2", "7:3"]
    assert [job and job.id for job in found] == [asked.id, asked.id, asked.id, None]
    assert elsewhere is None


async def test_what_was_not_confirmed_leads_nowhere(storage, asked):
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.give_up(placeholder, "blocked")
    await storage.outbox.mark_sent(placeholder, "7:1")

    assert await storage.outbox.find_job("discord", "7:1") is None


async def test_open_jobs_with_a_sent_placeholder_are_watched(storage, ann):
    waiting, running, ended, unplaced = await accept(storage, ann, 4, wants_delivery=True)
    first, second, third, _ = await storage.outbox.due_deliveries()
    for delivery in (first, second, third):
        await storage.outbox.mark_sent(delivery, f"7:{delivery.job.id}")
    assert (await claim(storage)).id == waiting.id
    await storage.jobs.request_cancel(ended.id, ann.id)
    followed = await storage.outbox.watched()

    assert [(one.job.id, one.message_ref) for one in followed] == [
        (waiting.id, f"7:{waiting.id}"),
        (running.id, f"7:{running.id}"),
    ]
    assert unplaced.id not in {one.job.id for one in followed}


async def test_waiting_for_a_platform_that_is_off_is_no_try(storage, asked):
    for _ in range(5):
        [placeholder] = await storage.outbox.due_deliveries()
        await storage.outbox.schedule_retry(placeholder, delay_s=0, reason="the platform is off", is_try=False)
    [placeholder] = await storage.outbox.due_deliveries()

    assert placeholder.tries == 0


async def test_a_result_that_was_given_up_is_delivered_again_on_request_and_a_sent_one_is_not(storage, asked):
    await render(storage, await claim(storage))
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(placeholder, "first")
    [result] = await storage.outbox.due_deliveries()
    await storage.outbox.give_up(result, "blocked")
    await storage.outbox.deliver_again(asked.id)
    [again] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(again, "first")
    await storage.outbox.deliver_again(asked.id)

    assert (again.id, again.tries, again.message_ref) == (result.id, 0, "first")
    assert await storage.outbox.due_deliveries() == []
