"""Opening a database: new, old, newer, damaged, of another program."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import storage
from bot.errors import StartupError, StorageBusy
from storage import StorageSettings, open_storage
from storage.dialect import database_url
from storage.migration import _config, migrate, run_migrations
from storage.schema import REVISION, metadata
from storage.sqlite import SqliteDialect
from tests.storage.conftest import SETTINGS
from tests.storage.factories import accept


@pytest.fixture
def dialect(tmp_path):
    return SqliteDialect(database_url("", tmp_path), busy_timeout_ms=200, readers=1)


@pytest.fixture
def engine(dialect):
    engine = dialect.open_migrator()
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def every_database_is_migrated(monkeypatch):
    """Not a copy of one that was: see tests/conftest.py."""
    monkeypatch.setattr(storage, "migrate", migrate)


def edit(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def opening(data_dir, **settings):
    async with open_storage(StorageSettings(**{"min_free_mb": 0, "busy_timeout_ms": 200, **settings}), data_dir):
        pass


def test_the_migrations_make_the_tables_that_the_code_knows(engine, dialect, tmp_path):
    migrate(engine, dialect, tmp_path)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or not dialect.is_search_table(name)},
        )
        difference = compare_metadata(context, metadata)

    assert difference == []


def test_partial_indexes_are_the_ones_that_the_code_knows(engine, dialect, tmp_path):
    migrate(engine, dialect, tmp_path)
    indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '%WHERE%' ORDER BY name"
    with engine.connect() as connection:
        migrated = connection.exec_driver_sql(indexes).all()
    made = SqliteDialect(
        database_url(f"sqlite:///{tmp_path / 'made.db'}", tmp_path), busy_timeout_ms=200, readers=1
    ).open_migrator()
    with made.connect() as connection, connection.begin():
        metadata.create_all(connection)
        expected = connection.exec_driver_sql(indexes).all()
    made.dispose()

    assert [" ".join(str(row).split()) for row in migrated] == [" ".join(str(row).split()) for row in expected]
    assert len(migrated) >= 9


def test_the_newest_revision_is_the_one_that_the_code_names():
    assert ScriptDirectory.from_config(_config(None, None)).get_heads() == [REVISION]


def test_migrations_can_be_undone(engine, dialect, tmp_path):
    from alembic import command

    migrate(engine, dialect, tmp_path)
    with engine.connect() as connection, connection.begin():
        command.downgrade(_config(connection, dialect), "base")
        left = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()

    assert left == ["alembic_version"]


async def test_a_fresh_data_directory_is_made(tmp_path):
    await opening(tmp_path / "new" / "easel")

    assert (tmp_path / "new" / "easel" / "easel.db").exists()


async def test_two_concurrent_starts_both_find_the_tables(tmp_path):
    await asyncio.gather(*(opening(tmp_path, busy_timeout_ms=10_000) for _ in range(4)))

    await opening(tmp_path)


async def test_a_url_names_another_file(tmp_path):
    for number, scheme in enumerate(("sqlite", "sqlite+aiosqlite")):
        await opening(tmp_path, url=f"{scheme}:///{tmp_path}/other{number}.db")
        assert (tmp_path / f"other{number}.db").exists()


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/db"])
async def test_a_url_that_cannot_be_used_is_refused_with_a_sentence(tmp_path, url):
    with pytest.raises(StartupError, match=r"storage\.url"):
        await opening(tmp_path, url=url)


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(data_dir):
    edit(data_dir / "easel.db", "UPDATE alembic_version SET version_num = '9999'")
    before = (data_dir / "easel.db").read_bytes()

    with pytest.raises(StartupError, match="newer version of Easel"):
        await opening(data_dir)
    assert (data_dir / "easel.db").read_bytes() == before


async def test_another_programs_database_is_refused(tmp_path):
    edit(tmp_path / "easel.db", "CREATE TABLE recipe (name TEXT)")

    with pytest.raises(StartupError, match="another program"):
        await opening(tmp_path)


@pytest.mark.parametrize("damage", ["not a database at all" * 500, b"\0" * 4096, None])
async def test_a_damaged_database_is_refused_with_what_to_do(data_dir, damage):
    path = data_dir / "easel.db"
    if damage is None:  # a page in the middle
        whole = path.read_bytes()
        path.write_bytes(whole[: 4096 * 8] + b"\xff" * 4096 + whole[4096 * 9 :])
    else:
        path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())

    with pytest.raises(StartupError, match="restore a backup"):
        await opening(data_dir)


async def test_a_database_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(StartupError, match="cannot be opened"):
        await opening(tmp_path, url=f"sqlite:///{tmp_path}/missing/folder/easel.db")


async def test_a_start_while_another_process_holds_the_lock_says_so(data_dir):
    with closing(sqlite3.connect(data_dir / "easel.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy):
            await opening(data_dir)


async def test_an_old_database_is_copied_before_it_is_upgraded(data_dir, monkeypatch):
    async with open_storage(SETTINGS, data_dir) as storage:
        ann = await storage.people.identify_account("discord", "1", "Ann")
        [job] = await accept(storage, ann)

    def add_table(connection, dialect, revision="head"):
        connection.exec_driver_sql("CREATE TABLE novelty (id INTEGER)")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9998'")

    monkeypatch.setattr("storage.migration.REVISION", "9998")
    monkeypatch.setattr("storage.migration.run_migrations", add_table)
    async with open_storage(SETTINGS, data_dir) as storage:
        assert (await storage.jobs.get_job(job.id, None)).id == job.id

    [copy] = (data_dir / "backups").iterdir()
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (REVISION,)
        assert connection.execute("SELECT id FROM job").fetchall() == [(job.id,)]


def test_a_failed_upgrade_leaves_nothing_behind(engine, dialect, monkeypatch):
    monkeypatch.setattr(dialect, "create_search", lambda tx: tx.exec_driver_sql("CREATE nonsense"))

    with pytest.raises(Exception, match="syntax"), engine.connect() as connection, connection.begin():
        run_migrations(connection, dialect)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar() == 0


async def test_a_risky_sqlite_is_mentioned_once(data_dir, logged, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    await opening(data_dir)
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 51, 3))
    await opening(data_dir)

    assert [event["action"] for event in logged] == ["sqlite_version"]


def test_messages_sent_before_the_upgrade_still_lead_to_their_jobs(engine, dialect):
    with engine.connect() as connection, connection.begin():
        run_migrations(connection, dialect, "0001")
        for statement in OLD_ROWS:
            connection.exec_driver_sql(statement)
        run_migrations(connection, dialect, "0002")
        notes = connection.exec_driver_sql("SELECT platform, ref, job FROM message").all()
        left = connection.exec_driver_sql("SELECT erased, forgotten FROM job, person").all()

    assert notes == [("discord", "7:8", "abcd")]
    assert left == [(0, 0)]


OLD_ROWS = (
    "INSERT INTO person (id, name, is_local, is_admin, created_at) VALUES ('ann', 'Ann', 0, 0, '2026-01-01')",
    "INSERT INTO space (id, platform, created_at) VALUES ('discord:guild', 'discord', '2026-01-01')",
    "INSERT INTO job (seq, id, owner, space, origin, command, options, images, task, model, state, attempt, crashes, "
    "failures, interruptions, cost, estimate_s, version, cancel_requested, wants_delivery, alone, place, created_at, "
    "queued_at) VALUES (1, 'abcd', 'ann', 'discord:guild', '{}', 'imagine', '{}', '[]', 't', 'm', 'queued', 0, 0, 0, 0,"
    " 0, 0, 1, 0, 1, 0, 1, '2026-01-01', '2026-01-01')",
    "INSERT INTO outbox (job, kind, state, tries, due_at, message_ref, reason, created_at) "
    "VALUES ('abcd', 'placeholder', 'sent', 0, '2026-01-01', '7:8', '', '2026-01-01')",
    "INSERT INTO outbox (job, kind, state, tries, due_at, message_ref, reason, created_at) "
    "VALUES ('abcd', 'result', 'pending', 0, '2026-01-01', NULL, '', '2026-01-01')",
)
