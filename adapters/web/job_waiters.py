"""Who waits for jobs that other programs' APIs answer with: a job is cancelled when nobody does any more."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from bot.errors import EaselError

GRACE_S = 2.0
"""How long a job goes on after its client has hung up: a client whose connection was lost tries again soon."""


@dataclass
class JobWaiters:
    """`closing`: the server stops: its jobs go on at the next one, where their clients find them."""

    closing: asyncio.Event
    _counts: Counter[str] = field(default_factory=Counter)
    _cancelling: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def hold(self, job_ids: Sequence[str], cancel: Callable[[str], Awaitable[object]]) -> AsyncIterator[None]:
        """Wait for the jobs. If they have not ended then, `cancel` is called with each that nobody else waits for."""
        self._counts.update(job_ids)
        try:
            yield
        finally:
            self._counts.subtract(job_ids)
            left = [job_id for job_id in job_ids if not self._counts[job_id]]
            for job_id in left:
                del self._counts[job_id]
            task = asyncio.create_task(self._cancel_abandoned(left, cancel))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def _cancel_abandoned(self, job_ids: Sequence[str], cancel: Callable[[str], Awaitable[object]]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self.closing.wait()
            return
        for job_id in job_ids:
            if not self._counts[job_id]:
                with suppress(EaselError):  # most have ended
                    await cancel(job_id)
