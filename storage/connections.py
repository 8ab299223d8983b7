"""SQLite connections in their own threads (aiosqlite's), each with a SQLAlchemy engine.

A transaction runs in the thread as a whole: one thread switch there and back, where SQLAlchemy's adapter needs several
per statement. It is a plain function, so it cannot wait for anything else.
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


class _SqliteThread(aiosqlite.Connection):
    """aiosqlite's thread with its connection, for whole transactions."""

    @property
    def file(self) -> sqlite3.Connection:
        return self._conn

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        answer: T = await self._execute(function, *args)
        return answer


class ConnectionThread:
    """One connection, opened on first use, with one transaction at a time.

    `prepare` is called with the engine before it connects, to register event listeners.
    """

    def __init__(self, path: str, *, timeout_s: float, prepare: Callable[[Engine], None]) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._thread: _SqliteThread | None = None
        self._engine = create_engine(
            "sqlite://",
            creator=self._file,
            poolclass=StaticPool,
            pool_reset_on_return=None,  # every use ends its transaction, so nothing has to be reset
            hide_parameters=True,  # errors must not quote prompts
        )
        prepare(self._engine)

    async def transact(self, work: Operation[T]) -> T:
        """Run `work` in a transaction, which is rolled back if it raises.

        Raises: errors of `work`, sqlalchemy.exc.DBAPIError.
        """
        return await (await self._opened()).run(self._transact, work)

    async def run_outside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the driver's connection, outside transactions."""
        return await (await self._opened()).run(self._run_outside, work)

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await thread.run(self._engine.dispose)
            await thread.close()

    async def _opened(self) -> _SqliteThread:
        if self._thread is None:
            thread = _SqliteThread(self._open, iter_chunk_size=64)
            await thread
            self._thread = thread
        return self._thread

    def _run_outside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._engine.raw_connection()
        try:
            return work(self._file())
        finally:
            connection.close()

    def _transact(self, work: Operation[T]) -> T:
        with self._engine.begin() as tx:
            return work(tx)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=self._timeout_s)

    def _file(self) -> sqlite3.Connection:
        assert self._thread is not None
        return self._thread.file


class ReaderPool:
    """A pool of connections; the most recently used idle one is used first."""

    def __init__(self, threads: list[ConnectionThread]) -> None:
        self._all = threads
        self._idle: asyncio.LifoQueue[ConnectionThread] = asyncio.LifoQueue()
        for thread in reversed(threads):
            self._idle.put_nowait(thread)

    async def transact(self, work: Operation[T]) -> T:
        """Like `ConnectionThread.transact`."""
        thread = await self._idle.get()
        try:
            return await thread.transact(work)
        finally:
            self._idle.put_nowait(thread)

    async def close(self) -> None:
        for thread in self._all:
            await thread.close()
