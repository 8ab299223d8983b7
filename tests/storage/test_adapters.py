"""Adapters in the database: saved, replaced, deleted, and retired when consent is withdrawn."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, update

from bot.ports import AdapterRecord, TrainedExample
from storage.columns import utcnow
from storage.learning_tables import consent


def make_adapter(name="birds", **changes):
    facts: dict[str, Any] = {
        "kind": "vision",
        "model": "starter-vision",
        "revision": "r" * 40,
        "sha256": "0" * 64,
        "state": "accepted",
        "report": {"new_after": {"right": 9, "total": 10}, "examples": [{"question": "what is it?"}], "samples": ["a"]},
        "created_at": datetime(2026, 11, 30, tzinfo=UTC),
    }
    return AdapterRecord(name=name, **facts | changes)


def example(correction=None, digest="1" * 64, *, is_held_out=False):
    return TrainedExample(digest, correction, is_held_out)


async def give_consent(storage, person, *corrections):
    rows = [{"correction": one, "person": person.id, "given_at": utcnow()} for one in corrections]
    await storage.adapters._database.run_write(lambda tx: tx.execute(insert(consent), rows))


async def withdraw(storage, correction):
    statement = update(consent).where(consent.c.correction == correction).values(withdrawn_at=utcnow())
    await storage.adapters._database.run_write(lambda tx: tx.execute(statement))


async def test_an_adapter_is_saved_replaced_and_deleted(storage):
    first, again = make_adapter(), make_adapter(sha256="1" * 64, state="rejected")
    await storage.adapters.save_adapter(first, [example()])
    await storage.adapters.save_adapter(make_adapter("ants"), [])
    saved = await storage.adapters.list_adapters()
    await storage.adapters.save_adapter(again, [example(), example(is_held_out=True)])
    replaced = await storage.adapters.list_adapters()
    deleted = [await storage.adapters.delete_adapter("birds") for _ in range(2)]

    assert saved == [make_adapter("ants"), first]
    assert replaced == [make_adapter("ants"), again]
    assert deleted == [True, False]
    assert await storage.adapters.list_adapters() == [make_adapter("ants")]


async def test_adapters_that_learned_from_a_withdrawn_correction_retire_and_their_reports_keep_no_words(storage, ann):
    await give_consent(storage, ann, "one", "two")
    await storage.adapters.save_adapter(make_adapter(), [example(), example("one")])
    await storage.adapters.save_adapter(make_adapter("tested"), [example("one", is_held_out=True)])
    await storage.adapters.save_adapter(make_adapter("other"), [example("two")])
    retired = await storage.adapters.retire_adapters(["one", "unknown"])
    states = {one.name: one.state for one in await storage.adapters.list_adapters()}

    assert [one.name for one in retired] == ["birds", "tested"]
    assert {one.state for one in retired} == {"retired"}
    assert [sorted(one.report) for one in retired] == [["new_after"], ["new_after"]]
    assert states == {"birds": "retired", "tested": "retired", "other": "accepted"}


async def test_an_adapter_is_saved_as_retired_if_consent_was_withdrawn_during_its_training(storage, ann):
    await give_consent(storage, ann, "one", "two")
    await withdraw(storage, "two")
    await storage.adapters.save_adapter(make_adapter(), [example("one")])
    await storage.adapters.save_adapter(make_adapter("late"), [example("two")])
    await storage.adapters.save_adapter(make_adapter("gone"), [example("deleted")])
    states = {one.name: one.state for one in await storage.adapters.list_adapters()}

    assert states == {"birds": "accepted", "late": "retired", "gone": "retired"}
