"""One writer with group commit, and several readers.

An operation is a plain function of a `Connection`; a transaction of several operations runs in the connection's thread.
The writer's task and tasks of the readers wait for it, not the caller's task, so a cancelled caller never ends a
transaction. An operation may run twice (if its first transaction was lost), so it must only query and compute, and it
must not use objects of the event loop.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from bot.ports import NO_METRICS, WorkMetrics
from storage.dialect import Dialect, DriverConnection, Operation
from storage.measuring import Count, take_counts

log = structlog.get_logger(__name__)
T = TypeVar("T")

CHANGED_OWNERS = "changed_owners"
"""Key of a connection's `info`: the persons whose jobs the transaction changes."""
BATCH = 64
"""Operations that share one transaction, and so one fsync."""


@dataclass(frozen=True)
class _PendingWrite:
    operation: Callable[[Any], Any]
    answer: asyncio.Future[Any]
    is_outside: bool = False


@dataclass(frozen=True)
class _Failure:
    error: Exception


class _TransactionLost(Exception):
    """The operation's whole transaction was lost, not only its savepoint."""


class Database:
    def __init__(self, dialect: Dialect, metrics: WorkMetrics = NO_METRICS) -> None:
        self.dialect = dialect
        self.metrics = metrics
        self._writer = dialect.open_writer()
        self._readers = dialect.open_readers()
        self._pending: deque[_PendingWrite] = deque()
        self._reading: set[asyncio.Task[Any]] = set()
        self._wakeup = asyncio.Event()
        self._closing = False
        self._announced: set[str] = set()
        self._counts: list[Count] = []
        """Of the transaction that runs."""
        self.on_changes: Callable[[frozenset[str]], None] = lambda _owners: None
        """Called after a commit with the persons whose jobs it changed (`storage.changes.announce_change`)."""

    @property
    def waiting(self) -> int:
        """The number of operations that wait for the writer."""
        return len(self._pending)

    async def run_write(self, operation: Operation[T]) -> T:
        """Run in a savepoint of the writer's next transaction; return after its commit.

        Raises: errors of the operation (its changes are undone), StorageBusy, StorageFull.
        """
        return await self.submit(operation)

    async def run_deletion(self, operation: Operation[T]) -> T:
        """`run_write` of an operation that deletes personal data, of which the files are purged later."""

        def delete(tx: Connection) -> T:
            self.dialect.mark_deleted(tx)
            return operation(tx)

        return await self.run_write(delete)

    def submit(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """`run_write` without waiting; the future may be discarded."""
        return self._enqueue(operation, is_outside=False)

    async def run_outside(self, work: Callable[[DriverConnection], T]) -> T:
        """Run `work` between two transactions of the writer, on the driver's connection.

        Raises: errors of `work`, the driver's included.
        """
        return await self._enqueue(work, is_outside=True)

    def _enqueue(self, operation: Callable[[Any], T], *, is_outside: bool) -> "asyncio.Future[T]":
        if self._closing:
            raise RuntimeError("the storage is closed")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_mark_retrieved)
        self._pending.append(_PendingWrite(operation, answer, is_outside))
        self._wakeup.set()
        return answer

    async def run_read(self, query: Operation[T]) -> T:
        """Run on a reader's snapshot.

        Raises: errors of the query, StorageBusy.
        """
        if self._closing:
            raise RuntimeError("the storage is closed")
        reading = asyncio.create_task(self._read(query), name="storage reader")
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)
        reading.add_done_callback(_mark_retrieved)
        return await asyncio.shield(reading)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All operations submitted inside are committed before this exits."""
        writing = asyncio.create_task(self._write_forever(), name="storage writer")
        try:
            yield
        finally:
            self._closing = True
            self._wakeup.set()
            await _wait_uninterrupted(asyncio.create_task(self._close(writing)))

    async def _write_forever(self) -> None:
        while self._pending or not self._closing:
            if not self._pending:
                self._wakeup.clear()
                await self._wakeup.wait()
                continue
            batch = self._next_batch()
            operations = [write.operation for write in batch]
            outcomes = await (self._run_alone(*operations) if batch[0].is_outside else self._commit(operations))
            for write, outcome in zip(batch, outcomes, strict=True):
                _resolve(write.answer, outcome)
            self._report_changes()

    def _report_changes(self) -> None:
        """Those of a transaction that was lost are reported too: who reads them finds nothing new."""
        if self._announced:
            owners = frozenset(self._announced)
            self._announced.clear()
            self.on_changes(owners)

    def _next_batch(self) -> list[_PendingWrite]:
        """Consecutive operations of one transaction, or one that runs outside transactions."""
        batch = [self._pending.popleft()]
        while len(batch) < BATCH and self._pending and not (batch[0].is_outside or self._pending[0].is_outside):
            batch.append(self._pending.popleft())
        return batch

    async def _run_alone(self, work: Callable[[DriverConnection], Any]) -> list[Any]:
        try:
            return [await self._writer.run_outside(work)]
        except Exception as error:  # the writer must not end
            return [_Failure(error)]

    async def _commit(self, operations: list[Operation[Any]]) -> list[Any]:
        """Run one transaction, or one per operation if the shared one was lost. Never raises."""
        try:
            return await self._transact(operations)
        except _TransactionLost as lost:
            if len(operations) > 1:
                log.warning("a shared transaction was lost", action="batch_lost", error=str(lost.__cause__))
                return [(await self._commit([operation]))[0] for operation in operations]
            return [_Failure(self._to_easel_error(lost.__cause__))]
        except Exception as error:  # the writer must not end
            return [_Failure(self._to_easel_error(error))] * len(operations)

    async def _transact(self, operations: list[Operation[Any]]) -> list[Any]:
        started = time.monotonic()
        self._counts.clear()
        try:
            outcomes = await self._writer.transact(partial(self._attempt_all, operations=operations))
        except DBAPIError as error:
            raise _TransactionLost() from error
        self.metrics.observe_commit(time.monotonic() - started, len(operations))
        self._report_counts()
        return outcomes

    def _report_counts(self) -> None:
        for count in self._counts:
            try:
                count(self.metrics)
            except Exception as error:  # the transaction is committed
                log.error("a figure was not counted", action="count_failed", exc_info=error)

    def _attempt_all(self, tx: Connection, operations: list[Operation[Any]]) -> list[Any]:
        try:
            return [self._attempt(tx, operation) for operation in operations]
        finally:
            self._announced |= tx.info.pop(CHANGED_OWNERS, set())

    def _attempt(self, tx: Connection, operation: Operation[Any]) -> Any:
        savepoint = tx.begin_nested()
        try:
            outcome = operation(tx)
            savepoint.commit()
            self._counts += take_counts(tx)
        except DBAPIError as error:
            if self.dialect.ends_transaction(error):
                raise _TransactionLost() from error
            savepoint.rollback()
            return _Failure(self._to_easel_error(error))
        except Exception as error:
            savepoint.rollback()
            return _Failure(error)
        finally:
            take_counts(tx)
        return outcome

    async def _read(self, query: Operation[T]) -> T:
        try:
            return await self._readers.transact(query)
        except DBAPIError as error:
            raise self._to_easel_error(error) from error

    def _to_easel_error(self, error: BaseException | None) -> Exception:
        """Our error if there is one, else the library's."""
        if isinstance(error, DBAPIError) and (named := self.dialect.translate_error(error)):
            named.__cause__ = error
            self.metrics.count_storage_error(named.code)
            return named
        return error if isinstance(error, Exception) else RuntimeError("a transaction was lost")

    async def _close(self, writing: "asyncio.Task[None]") -> None:
        """Close the writer's connection last: the last one to close runs the checkpoint."""
        await asyncio.gather(writing, *self._reading, return_exceptions=True)
        await self._readers.close()
        await self._writer.close()
        self.dialect.close()


def _resolve(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    if answer.done():  # its caller was cancelled
        return
    if isinstance(outcome, _Failure):
        answer.set_exception(outcome.error)
    else:
        answer.set_result(outcome)


async def _wait_uninterrupted(task: "asyncio.Task[None]") -> None:
    """Wait for the task's end despite cancellations, then re-raise the cancellation."""
    cancelled = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _mark_retrieved(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()
