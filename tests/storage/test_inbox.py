from datetime import UTC, datetime, timedelta

import time_machine

from bot.ports import RequestKey
from storage import open_storage
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept


def later(**ago):
    return time_machine.travel(datetime.now(UTC) + timedelta(**ago))


async def test_an_event_is_kept_once_and_waits_until_it_is_done(storage):
    first = await storage.inbox.save_event("telegram", "7:update:1", {"text": "/imagine a fox"})
    again = await storage.inbox.save_event("telegram", "7:update:1", {"text": "/imagine a fox"})
    waiting = await storage.inbox.pending_events("telegram")
    await storage.inbox.mark_done("telegram", "7:update:1")

    assert (first, again) == (True, False)
    assert waiting == [("7:update:1", {"text": "/imagine a fox"})]
    assert await storage.inbox.pending_events("telegram") == []
    assert await storage.inbox.save_event("telegram", "7:update:1", {"text": "/imagine a fox"}) is False


async def test_events_wait_oldest_first_and_apart_by_platform(storage):
    for number in (3, 1, 2):
        await storage.inbox.save_event("discord", f"message:{number}", {"number": number})
    await storage.inbox.save_event("telegram", "message:1", {"number": 9})

    assert [event["number"] for _, event in await storage.inbox.pending_events("discord")] == [3, 1, 2]
    assert [event["number"] for _, event in await storage.inbox.pending_events("telegram")] == [9]


async def test_events_outlive_the_process(data_dir):
    async with open_storage(SETTINGS, data_dir) as storage:
        await storage.inbox.save_event("discord", "interaction:1", {"name": "imagine"})
    async with open_storage(SETTINGS, data_dir) as storage:
        assert await storage.inbox.pending_events("discord") == [("interaction:1", {"name": "imagine"})]
        assert await storage.inbox.save_event("discord", "interaction:1", {}) is False


async def test_the_body_of_a_handled_event_is_dropped(storage, data_dir):
    await storage.inbox.save_event("telegram", "1", {"text": "a very private wish"})
    await storage.inbox.mark_done("telegram", "1")
    await storage.maintenance.backup(data_dir / "copy.db")

    assert b"very private" not in (data_dir / "copy.db").read_bytes()


async def test_old_keys_are_pruned_and_what_waits_is_not(storage, ann):
    await storage.inbox.save_event("discord", "handled", {"a": 1})
    await storage.inbox.save_event("discord", "waiting", {"a": 2})
    await storage.inbox.mark_done("discord", "handled")
    await accept(storage, ann, key=RequestKey("api:1", "hash"))
    with later(days=29):
        assert await storage.inbox.prune(30) == 0
    with later(days=31):
        assert await storage.inbox.prune(30) == 2
        assert await storage.jobs.find_request("api:1") is None
        assert [key for key, _ in await storage.inbox.pending_events("discord")] == ["waiting"]


async def test_a_great_many_old_keys_are_pruned(storage, monkeypatch):
    monkeypatch.setattr("storage.inbox.CHUNK", 3)
    for number in range(10):
        await storage.inbox.save_event("discord", str(number), {})
        await storage.inbox.mark_done("discord", str(number))
    with later(days=31):
        assert await storage.inbox.prune(30) == 10
