"""Removes one protection of a server, to show that the crash test detects it: `--inject NAME`."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from typing import Any

from bot.jobs import Media
from bot.ports import Delivery
from storage.accept import AcceptJobs
from storage.database import Database
from storage.jobs import SqlJobStore
from storage.media import SqlMediaStore
from tests.crash import platform

LATE_S = 2.0
_late: set[asyncio.Task[Any]] = set()


class _Undone(Exception):
    pass


def answer_first() -> None:
    """Requests are answered first and committed later."""
    write = Database.run_write

    async def write_later(self: Database, operation: Callable[..., Any]) -> Any:
        if not isinstance(operation, AcceptJobs):
            return await write(self, operation)
        answers = []

        def look_ahead(tx: Any) -> None:
            answers.append(operation(tx))
            raise _Undone

        try:
            await write(self, look_ahead)
        except _Undone:
            _do_later(lambda: write(self, operation))
        return answers[-1]

    Database.run_write = write_later  # type: ignore[method-assign]


def write_files_later() -> None:
    """The rows of an image are written before its file."""
    write = SqlMediaStore.write_file

    async def write_later(self: SqlMediaStore, media: Media) -> str:
        _do_later(lambda: write(self, media))
        return hashlib.sha256(media.data).hexdigest()

    SqlMediaStore.write_file = write_later  # type: ignore[method-assign]


def change_nonces() -> None:
    """Each attempt has another nonce, and half of the calls stay unanswered."""
    Delivery.nonce = property(lambda self: secrets.token_hex(8))  # type: ignore[method-assign, assignment]
    platform.NO_ANSWER = 0.5


def forget_running() -> None:
    """Jobs that were running when the server died are not requeued at startup."""

    async def recover(self: SqlJobStore, *, max_interruptions: int) -> int:
        return 0

    SqlJobStore.requeue_interrupted = recover  # type: ignore[method-assign]


def _do_later(work: Callable[[], Any]) -> None:
    async def later() -> None:
        await asyncio.sleep(LATE_S)
        await work()

    task = asyncio.create_task(later())
    _late.add(task)
    task.add_done_callback(_late.discard)


INJECTIONS: dict[str, Callable[[], None]] = {
    work.__name__: work for work in (answer_first, write_files_later, change_nonces, forget_running)
}
