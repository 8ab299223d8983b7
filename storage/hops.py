"""An aiosqlite connection that hands a statement to its thread once, not four times.

SQLAlchemy asks for a cursor, runs the statement, fetches all rows and closes the cursor; aiosqlite makes each a hop to
the connection's thread and back. Rows are all fetched at once anyway, so here running and fetching are one hop, and
opening and closing a cursor, which touch no file, none.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any, Self

import aiosqlite


class OneHopCursor(aiosqlite.Cursor):
    _rows: Iterable[Any] = ()

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Self:
        await self._execute(self._run, sql, () if parameters is None else parameters)
        return self

    def _run(self, sql: str, parameters: Iterable[Any]) -> None:
        """In the connection's thread."""
        self._cursor.execute(sql, parameters)  # type: ignore[arg-type]
        self._rows = self._cursor.fetchall() if self._cursor.description else ()

    async def fetchall(self) -> Iterable[Any]:
        rows, self._rows = self._rows, ()
        return rows

    async def close(self) -> None:
        self._cursor.close()


class OneHopConnection(aiosqlite.Connection):
    """`check_same_thread` must be off."""

    def cursor(self) -> OneHopCursor:  # type: ignore[override]
        return OneHopCursor(self, self._conn.cursor())


async def connect(path: str, *, timeout_s: float) -> OneHopConnection:
    def open_file() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=timeout_s, check_same_thread=False)

    connection = OneHopConnection(open_file, iter_chunk_size=64)
    await connection
    return connection
