"""The writer's guarantees when operations fail, callers are cancelled, and others hold the lock."""

import asyncio
import random
import sqlite3
import time
from contextlib import closing

import pytest
from sqlalchemy import text

from bot.errors import StorageBusy, StorageFull
from bot.jobs import JobState
from storage.database import Database
from storage.dialect import database_url
from storage.sqlite import SqliteDialect
from tests.storage.factories import PLENTY, accept, claim, make_new_job, render


@pytest.fixture
async def database(tmp_path):
    """A database with only a table of numbers."""
    database = Database(SqliteDialect(database_url("", tmp_path), busy_timeout_ms=200, readers=3))
    async with database.running():
        await database.run_write(lambda tx: tx.execute(text("CREATE TABLE number (value INTEGER UNIQUE)")).rowcount)
        yield database


def put(value):
    return lambda tx: tx.execute(text("INSERT INTO number VALUES (:value)"), {"value": value}).rowcount


def numbers(tx):
    return list(tx.scalars(text("SELECT value FROM number ORDER BY value")))


def fail(error):
    def operation(tx):
        put(-1)(tx)
        raise error

    return operation


async def test_the_writer_syncs_fully_and_keeps_a_log(database):
    pragmas = ["journal_mode", "synchronous", "foreign_keys", "busy_timeout"]
    found = [await database.run_write(lambda tx, name=name: tx.scalar(text(f"PRAGMA {name}"))) for name in pragmas]

    assert found == ["wal", 2, 1, 200]


async def test_readers_can_neither_write_nor_checkpoint(database):
    with pytest.raises(Exception, match="readonly"):
        await database.run_read(put(1))
    assert await database.run_read(lambda tx: tx.scalar(text("PRAGMA wal_autocheckpoint"))) == 0


async def test_a_failing_operation_does_not_hurt_those_beside_it(database):
    outcomes = await asyncio.gather(
        database.run_write(put(1)),
        database.run_write(fail(KeyError("ours"))),
        database.run_write(put(1)),
        database.run_write(put(2)),
        return_exceptions=True,
    )

    assert [type(outcome).__name__ for outcome in outcomes] == ["int", "KeyError", "IntegrityError", "int"]
    assert await database.run_read(numbers) == [1, 2]


async def test_operations_asked_for_together_share_a_transaction(database):
    def commits(tx):
        return tx.scalar(text("PRAGMA data_version"))

    before = await database.run_read(commits)
    await asyncio.gather(*(database.run_write(put(value)) for value in range(50)))
    transactions = await database.run_read(commits) - before

    assert transactions <= 3
    assert len(await database.run_read(numbers)) == 50


async def test_an_answer_means_that_another_connection_sees_it(database, tmp_path):
    await database.run_write(put(7))

    with closing(sqlite3.connect(tmp_path / "easel.db")) as other:
        assert other.execute("SELECT value FROM number").fetchall() == [(7,)]


