"""Removes from the files what deleted rows leave behind, while the server runs.

The work is done in bounded steps on the writer's connection, so jobs are accepted in between.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from bot.runtime.shutdown import cancel_tasks
from storage.database import Database
from storage.dialect import PurgeState
from storage.discarded import DiscardedFiles

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
    def __init__(self, database: Database, discarded: DiscardedFiles) -> None:
        self._database = database
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
                await self._run_safely(CLOSE_S)

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
        while True:
            await asyncio.sleep(CHECK_S)
            if await self._database.run_outside(self._database.dialect.needs_purge):
                await asyncio.sleep(SETTLE_S)
            await self._run_safely(float("inf"))

    async def _run_safely(self, limit_s: float) -> None:
        try:
            await self._discarded.delete()
            if not await self.run(limit_s):
                log.debug("the purge waits for a reader", action="purge_waits")
        except Exception as error:  # the loop must go on
            log.warning("deleted data could not be purged yet", action="purge_failed", exc_info=error)
