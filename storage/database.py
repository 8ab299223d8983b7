"""One writer with group commit, and a few readers, each in its own thread.

Operations are plain functions of a `Connection` and run in threads, never in the caller's task: whoever
cancels a caller cannot interrupt a transaction, and a statement costs no hop through the event loop.
An operation may run twice (its first transaction was lost), so it must do nothing but query and compute.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from storage.dialect import Dialect

log = structlog.get_logger(__name__)
T = TypeVar("T")
Operation = Callable[[Connection], T]

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
    def __init__(self, dialect: Dialect, *, readers: int) -> None:
        self.dialect = dialect
        self._writer = dialect.writer()
        self._readers = dialect.readers()
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="storage-writer")
        self._read_threads = ThreadPoolExecutor(readers, thread_name_prefix="storage-reader")
        self._asked: deque[_Asked] = deque()
        self._wakeup = asyncio.Event()
        self._closing = False

    @property
    def engine(self) -> Engine:
        """The writer's engine, for migrations before the writer runs."""
        return self._writer

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
        return await asyncio.get_running_loop().run_in_executor(self._read_threads, self._read, query)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything asked for inside is committed before this is left."""
        writing = asyncio.create_task(self._write_forever(), name="storage writer")
        try:
            yield
        finally:
            self._closing = True
            self._wakeup.set()
            await _through_cancellation(writing)
            await _through_cancellation(asyncio.create_task(asyncio.to_thread(self.close)))

    async def _write_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while self._asked or not self._closing:
            if not self._asked:
                self._wakeup.clear()
                await self._wakeup.wait()
                continue
            batch = [self._asked.popleft() for _ in range(min(BATCH, len(self._asked)))]
            operations = [asked.operation for asked in batch]
            outcomes = await loop.run_in_executor(self._write_thread, self._commit, operations)
            for asked, outcome in zip(batch, outcomes, strict=True):
                _settle(asked.answer, outcome)

    def _commit(self, operations: list[Operation[Any]]) -> list[Any]:
        """One transaction, or one for each when the common one was lost half-way. Never raises."""
        try:
            return self._transact(operations)
        except _Lost as lost:
            if len(operations) > 1:
                log.warning("a shared transaction was lost", action="batch_lost", error=str(lost.__cause__))
                return [self._commit([operation])[0] for operation in operations]
            return [_Failed(self._named(lost.__cause__))]
        except Exception as error:  # the writer must outlive whatever this is
            return [_Failed(self._named(error))] * len(operations)

    def _transact(self, operations: list[Operation[Any]]) -> list[Any]:
        with self._writer.connect() as tx:
            transaction = tx.begin()
            try:
                with transaction:
                    return [self._attempt(tx, operation) for operation in operations]
            except DBAPIError as error:
                raise _Lost() from error

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

    def _read(self, query: Operation[T]) -> T:
        try:
            with self._readers.begin() as tx:
                return query(tx)
        except DBAPIError as error:
            raise self._named(error) from error

    def _named(self, error: BaseException | None) -> Exception:
        """Ours where it has a name, else the library's."""
        if isinstance(error, DBAPIError) and (named := self.dialect.translate(error)):
            named.__cause__ = error
            return named
        return error if isinstance(error, Exception) else RuntimeError("a transaction was lost")

    def close(self) -> None:
        """The writer's connection goes last: the last one to close checkpoints."""
        self._read_threads.shutdown()
        self._readers.dispose()
        self._write_thread.shutdown()
        self._writer.dispose()


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