async def test_what_a_cancelled_caller_asked_for_is_done_all_the_same(database):
    task = asyncio.create_task(database.run_write(put(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.run_write(put(2))

    assert await database.run_read(numbers) == [1, 2]


async def test_what_was_asked_for_is_committed_before_the_database_closes(tmp_path):
    database = Database(SqliteDialect(database_url("", tmp_path), busy_timeout_ms=200, readers=3))
    async with database.running():
        database.submit(lambda tx: tx.execute(text("CREATE TABLE number (value INTEGER)")).rowcount)
        for value in range(200):
            database.submit(put(value))

    with closing(sqlite3.connect(tmp_path / "easel.db")) as other:
        assert other.execute("SELECT count(*) FROM number").fetchone() == (200,)
    with pytest.raises(RuntimeError, match="closed"):
        await database.run_write(put(1))


async def test_cancelling_the_closing_does_not_lose_what_was_asked_for(tmp_path):
    database = Database(SqliteDialect(database_url("", tmp_path), busy_timeout_ms=200, readers=3))

    async def serve():
        async with database.running():
            database.submit(lambda tx: tx.execute(text("CREATE TABLE number (value INTEGER)")).rowcount)
            for value in range(500):
                database.submit(put(value))

    task = asyncio.create_task(serve())
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    with closing(sqlite3.connect(tmp_path / "easel.db")) as other:
        assert other.execute("SELECT count(*) FROM number").fetchone() == (500,)
    assert not (tmp_path / "easel.db-wal").exists()  # the last connection to be closed tidies up


async def test_cancelled_readers_give_their_connections_back(database):
    for pause in (0, 0.0005, 0.001, 0.002, 0.004) * 8:
        reading = asyncio.create_task(database.run_read(numbers))
        await asyncio.sleep(pause)
        reading.cancel()

    async with asyncio.timeout(30):
        assert await asyncio.gather(*(database.run_read(numbers) for _ in range(9))) == [[]] * 9


async def test_two_hundred_tasks_cancelled_anywhere_never_block_the_writer(storage, ann):
    chance = random.Random(5)

    async def live():
        await accept(storage, ann, 2)
        job = await claim(storage, max_running=999)
        await storage.history.list_jobs(ann.id, state=None, q="fox", before=None, limit=5)
        if job is not None:
            await storage.jobs.renew_leases({job.id: job.attempt}, 60.0)
            await render(storage, job)

    for _ in range(20):
        tasks = [asyncio.create_task(live()) for _ in range(10)]
        for task in tasks:
            await asyncio.sleep(chance.random() * 0.004)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        started = time.monotonic()
        await accept(storage, ann)
        assert time.monotonic() - started < 2.0  # a lock left behind would hold for ever

    assert await storage.ledger.find_imbalances() == []


async def test_a_lock_held_by_another_process_is_named_and_outlived(storage, ann, data_dir):
    with closing(sqlite3.connect(data_dir / "easel.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy):
            await accept(storage, ann)
        assert await storage.history.list_jobs(ann.id, state=None, q="", before=None, limit=5) == ([], None)
        other.execute("ROLLBACK")
    await accept(storage, ann)

    assert (await storage.jobs.count_by_state())[JobState.QUEUED] == 1
    assert await storage.ledger.find_imbalances() == []


async def set_max_pages(storage, pages):
    """Stop the database from growing, like a full disk; returns its number of pages."""
    database = storage.jobs._database

    def limit(tx):
        used = tx.scalar(text("PRAGMA page_count"))
        tx.execute(text(f"PRAGMA max_page_count = {pages or used}"))

    await database.run_write(limit)


async def test_a_full_disk_is_named_undone_and_outlived(storage, ann):
    await accept(storage, ann)
    await set_max_pages(storage, None)
    outcomes = await asyncio.gather(
        *(accept(storage, ann, options={"prompt": "x" * 8000}) for _ in range(20)), return_exceptions=True
    )
    await set_max_pages(storage, 1 << 30)
    accepted = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]

    assert {type(outcome) for outcome in outcomes if isinstance(outcome, Exception)} == {StorageFull}
    assert (await storage.jobs.count_by_state())[JobState.QUEUED] == 1 + len(accepted)
    assert await storage.maintenance.check() == []
    await accept(storage, ann)


async def test_a_small_change_succeeds_beside_one_that_finds_the_disk_full(storage, ann):
    [job] = await accept(storage, ann)
    await claim(storage)
    await set_max_pages(storage, None)
    huge = make_new_job(ann, options={"prompt": "x" * 500_000})
    outcomes = await asyncio.gather(
        storage.jobs.request_cancel(job.id, ann.id),
        storage.jobs.accept_jobs([huge], key=None, limits=PLENTY),
        return_exceptions=True,
    )

    assert isinstance(outcomes[1], StorageFull)
    assert (await storage.jobs.get_job(job.id, ann.id)).cancel_requested


async def test_errors_do_not_quote_what_people_wrote(storage, ann):
    [job] = await accept(storage, ann, search_text="my secret prompt", options={"prompt": "my secret prompt"})

    with pytest.raises(Exception, match="UNIQUE") as failed:
        await accept(storage, ann, id=job.id, options={"prompt": "my secret prompt"})
    assert "secret" not in str(failed.value)
