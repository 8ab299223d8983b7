"""SQLite connections in threads of their own, aiosqlite's, each with a SQLAlchemy engine that lives in its thread.

A transaction is handed to the thread as a whole: one hop there and back, where SQLAlchemy's own adapter makes several
for each statement. It is a plain function, so nothing in it could wait for anything else.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from storage.dialect import Operation

T = TypeVar("T")


class _Thread(aiosqlite.Connection):
    """aiosqlite's thread with its connection, for more than single statements."""

    @property
    def file(self) -> sqlite3.Connection:
        return self._conn

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        answer: T = await self._execute(function, *args)
        return answer


class Line:
    """One connection, opened when it is first needed. One transaction at a time.

    `prepare` is told of the engine before it connects, so that it can listen to its events.
    """

    def __init__(self, path: str, *, timeout_s: float, prepare: Callable[[Engine], None]) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._thread: _Thread | None = None
        self._engine = create_engine(
            "sqlite://",
            creator=self._file,
            poolclass=StaticPool,
            pool_reset_on_return=None,  # whoever uses it ends a transaction, and so leaves nothing to be reset
            hide_parameters=True,  # errors must not quote prompts
        )
        prepare(self._engine)

    async def transact(self, work: Operation[T]) -> T:
        """The work in a transaction that is committed, or rolled back when it raises.

        Raises: what the work raised, sqlalchemy.exc.DBAPIError.
        """
        if self._thread is None:
            thread = _Thread(self._open, iter_chunk_size=64)
            await thread
            self._thread = thread
        return await self._thread.run(self._transact, work)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.run(self._engine.dispose)
            await thread.close()

    def _transact(self, work: Operation[T]) -> T:
        with self._engine.begin() as tx:
            return work(tx)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=self._timeout_s)

    def _file(self) -> sqlite3.Connection:
        assert self._thread is not None
        return self._thread.file


class Lines:
    """Several, for whoever finds one that is free. The one that was used last is asked first."""

    def __init__(self, lines: list[Line]) -> None:
        self._all = lines
        self._free: asyncio.LifoQueue[Line] = asyncio.LifoQueue()
        for line in reversed(lines):
            self._free.put_nowait(line)

    async def transact(self, work: Operation[T]) -> T:
        """As of one of them."""
        line = await self._free.get()
        try:
            return await line.transact(work)
        finally:
            self._free.put_nowait(line)

    async def close(self) -> None:
        for line in self._all:
            await line.close()
