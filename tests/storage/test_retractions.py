"""Chat messages of what was erased elsewhere: the outbox keeps their references until they are gone."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select

from bot.errors import JobNotFound
from bot.queue.delivery import Deliverer
from bot.queue.progress import ProgressBus
from storage import retractions as retractions_module
from storage.schema import outbox
from tests.fakes import FakePlatform, eventually
from tests.storage.factories import accept, claim, make_media, make_picture, render


async def retractions(storage):
    """(target, refs) of all rows."""
    rows = select(outbox.c.target, outbox.c.refs).where(outbox.c.kind == "retract").order_by(outbox.c.id)
    return await storage.jobs._database.run_read(lambda tx: [tuple(row) for row in tx.execute(rows)])


async def send(storage, ref):
    """Deliver what is due as this message."""
    [due] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(due, ref)


@pytest.fixture
async def grid(storage, ann):
    """A delivered job with two pictures, its message and one for each picture; the second on another platform."""
    [job] = await accept(storage, ann, wants_delivery=True)
    await send(storage, "7:1")
    running = await claim(storage)
    made = tuple([make_picture(await storage.media.write_file(make_media(b"fox %d" % n))) for n in range(2)])
    await render(storage, running, media=made)
    await send(storage, "7:1")
    await storage.outbox.remember_message(job.id, "discord", "7:2", picture=1)
    await storage.outbox.remember_message(job.id, "telegram", "9:3", picture=2)
    return job


async def test_an_erased_jobs_messages_are_retracted_from_each_platform(storage, ann, grid):
    await storage.privacy.erase_job(grid.id, ann.id, retracts=True)
    await storage.privacy.erase_job(grid.id, ann.id, retracts=True)
    due = await storage.outbox.due_deliveries()

    assert [(one.kind, one.platform, one.refs, one.chat_id) for one in due] == [
        ("retract", "discord", ("7:1", "7:2"), "7"),
        ("retract", "telegram", ("9:3",), "9"),
    ]
    assert await storage.outbox.message_refs(grid.id, "discord") == []
    assert await storage.maintenance.check() == []


async def test_the_row_goes_with_the_last_message(storage, ann, grid):
    await storage.privacy.erase_job(grid.id, ann.id, retracts=True)
    first, second = await storage.outbox.due_deliveries()
    await storage.outbox.settle_retraction(first, ["7:2"])
    left = await retractions(storage)
    await storage.outbox.settle_retraction(first, ["7:1"])
    await storage.outbox.settle_retraction(second, ["9:3"])
    await storage.outbox.settle_retraction(second, ["9:3"])  # repeated after a crash

    assert left == [("discord", ["7:1"]), ("telegram", ["9:3"])]
    assert await retractions(storage) == []
    assert await storage.outbox.next_due_s() is None


async def test_one_picture_takes_the_messages_that_show_only_it(storage, ann, grid):
    for _ in range(2):
        await storage.privacy.erase_picture(grid.id, ann.id, 1, retracts=True)
    of_one = await retractions(storage)
    for _ in range(2):
        await storage.privacy.erase_picture(grid.id, ann.id, 2, retracts=True)

    assert of_one == [("discord", ["7:2"])]
    assert await retractions(storage) == [("discord", ["7:2", "7:1"]), ("telegram", ["9:3"])]


async def test_the_delete_button_leaves_the_messages_of_its_platform_to_the_adapter(storage, ann, grid):
    await storage.privacy.erase_picture(grid.id, ann.id, 1, retracts=True, besides="discord")
    of_one = await retractions(storage)
    await storage.privacy.erase_job(grid.id, ann.id, retracts=True, besides="discord")

    assert of_one == []
    assert await retractions(storage) == [("telegram", ["9:3"])]


@pytest.mark.parametrize("retracts", [True, False])
async def test_a_message_sent_while_its_job_is_erased_is_retracted(storage, ann, retracts):
    [job] = await accept(storage, ann, wants_delivery=True)
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.privacy.erase_job(job.id, ann.id, retracts=retracts)
    await storage.outbox.mark_sent(placeholder, "7:1")
    await storage.outbox.remember_message(job.id, "discord", "7:2")
    [due] = await storage.outbox.due_deliveries()

    assert (due.kind, due.refs) == ("retract", ("7:1", "7:2"))
    assert await storage.outbox.find_job("discord", "7:2") is None


async def test_a_result_that_is_computed_meanwhile_is_not_sent(storage, ann):
    [job] = await accept(storage, ann, wants_delivery=True)
    await send(storage, "7:1")
    running = await claim(storage)
    await storage.privacy.erase_job(job.id, ann.id, retracts=True)
    await render(storage, running)

    assert [one.kind for one in await storage.outbox.due_deliveries()] == ["retract"]


@pytest.mark.parametrize("call", ["post_placeholder", "edit_result"])
async def test_a_job_erased_while_its_message_is_being_written_leaves_nothing_in_the_chat(storage, ann, call):
    chat = FakePlatform("discord")
    chat.gates[call] = asyncio.Event()
    [job] = await accept(storage, ann, wants_delivery=True)
    outbox_worker = Deliverer(
        outbox=storage.outbox, media=storage.media, progress_bus=ProgressBus(), platforms={"discord": chat}
    )
    running = asyncio.create_task(outbox_worker.run_forever())
    if call == "edit_result":
        await eventually(lambda: chat.messages)
        await render(storage, await claim(storage))
        outbox_worker.wake()
    await eventually(lambda: chat.called(call))
    await storage.privacy.erase_job(job.id, ann.id, retracts=True)
    chat.gates[call].set()
    await eventually(lambda: chat.called("retract_message"))
    await eventually(lambda: not chat.messages)
    running.cancel()

    assert chat.messages == {}
    assert len(chat.called("retract_message")) == 1


async def test_messages_of_a_busy_job_wait_without_using_up_the_limit(storage, ann, grid):
    await storage.privacy.erase_job(grid.id, ann.id, retracts=True)
    [other] = await accept(storage, ann, wants_delivery=True)
    due = await storage.outbox.due_deliveries(1, excluded_jobs={grid.id})

    assert [one.job.id for one in due] == [other.id]


async def test_references_are_not_kept_for_a_platform_that_does_not_come_back(storage, ann, grid, monkeypatch):
    await storage.privacy.erase_job(grid.id, ann.id, retracts=True)
    first, second = await storage.outbox.due_deliveries()
    await storage.outbox.schedule_retry(first, delay_s=600, reason="off", is_try=False)
    monkeypatch.setattr(retractions_module, "KEPT", timedelta(0))
    await storage.outbox.schedule_retry(second, delay_s=600, reason="off", is_try=False)

    assert [target for target, _ in await retractions(storage)] == ["discord"]


async def test_others_cannot_erase_it(storage, ben, grid):
    with pytest.raises(JobNotFound):
        await storage.privacy.erase_job(grid.id, ben.id, retracts=True)
    with pytest.raises(JobNotFound):
        await storage.privacy.erase_picture(grid.id, ben.id, 1, retracts=True)

    assert await retractions(storage) == []
