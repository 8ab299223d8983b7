"""`db restore`: what it replaces, what it keeps, and what it refuses without changing anything."""

import hashlib
import json
import sqlite3
from contextlib import closing

import pytest
from alembic import command

from bot.runtime.lock import DataLock
from storage import StorageSettings
from storage.dialect import database_url
from storage.migration import _config
from storage.schema import REVISION
from storage.sqlite import SqliteDialect
from tests.web.fake_pool import picture


def edit(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def names(path):
    """Names of the people in the database, as a sample of its content."""
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM person")}


def content(data_dir):
    """Every file that a refusal must leave alone, by its bytes."""
    kept = [path for path in data_dir.rglob("*") if path.is_file() and path.parent.name != "logs"]
    return {path: path.read_bytes() for path in kept if path.name != "easel.lock"}


def previous_database(data_dir):
    [path] = (data_dir / "backups").glob("before-restore-*.db")
    return path


@pytest.fixture
def database(data_dir):
    return data_dir / "easel.db"


@pytest.fixture
def copy(call, database, tmp_path):
    """A backup with Ann; Ben is only in the database."""
    assert call("keys", "create", "--person", "Ann").code == 0
    path = tmp_path / "copy.db"
    assert call("db", "backup", str(path)).code == 0
    assert call("keys", "create", "--person", "Ben").code == 0
    return path


def test_a_backup_replaces_the_database_which_is_kept(call, data_dir, database, copy):
    result = call("db", "restore", str(copy))

    assert result.code == 0, result.err
    assert names(database) == names(copy)
    assert str(previous_database(data_dir)) in result.err
    assert "Ben" in names(previous_database(data_dir)) - names(database)
    assert call("db", "check").out == "The database is intact.\n"


def test_a_key_that_was_revoked_after_the_backup_stays_revoked(call, tmp_path):
    revoked, active = (call("keys", "create", "--person", name).out.partition(".")[0] for name in ("Ann", "Ben"))
    call("db", "backup", str(tmp_path / "copy.db"))
    call("keys", "revoke", revoked)

    assert call("db", "restore", str(tmp_path / "copy.db")).code == 0

    keys = json.loads(call("keys", "list", "--json").out)["keys"]
    assert {key["prefix"]: key["revoked_at"] is not None for key in keys} == {revoked: True, active: False}


def test_the_sessions_and_codes_of_a_backup_are_not_restored(call, database, tmp_path):
    prefix = call("keys", "create", "--person", "Ann").out.partition(".")[0]
    edit(database, f"INSERT INTO session (token_hash, key, expires_at) VALUES ('0', '{prefix}', '2100-01-01')")
    edit(
        database,
        "INSERT INTO link_code (code_hash, person, expires_at) SELECT id, id, '2100-01-01' FROM person",
    )
    call("db", "backup", str(tmp_path / "copy.db"))

    assert call("db", "restore", str(tmp_path / "copy.db")).code == 0

    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM session").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM link_code").fetchone() == (0,)


def test_the_previous_database_can_be_restored(call, data_dir, database, copy):
    call("db", "restore", str(copy))

    assert call("db", "restore", str(previous_database(data_dir))).code == 0
    assert "Ben" in names(database)


def test_the_wal_of_a_damaged_database_is_kept_with_it_and_not_applied_to_the_new_one(call, data_dir, database, copy):
    with closing(sqlite3.connect(database, isolation_level=None)) as left_open:
        left_open.execute("PRAGMA journal_mode = WAL")
        left_open.execute("UPDATE person SET name = 'In the log' WHERE name = 'Ann'")
        log = database.with_name("easel.db-wal").read_bytes()
    database.write_bytes(b"\0" * 4096)
    database.with_name("easel.db-wal").write_bytes(log)  # as after a power cut, without a checkpoint

    assert call("db", "restore", str(copy)).code == 0
    assert names(database) == names(copy)
    assert previous_database(data_dir).with_name(f"{previous_database(data_dir).name}-wal").read_bytes() == log


def test_a_copy_of_an_older_version_is_upgraded(call, database, copy):
    dialect = SqliteDialect(database_url(f"sqlite:///{copy}", copy.parent), busy_timeout_ms=200, readers=1)
    engine = dialect.open_migrator()
    with engine.connect() as upgraded, upgraded.begin():
        command.downgrade(_config(upgraded, dialect), "0001")
    engine.dispose()

    result = call("db", "restore", str(copy))

    assert result.code == 0, result.err
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    assert "Ann" in names(database)


def test_a_damaged_database_is_replaced_and_kept_as_it_is(call, data_dir, database, copy):
    database.write_bytes(database.read_bytes()[:5000])
    damaged = database.read_bytes()

    assert call("db", "restore", str(copy)).code == 0
    assert previous_database(data_dir).read_bytes() == damaged
    assert "Ann" in names(database)


def test_a_lost_database_comes_back(call, data_dir, database, copy):
    database.unlink()

    result = call("db", "restore", str(copy))

    assert result.code == 0, result.err
    assert "Ann" in names(database)
    assert not list((data_dir / "backups").glob("before-restore-*"))


def test_missing_images_of_the_backup_are_listed(call, copy):
    media_id = hashlib.sha256(picture(3, 48, 32)).hexdigest()
    edit(copy, f"INSERT INTO media (id, media_type, width, height, size) VALUES ('{media_id}', 'image/png', 48, 32, 9)")

    result = call("db", "restore", str(copy))

    assert result.code == 0, result.err
    assert f"{media_id}.png" in result.err
    assert "1 image of the database not found" in result.err


def replace_by(path, statement):
    path.unlink()
    edit(path, statement)


def overwrite(path):
    """Pages after the first, as a failing disk does."""
    with path.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\x5a" * 4 * 4096)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda path: path.unlink(), "There is no file"),
        (lambda path: path.write_bytes(b"GIF89a, not a database"), "is not an SQLite database"),
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), "is damaged"),
        (overwrite, "is damaged"),
        (lambda path: edit(path, "UPDATE alembic_version SET version_num = '9999'"), "newer version of Easel"),
        (lambda path: replace_by(path, "CREATE TABLE other (x)"), "tables of another program"),
        (lambda path: replace_by(path, "PRAGMA user_version = 1"), "has no tables of Easel"),
        (lambda path: edit(path, "DROP TABLE media"), "is damaged"),
    ],
    ids=["missing", "no database", "cut short", "damaged", "newer", "of another program", "empty", "incomplete"],
)
def test_an_invalid_backup_changes_nothing(call, data_dir, copy, spoil, sentence):
    spoil(copy)
    before = content(data_dir)

    result = call("db", "restore", str(copy))

    assert (result.code, result.out) == (1, "")
    assert sentence in result.err
    assert "Traceback" not in result.err
    assert content(data_dir) == before


def test_the_database_itself_is_not_a_backup(call, data_dir, database, copy):
    before = content(data_dir)

    result = call("db", "restore", str(database))

    assert result.code == 1
    assert "is the database itself" in result.err
    assert content(data_dir) == before


def test_nothing_is_restored_while_a_server_is_running(call, data_dir, copy):
    before = content(data_dir)
    with DataLock(data_dir):
        result = call("db", "restore", str(copy))

    assert (result.code, result.out) == (1, "")
    assert "Easel is already running on" in result.err
    assert content(data_dir) == before


def test_other_databases_are_restored_with_their_own_tools(call, composition, copy):
    composition.settings["storage"] = StorageSettings(url="postgresql://localhost/easel")

    result = call("db", "restore", str(copy))

    assert result.code == 2
    assert "supports SQLite only" in result.err
