"""Purging a database file that SQLite itself laid out in another way."""

import sqlite3
from contextlib import closing

import pytest

from storage.dialect import PurgeState
from storage.sqlite_purge import SqlitePurge


@pytest.mark.parametrize("auto_vacuum", ["NONE", "FULL", "INCREMENTAL"])
def test_a_purge_leaves_the_database_intact(tmp_path, auto_vacuum):
    path = tmp_path / "easel.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 2048")  # many pages, and pages of the pointer map, in a small file
        connection.execute(f"PRAGMA auto_vacuum = {auto_vacuum}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE VIRTUAL TABLE job_text USING fts5(text)")
        for number in range(30):
            connection.execute(f"CREATE TABLE t{number} (a TEXT)")
            connection.executemany(f"INSERT INTO t{number} VALUES (?)", [(f"fox {n} " * (n % 90),) for n in range(90)])
            connection.execute(f"DELETE FROM t{number} WHERE rowid % 3 = 0")
        before = [connection.execute(f"SELECT a FROM t{number}").fetchall() for number in range(30)]
        purge = SqlitePurge(path)
        while purge.step(connection) is PurgeState.MORE:
            pass

        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    purge.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert [connection.execute(f"SELECT a FROM t{number}").fetchall() for number in range(30)] == before
