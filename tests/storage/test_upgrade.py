"""A database of the previous revision, with rows in every table, becomes the one that a new installation has."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import Connection

from storage import audit, restore
from storage.dialect import database_url
from storage.migration import run_migrations
from storage.schema import REVISION
from storage.sqlite import SqliteDialect

USED, SHOWN, UNUSED = "a" * 64, "b" * 64, "c" * 64
AT = "2026-01-01 00:00:00.000000"
OLD_ROWS = (
    f"INSERT INTO person VALUES ('ann', 'Ann', 0, 0, NULL, '{AT}', 0)",
    "INSERT INTO account VALUES ('discord', '1', 'ann')",
    f"INSERT INTO api_key VALUES ('abcd', 'hash', 'ann', 0, '{AT}', NULL, NULL)",
    "INSERT INTO person_setting VALUES ('ann', 'steps', '7')",
    "INSERT INTO person_load VALUES ('ann', 0, 0)",
    f"INSERT INTO space VALUES ('discord:guild', 'discord', '{AT}', 'spoiler', 1)",
    f"INSERT INTO space VALUES ('web:web', 'web', '{AT}', NULL, NULL)",
    "INSERT INTO space_share VALUES ('discord:guild', 0.5, 0, 0)",
    "INSERT INTO person_share VALUES ('discord:guild', 'ann', 0.5, 0, 0)",
    *(
        "INSERT INTO job (seq, id, owner, space, origin, command, options, images, task, model, state, attempt, "
        "crashes, failures, interruptions, cost, estimate_s, batch, version, cancel_requested, result, wants_delivery, "
        f"alone, place, created_at, queued_at, finished_at, erased) VALUES ({seq}, '{name}', 'ann', '{space}', '{{}}', "
        f"'imagine', '{{}}', '[]', 't', 'm', 'delivered', 1, 0, 0, 0, 0, 0, {batch}, 3, 0, '{{}}', {chat}, 0, {seq}, "
        f"'{AT}', '{AT}', '{AT}', 0)"
        for seq, name, space, batch, chat in (
            (1, "first", "web:web", "NULL", 0),
            (2, "second", "discord:guild", "'both'", 1),
            (3, "third", "discord:guild", "'both'", 1),
        )
    ),
    *(
        f"INSERT INTO ledger (job, kind, person, day, amount, at) VALUES ('{job}', '{kind}', 'ann', '2026-01-01', 0, "
        f"'{AT}')"
        for job in ("first", "second", "third")
        for kind in ("reserve", "capture")
    ),
    "INSERT INTO quota_day VALUES ('ann', '2026-01-01', 0, 0)",
    *(f"INSERT INTO media VALUES ('{name}', 'image/png', 8, 8, 5)" for name in (USED, SHOWN, UNUSED)),
    *(f"INSERT INTO media_owner VALUES ('{name}', 'ann', '', NULL, '{AT}')" for name in (USED, SHOWN, UNUSED)),
    f"INSERT INTO job_media VALUES ('first', 'output', 0, '{USED}', 'ann')",
    f"INSERT INTO job_media VALUES ('second', 'init', 0, '{USED}', 'ann')",
    f"INSERT INTO job_media VALUES ('first', 'output', 1, '{SHOWN}', 'ann')",
    *(
        f"INSERT INTO outbox (id, job, kind, state, tries, due_at, message_ref, reason, created_at) "
        f"VALUES ({number}, '{job}', '{kind}', 'sent', 2, '{AT}', '7:{number}', 'why', '{AT}')"
        for number, (job, kind) in enumerate(
            (job, kind) for job in ("second", "third") for kind in ("placeholder", "result")
        )
    ),
    "INSERT INTO message VALUES ('discord', '7:8', 'second')",
    f"INSERT INTO inbox VALUES ('key', 'hash', '[]', '{AT}')",
    f"INSERT INTO inbox_event VALUES (1, 'discord', 'e', NULL, '{AT}')",
    "INSERT INTO measurement VALUES ('cpu', 'm', 'float32', '8x8', 1, 'step', 0.5, 3)",
    "INSERT INTO model_form VALUES ('m', '{}')",
)


@pytest.fixture
def make_database(tmp_path):
    """Returns a connection to a new database, and its dialect."""
    opened = []

    def make(name):
        dialect = SqliteDialect(
            database_url(f"sqlite:///{tmp_path}/{name}.db", tmp_path), busy_timeout_ms=200, readers=1
        )
        engine = dialect.open_migrator()
        opened.append((engine, connection := engine.connect()))
        return connection, dialect

    yield make
    for engine, connection in opened:
        connection.close()
        engine.dispose()


def tables(tx: Connection) -> list[str]:
    """Without the full-text index."""
    names = tx.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").scalars()
    return [name for name in names if not name.startswith(("job_text", "alembic", "sqlite"))]


def read_shape(tx: Connection) -> dict[str, object]:
    """What SQLite enforces and searches by: columns, keys, foreign keys, indexes."""
    shape: dict[str, object] = {}
    for table in tables(tx):

        def ask(what: str, table: str = table) -> list[tuple[object, ...]]:
            return sorted(map(tuple, tx.exec_driver_sql(f"PRAGMA {what}({table})")), key=str)

        indexes = [(name, unique, partial) for _, name, unique, _, partial in ask("index_list")]
        shape[table] = (ask("table_info"), ask("foreign_key_list"), indexes)
    written = tx.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type = 'index'")
    return {**shape, "indexes": {row.name: " ".join(row.sql.split()) for row in written}}


def rows_of(tx: Connection, table: str, columns: list[str]) -> list[tuple[object, ...]]:
    listed = ", ".join(columns)
    return sorted(map(tuple, tx.exec_driver_sql(f"SELECT {listed} FROM {table}")), key=str)


def test_an_upgrade_loses_nothing_and_gives_the_tables_of_a_new_installation(make_database):
    tx, dialect = make_database("old")
    fresh, fresh_dialect = make_database("fresh")
    with fresh.begin():
        run_migrations(fresh, fresh_dialect)
    with tx.begin():
        run_migrations(tx, dialect, "0003")
        for statement in OLD_ROWS:
            tx.exec_driver_sql(statement)
        columns = {table: [row[1] for row in tx.exec_driver_sql(f"PRAGMA table_info({table})")] for table in tables(tx)}
        before = {table: rows_of(tx, table, columns[table]) for table in columns}
    with tx.begin():
        run_migrations(tx, dialect)

    assert all(before.values()), [table for table, rows in before.items() if not rows]
    assert {table: rows_of(tx, table, columns[table]) for table in columns} == before
    assert read_shape(tx) == read_shape(fresh)
    assert tx.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    assert tx.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
    assert tx.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == REVISION
    assert audit.find_problems(tx) == []


def test_an_upgrade_fills_what_the_old_rows_say(make_database):
    tx, dialect = make_database("old")
    with tx.begin():
        run_migrations(tx, dialect, "0003")
        for statement in OLD_ROWS:
            tx.exec_driver_sql(statement)
        run_migrations(tx, dialect)

    assert rows_of(tx, "job", ["id", "changed"]) == [("first", 1), ("second", 2), ("third", 3)]
    assert rows_of(tx, "batch", ["id", "owner", "kind", "is_due"]) == [("both", "ann", "prompts", 0)]
    sources = rows_of(tx, "media_owner", ["media", "source"])
    assert sources == [(USED, "discord"), (SHOWN, "web"), (UNUSED, None)]
    assert rows_of(tx, "measurement", ["backend", "samples"]) == [("torch", 3)]
    assert {kind for _, kind in rows_of(tx, "outbox", ["target", "kind"])} == {"placeholder", "result"}


def test_a_backup_of_the_previous_version_is_restored_and_upgraded(make_database, tmp_path):
    tx, dialect = make_database("old")
    with tx.begin():
        run_migrations(tx, dialect, "0003")
        for statement in OLD_ROWS:
            tx.exec_driver_sql(statement)
    dialect.backup(tmp_path / "backup.db")
    restored = restore("", tmp_path / "data", tmp_path / "backup.db", busy_timeout_ms=200)
    with closing(sqlite3.connect(restored.database)) as database:
        jobs = database.execute("SELECT id, changed FROM job ORDER BY seq").fetchall()

    assert restored.problems == ()
    assert len(restored.missing) == 3
    assert jobs == [("first", 1), ("second", 2), ("third", 3)]


WRONG_ROWS = (
    f"INSERT INTO outbox VALUES (9, 'second', 'result', 'sent', 0, '{AT}', NULL, '', '{AT}', '', NULL)",
    f"INSERT INTO outbox VALUES (9, 'second', 'poem', 'sent', 0, '{AT}', NULL, '', '{AT}', '', NULL)",
    f"INSERT INTO outbox VALUES (9, 'nobody', 'webhook', 'sent', 0, '{AT}', NULL, '', '{AT}', 'a', NULL)",
    "INSERT INTO measurement VALUES ('cpu', 'm', 'float32', '8x8', 1, 'step', 0.5, 3, 'torch')",
    f"INSERT INTO favourite VALUES ('ann', 'second', 0, '{AT}')",
)


def test_an_upgraded_database_still_enforces_its_rules(make_database):
    tx, dialect = make_database("old")
    with tx.begin():
        run_migrations(tx, dialect, "0003")
        for row in OLD_ROWS:
            tx.exec_driver_sql(row)
        run_migrations(tx, dialect)
        for number, name in ((8, "a"), (7, "b")):
            row = f"({number}, 'first', 'webhook', 'sent', 0, '{AT}', NULL, '', '{AT}', '{name}', NULL)"
            tx.exec_driver_sql(f"INSERT INTO outbox VALUES {row}")

    for statement in WRONG_ROWS:
        with pytest.raises(Exception, match="constraint failed"), tx.begin():
            tx.exec_driver_sql(statement)
