"""Removes from the files what deleted rows leave behind, while the server runs.

The work is done in bounded steps on the writer's connection, so jobs are accepted in between.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import structlog

from bot.runtime.shutdown import cancel_tasks
from storage.database import Database
from storage.dialect import PurgeState
from storage.discarded import DiscardedFiles
from storage.privacy import SqlPrivacy

log = structlog.get_logger(__name__)

CHECK_S = 10.0
"""Interval at which the log is truncated and a purge may start."""
SETTLE_S = 5.0
"""Delay of a purge: meanwhile, the chat event that asked for the deletion is emptied too."""
PAUSE_S = 0.02
"""Pause after each step."""
CLOSE_S = 2.0
"""Maximum time to purge before closing; the next start continues."""


class Purge:
    def __init__(self, database: Database, privacy: SqlPrivacy, discarded: DiscardedFiles) -> None:
        self._database = database
        self._privacy = privacy
        self._discarded = discarded

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Purge in the background; at the end, purge what was deleted in the meantime."""
        purging = asyncio.create_task(self._run_forever(), name="storage purge")
        try:
            yield
        finally:
            await cancel_tasks([purging])
            if self._database.dialect.has_deleted:
                await _log_errors(self.purge(CLOSE_S))

    async def run(self, limit_s: float = float("inf")) -> bool:
        """Run steps until nothing is left; returns whether that was reached.

        Waits neither for a reader that prevents it nor longer than `limit_s`.
        """
        deadline = time.monotonic() + limit_s
        while (state := await self._database.run_outside(self._database.dialect.purge_step)) is PurgeState.MORE:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(PAUSE_S)
        return state is PurgeState.CLEAN

    async def _run_forever(self) -> None:
        await asyncio.sleep(CHECK_S)
        await _log_errors(self._privacy.finish_forgetting())
        while True:
            await _log_errors(self._purge_settled())
            await asyncio.sleep(CHECK_S)

    async def _purge_settled(self) -> None:
        if await self._database.run_outside(self._database.dialect.needs_purge):
            await asyncio.sleep(SETTLE_S)
        await self.purge(float("inf"))

    async def purge(self, limit_s: float) -> None:
        await self._discarded.delete()
        if not await self.run(limit_s):
            log.debug("the purge waits for a reader", action="purge_waits")


async def _log_errors(work: Awaitable[None]) -> None:
    """The loop must go on."""
    try:
        await work
    except Exception as error:
        log.warning("deleted data could not be purged yet", action="purge_failed", exc_info=error)
