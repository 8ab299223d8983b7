"""One writer with group commit, and a few readers.

An operation is a plain function of a `Connection`, and a whole transaction of them runs in the connection's thread.
The writer's task and readers' own tasks wait for it, never the caller's: nobody's cancellation ends a transaction. An
operation may run twice (its first transaction was lost), so it must do nothing but query and compute, and it must not
touch what belongs to the event loop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from storage.dialect import Dialect, Operation

log = structlog.get_logger(__name__)
T = TypeVar("T")

BATCH = 64
"""Operations that share one transaction, and so one fsync."""


@dataclass(frozen=True)
class _Asked:
    operation: Operation[Any]
    answer: asyncio.Future[Any]


@dataclass(frozen=True)
class _Failed:
    error: Exception


class _Lost(Exception):
    """The transaction that an operation ran in is gone, whatever its savepoint says."""


class Database:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._writer = dialect.writer()
        self._readers = dialect.readers()
        self._asked: deque[_Asked] = deque()
        self._reading: set[asyncio.Task[Any]] = set()
        self._wakeup = asyncio.Event()
        self._closing = False

    async def write(self, operation: Operation[T]) -> T:
        """Run in a savepoint of the writer's next transaction; returns after its commit.

        Raises: what the operation raised (its changes are undone), StorageBusy, StorageFull.
        """
        return await self.submit(operation)

    def submit(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """`write` without waiting; the future may be dropped."""
        if self._closing:
            raise RuntimeError("the storage is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_mark_seen)
        self._asked.append(_Asked(operation, answer))
        self._wakeup.set()
        return answer

    async def read(self, query: Operation[T]) -> T:
        """Run on a reader's snapshot.

        Raises: what the query raised, StorageBusy.
        """
        if self._closing:
            raise RuntimeError("the storage is closed")
        reading = asyncio.create_task(self._read(query), name="storage reader")
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        reading.add_done_callback(_mark_seen)
        return await asyncio.shield(reading)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything asked for inside is committed before this is left."""
        writing = asyncio.create_task(self._write_forever(), name="storage writer")
        try:
            yield
        finally:
            self._closing = True
            self._wakeup.set()
            await _through_cancellation(asyncio.create_task(self._close(writing)))

    async def _write_forever(self) -> None:
        while self._asked or not self._closing:
            if not self._asked:
                self._wakeup.clear()
                await self._wakeup.wait()
                continue
            batch = [self._asked.popleft() for _ in range(min(BATCH, len(self._asked)))]
            operations = [asked.operation for asked in batch]
            outcomes = await self._commit(operations)
            for asked, outcome in zip(batch, outcomes, strict=True):
                _settle(asked.answer, outcome)

    async def _commit(self, operations: list[Operation[Any]]) -> list[Any]:
        """One transaction, or one for each when the common one was lost half-way. Never raises."""
        try:
            return await self._transact(operations)
        except _Lost as lost:
            if len(operations) > 1:
                log.warning("a shared transaction was lost", action="batch_lost", error=str(lost.__cause__))
                return [(await self._commit([operation]))[0] for operation in operations]
            return [_Failed(self._named(lost.__cause__))]
        except Exception as error:  # the writer must outlive whatever this is
            return [_Failed(self._named(error))] * len(operations)

    async def _transact(self, operations: list[Operation[Any]]) -> list[Any]:
        try:
            return await self._writer.transact(partial(self._attempt_all, operations=operations))
        except DBAPIError as error:
            raise _Lost() from error

    def _attempt_all(self, tx: Connection, operations: list[Operation[Any]]) -> list[Any]:
        return [self._attempt(tx, operation) for operation in operations]

    def _attempt(self, tx: Connection, operation: Operation[Any]) -> Any:
        savepoint = tx.begin_nested()
        try:
            outcome = operation(tx)
            savepoint.commit()
        except DBAPIError as error:
            if self.dialect.ends_transaction(error):
                raise _Lost() from error
            savepoint.rollback()
            return _Failed(self._named(error))
        except Exception as error:
            savepoint.rollback()
            return _Failed(error)
        return outcome

    async def _read(self, query: Operation[T]) -> T:
        try:
            return await self._readers.transact(query)
        except DBAPIError as error:
            raise self._named(error) from error

    def _named(self, error: BaseException | None) -> Exception:
        """Ours where it has a name, else the library's."""
        if isinstance(error, DBAPIError) and (named := self.dialect.translate(error)):
            named.__cause__ = error
            return named
        return error if isinstance(error, Exception) else RuntimeError("a transaction was lost")

    async def _close(self, writing: "asyncio.Task[None]") -> None:
        """The writer's connection goes last: the last one to close checkpoints."""
        await asyncio.gather(writing, *self._reading, return_exceptions=True)
        await self._readers.close()
        await self._writer.close()


def _settle(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    if answer.done():  # its caller was cancelled
        return
    if isinstance(outcome, _Failed):
        answer.set_exception(outcome.error)
    else:
        answer.set_result(outcome)


async def _through_cancellation(task: "asyncio.Task[None]") -> None:
    """Wait for the end whoever cancels the wait, and only then let the cancellation through."""
    cancelled = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _mark_seen(answer: "asyncio.Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()
