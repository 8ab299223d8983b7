"""`db restore`: what it puts in place, what it keeps, and what it refuses without changing anything."""

import hashlib
import sqlite3
from contextlib import closing

import pytest
from alembic import command

from bot.runtime.lock import DataLock
from storage import StorageSettings
from storage.dialect import url_of
from storage.migration import _config
from storage.schema import REVISION
from storage.sqlite import Sqlite
from tests.web.fake_pool import picture


def edit(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def names(path):
    """Of the people in the database, who stand for all that it holds."""
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM person")}


def content(data_dir):
    """Every file that a refusal must leave alone, by its bytes."""
    kept = [path for path in data_dir.rglob("*") if path.is_file() and path.parent.name != "logs"]
    return {path: path.read_bytes() for path in kept if path.name != "easel.lock"}


def kept_aside(data_dir):
    [kept] = (data_dir / "backups").glob("before-restore-*.db")
    return kept


@pytest.fixture
def database(data_dir):
    return data_dir / "easel.db"


@pytest.fixture
def copy(call, database, tmp_path):
    """Ann is in the copy, and Ben only in the database."""
    assert call("keys", "create", "--person", "Ann").code == 0
    path = tmp_path / "copy.db"
    assert call("db", "backup", str(path)).code == 0
    assert call("keys", "create", "--person", "Ben").code == 0
    return path


def test_a_copy_comes_into_the_place_of_the_database_which_is_kept_aside(call, data_dir, database, copy):
    said = call("db", "restore", str(copy))

    assert said.code == 0, said.err
    assert names(database) == names(copy)
    assert str(kept_aside(data_dir)) in said.err
    assert "Ben" in names(kept_aside(data_dir)) - names(database)
    assert call("db", "check").out == "The database is well.\n"


def test_what_was_kept_aside_can_be_brought_back(call, data_dir, database, copy):
    call("db", "restore", str(copy))

    assert call("db", "restore", str(kept_aside(data_dir))).code == 0
    assert "Ben" in names(database)


def test_the_log_of_a_damaged_database_is_kept_with_it_and_does_not_come_into_the_new_one(
    call, data_dir, database, copy
):
    with closing(sqlite3.connect(database, isolation_level=None)) as left_open:
        left_open.execute("PRAGMA journal_mode = WAL")
        left_open.execute("UPDATE person SET name = 'In the log' WHERE name = 'Ann'")
        log = database.with_name("easel.db-wal").read_bytes()
    database.write_bytes(b"\0" * 4096)
    database.with_name("easel.db-wal").write_bytes(log)  # as after a power cut: nobody has checkpointed

    assert call("db", "restore", str(copy)).code == 0
    assert names(database) == names(copy)
    assert kept_aside(data_dir).with_name(f"{kept_aside(data_dir).name}-wal").read_bytes() == log


def test_a_copy_of_an_older_version_is_upgraded(call, database, copy):
    dialect = Sqlite(url_of(f"sqlite:///{copy}", copy.parent), busy_timeout_ms=200, readers=1)
    engine = dialect.migrator()
    with engine.connect() as upgraded, upgraded.begin():
        command.downgrade(_config(upgraded, dialect), "0001")
    engine.dispose()

    said = call("db", "restore", str(copy))

    assert said.code == 0, said.err
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    assert "Ann" in names(database)


def test_a_damaged_database_is_replaced_and_kept_as_it_is(call, data_dir, database, copy):
    database.write_bytes(database.read_bytes()[:5000])
    damaged = database.read_bytes()

    assert call("db", "restore", str(copy)).code == 0
    assert kept_aside(data_dir).read_bytes() == damaged
    assert "Ann" in names(database)


def test_a_lost_database_comes_back(call, data_dir, database, copy):
    database.unlink()

    said = call("db", "restore", str(copy))

    assert said.code == 0, said.err
    assert "Ann" in names(database)
    assert not list((data_dir / "backups").glob("before-restore-*"))


def test_pictures_that_the_copy_names_and_that_are_missing_are_told(call, copy):
    media_id = hashlib.sha256(picture(3, 48, 32)).hexdigest()
    edit(copy, f"INSERT INTO media (id, media_type, width, height, size) VALUES ('{media_id}', 'image/png', 48, 32, 9)")

    said = call("db", "restore", str(copy))

    assert said.code == 0, said.err
    assert f"{media_id}.png" in said.err
    assert "1 picture that it names cannot be found" in said.err


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
        (lambda path: path.write_bytes(b"GIF89a, not a database"), "is no SQLite database"),
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), "is damaged"),
        (overwrite, "is damaged"),
        (lambda path: edit(path, "UPDATE alembic_version SET version_num = '9999'"), "newer version of Easel"),
        (lambda path: replace_by(path, "CREATE TABLE other (x)"), "another program's tables"),
        (lambda path: replace_by(path, "PRAGMA user_version = 1"), "holds no tables of Easel"),
        (lambda path: edit(path, "DROP TABLE media"), "is damaged"),
    ],
    ids=["missing", "no database", "cut short", "damaged", "newer", "of another program", "empty", "incomplete"],
)
def test_what_is_no_copy_of_ours_changes_nothing(call, data_dir, copy, spoil, sentence):
    spoil(copy)
    before = content(data_dir)

    said = call("db", "restore", str(copy))

    assert (said.code, said.out) == (1, "")
    assert sentence in said.err
    assert "Traceback" not in said.err
    assert content(data_dir) == before


def test_the_database_itself_is_no_copy(call, data_dir, database, copy):
    before = content(data_dir)

    said = call("db", "restore", str(database))

    assert said.code == 1
    assert "is the database itself" in said.err
    assert content(data_dir) == before


def test_nothing_is_restored_under_a_server(call, data_dir, copy):
    before = content(data_dir)
    with DataLock(data_dir):
        said = call("db", "restore", str(copy))

    assert (said.code, said.out) == (1, "")
    assert "Easel already works on" in said.err
    assert content(data_dir) == before


def test_another_kind_of_database_has_its_own_tools(call, composition, copy):
    composition.settings["storage"] = StorageSettings(url="postgresql://localhost/easel")

    said = call("db", "restore", str(copy))

    assert said.code == 2
    assert "is for SQLite" in said.err
