"""The one message of a grid on a chat platform: it waits for all cells, and survives the deletion of some."""

import pytest
from sqlalchemy import insert, update

from bot.jobs import JobState, new_job_id
from storage.picture_tables import batch
from storage.schema import job as job_table
from tests.storage.factories import accept, claim, make_media, make_picture, render

REF = "7:1"


async def make_grid(storage, person, count=3, kind="grid"):
    """Its first job wants delivery, and its placeholder is sent."""
    [lead] = await accept(storage, person, wants_delivery=True)
    cells = [lead, *(await accept(storage, person, count - 1))]
    name = new_job_id()

    axes = [{"axis": "x", "option": "steps", "title": "steps", "values": list(range(1, count + 1))}]
    spec = {"axes": axes, "cells": [one.id for one in cells]}

    def join(tx):
        tx.execute(insert(batch), {"id": name, "owner": person.id, "kind": kind, "spec": spec})
        tx.execute(update(job_table).where(job_table.c.id.in_([one.id for one in cells])).values(batch=name))

    await storage.jobs._database.run_write(join)
    [placeholder] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(placeholder, REF)
    return cells


async def end(storage, count, **overrides):
    for _ in range(count):
        claimed = await claim(storage, max_running=9)
        picture = make_picture(await storage.media.write_file(make_media(claimed.id.encode())))
        await render(storage, claimed, media=(picture,), **overrides)


async def send_due(storage):
    [due] = await storage.outbox.due_deliveries()
    await storage.outbox.mark_sent(due, due.message_ref)
    return due


async def due(storage):
    return [(one.job.id, one.kind, one.message_ref) for one in await storage.outbox.due_deliveries()]


async def test_the_result_of_a_grid_waits_for_its_last_cell(storage, ann):
    first, *_ = await make_grid(storage, ann)
    await end(storage, 2)
    early, next_due = await due(storage), await storage.outbox.next_due_s()
    await end(storage, 1)

    assert (early, next_due) == ([], None)
    assert await due(storage) == [(first.id, "result", REF)]


async def test_a_result_of_several_prompts_waits_for_no_other(storage, ann):
    first, *_ = await make_grid(storage, ann, kind="prompts")
    await end(storage, 1)

    assert await due(storage) == [(first.id, "result", REF)]


async def test_progress_is_resumed_until_the_last_cell_has_ended(storage, ann):
    first, *_ = await make_grid(storage, ann)
    await end(storage, 2)
    open_ones = [one.job.id for one in await storage.outbox.watched()]
    await end(storage, 1)

    assert open_ones == [first.id]
    assert await storage.outbox.watched() == []


async def test_deleting_a_cell_delivers_the_message_again(storage, ann):
    first, second, _ = await make_grid(storage, ann)
    await end(storage, 3)
    await send_due(storage)
    await storage.privacy.erase_job(second.id, ann.id, retracts=True)

    assert await due(storage) == [(first.id, "result", REF)]
    assert await storage.maintenance.check() == []


@pytest.mark.parametrize("ended", [0, 1, 2, 3])
async def test_the_message_is_handed_over_when_its_own_cell_is_deleted(storage, ann, ended):
    first, second, _ = await make_grid(storage, ann)
    await storage.outbox.remember_message(first.id, "discord", "7:9", picture=1)
    await end(storage, ended)
    await storage.privacy.erase_job(first.id, ann.id, retracts=True)
    retracted = [one.refs for one in await storage.outbox.due_deliveries() if one.kind == "retract"]
    await end(storage, max(0, 2 - max(0, ended - 1)))
    of_message = await storage.outbox.find_job("discord", REF)

    assert retracted == [("7:9",)]
    assert of_message.id == second.id
    assert (second.id, "result", REF) in await due(storage)
    assert await storage.maintenance.check() == []


async def test_a_message_that_is_confirmed_after_it_was_handed_over_is_sent_again_for_its_new_job(storage, ann):
    first, second, _ = await make_grid(storage, ann)
    await end(storage, 3)
    [sending] = await storage.outbox.due_deliveries()
    await storage.privacy.erase_job(first.id, ann.id)
    await storage.outbox.mark_sent(sending, REF)

    assert await due(storage) == [(second.id, "result", REF)]
    assert (await storage.outbox.find_job("discord", REF)).id == second.id


async def test_sheets_that_were_sent_again_go_with_the_first_cell_that_is_deleted(storage, ann):
    first, second, _ = await make_grid(storage, ann)
    await end(storage, 3)
    await send_due(storage)
    await storage.outbox.remember_message(first.id, "discord", "7:9")
    await storage.privacy.erase_job(second.id, ann.id, retracts=True)
    due_kinds = {(one.kind, one.refs) for one in await storage.outbox.due_deliveries()}

    assert due_kinds == {("retract", ("7:9",)), ("result", ())}
    assert await storage.outbox.find_job("discord", "7:9") is None


async def test_the_message_goes_with_the_last_cell(storage, ann):
    cells = await make_grid(storage, ann)
    await end(storage, 3)
    await send_due(storage)
    for one in cells:
        await storage.privacy.erase_job(one.id, ann.id, retracts=True)

    assert [(one.kind, one.refs) for one in await storage.outbox.due_deliveries()] == [("retract", (REF,))]


async def test_forgetting_the_person_leaves_no_message_to_send(storage, ann):
    await make_grid(storage, ann)
    await end(storage, 2)
    await storage.privacy.forget_person(ann.id)

    assert await storage.outbox.due_deliveries() == []
    assert await storage.maintenance.check() == []


async def test_a_delivered_grid_has_a_delivered_job(storage, ann):
    first, *_ = await make_grid(storage, ann)
    await end(storage, 3)
    await send_due(storage)

    assert (await storage.jobs.get_job(first.id, ann.id)).state is JobState.DELIVERED
    assert await due(storage) == []
