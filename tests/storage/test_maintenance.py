import asyncio
import shutil
import sqlite3
from contextlib import closing

import pytest

from bot.errors import StorageFull
from bot.jobs import JobState
from storage import open_storage
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept, claim, render


@pytest.fixture
async def busy_house(storage, ann, ben):
    """Jobs in several states."""
    for person in (ann, ben):
        await accept(storage, person, 4, wants_delivery=True)
    await render(storage, await claim(storage))
    cancelled, *_ = await accept(storage, ann, 2)
    await storage.jobs.request_cancel(cancelled.id, ann.id)
    await claim(storage)


def edit(data_dir, statement):
    with closing(sqlite3.connect(data_dir / "easel.db", isolation_level=None)) as connection:
        connection.execute(statement)


async def test_a_consistent_database_has_no_problems(storage, busy_house):
    assert await storage.maintenance.check() == []


async def test_a_backup_made_while_others_write_is_whole(storage, ann, tmp_path):
    copy = tmp_path / "copies" / "easel.db"

    async def write_on():
        for _ in range(60):
            await accept(storage, ann)

    await accept(storage, ann)
    writing = asyncio.create_task(write_on())
    await asyncio.sleep(0.02)
    before = (await storage.jobs.count_by_state())[JobState.QUEUED]
    await storage.maintenance.backup(copy)
    await writing

    assert not list(copy.parent.glob("*.partial"))
    restored_dir = tmp_path / "restored"
    restored_dir.mkdir()
    shutil.copy(copy, restored_dir / "easel.db")
    async with open_storage(SETTINGS, restored_dir) as restored:
        assert await restored.maintenance.check() == []
        assert before <= (await restored.jobs.count_by_state())[JobState.QUEUED] <= 61
        assert await claim(restored) is not None


async def test_a_backup_replaces_an_older_one(storage, ann, tmp_path):
    copy = tmp_path / "copy.db"
    await storage.maintenance.backup(copy)
    await accept(storage, ann)
    await storage.maintenance.backup(copy)

    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (1,)


async def test_a_backup_to_a_full_disk_is_named_and_leaves_no_half_copy(storage, tmp_path, monkeypatch):
    def refuse(_path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.sqlite.fsync_path", refuse)
    with pytest.raises(StorageFull):
        await storage.maintenance.backup(tmp_path / "copies" / "copy.db")

    assert list((tmp_path / "copies").iterdir()) == []


@pytest.mark.parametrize(
    ("mischief", "sentence"),
    [
        ("DELETE FROM ledger WHERE kind = 'reserve' AND id = 1", "0 reserve"),
        ("DELETE FROM ledger WHERE kind = 'capture'", "0 capture"),
        ("DELETE FROM ledger WHERE kind = 'refund'", "0 refund"),
        ("UPDATE ledger SET amount = amount + 1 WHERE id = 1", "is not its cost"),
        ("UPDATE ledger SET day = '2001-01-01' WHERE kind = 'capture'", "another day"),
        ("UPDATE quota_day SET reserved = reserved + 1", "The quota of"),
        ("UPDATE quota_day SET used = used + 1", "The quota of"),
        ("UPDATE person_load SET outstanding = outstanding + 1", "The load of"),
        ("UPDATE person_share SET backlog = backlog + 1", "The share of"),
        ("UPDATE space_share SET running = running + 1", "The share of"),
        ("UPDATE job SET state = 'failed' WHERE state = 'queued'", "is failed"),
        ("UPDATE job SET lease_until = NULL WHERE state = 'running'", "times, lease or result"),
        ("UPDATE job SET result = NULL WHERE state = 'rendered'", "times, lease or result"),
        ("DELETE FROM outbox WHERE kind = 'result'", "messages in the outbox"),
        ("DELETE FROM job WHERE state = 'queued'", "points to a missing row of job"),
    ],
)
async def test_every_kind_of_imbalance_is_found(storage, busy_house, data_dir, mischief, sentence):
    edit(data_dir, mischief)

    assert any(sentence in problem for problem in await storage.maintenance.check())


@pytest.mark.parametrize(
    "mischief",
    [
        "UPDATE job SET state = 'lost'",
        "UPDATE person_load SET running = -1",
        "UPDATE quota_day SET reserved = -1",
        "UPDATE outbox SET state = 'gone'",
        "INSERT INTO ledger (job, kind, person, day, amount, at) SELECT job, 'refund', person, day, amount, at "
        "FROM ledger WHERE kind = 'capture'",
        "INSERT INTO ledger (job, kind, person, day, amount, at) SELECT job, kind, person, day, amount, at FROM ledger",
    ],
)
async def test_the_database_itself_refuses_what_must_never_be(storage, busy_house, data_dir, mischief):
    with pytest.raises(sqlite3.IntegrityError):
        edit(data_dir, mischief)


async def test_free_space_is_known(storage, tmp_path):
    assert 0 < storage.maintenance.free_mb() <= shutil.disk_usage(tmp_path).total >> 20
