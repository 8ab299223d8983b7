"""Progress in placeholders: best effort, the latest wins, and none follows the result."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from bot.errors import EaselError
from bot.jobs import Job
from bot.ports import Platform, Progress
from bot.queue.grid_message import GridMessage, GridMessages
from bot.queue.progress import ProgressBus

log = structlog.get_logger()

PROGRESS_GRACE_S = 5.0
"""How long a result waits for a progress update that is being sent."""
GRID_INTERVAL_S = 3.0
"""Between two sheets of a grid that is being filled: each is composed and uploaded anew."""


@dataclass(frozen=True)
class ProgressView:
    """Progress being shown in one message; the lock is held while an update is being sent."""

    task: asyncio.Task[None]
    lock: asyncio.Lock


@dataclass(kw_only=True)
class MessageProgress:
    """`grids` is asked anew for each update of a grid."""

    progress_bus: ProgressBus
    grids: GridMessages | None = None
    _views: dict[str, ProgressView] = field(default_factory=dict)

    def start(self, platform: Platform, job: Job, message_ref: str, group: asyncio.TaskGroup) -> None:
        lock = asyncio.Lock()
        if isinstance(job, GridMessage):
            task = group.create_task(self._follow_grid(platform, job, message_ref, lock))
        else:
            task = group.create_task(self._follow_job(platform, job, message_ref, lock))
        self._views[_key(job)] = ProgressView(task, lock)

    async def stop(self, job: Job) -> None:
        """Before the result is sent; an update that is being sent is awaited, as none may follow the result."""
        shown = self._views.pop(_key(job), None)
        if shown is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(PROGRESS_GRACE_S):
                    await shown.lock.acquire()
            shown.task.cancel()
            await asyncio.wait([shown.task])

    async def _follow_job(self, platform: Platform, job: Job, message_ref: str, lock: asyncio.Lock) -> None:
        with self.progress_bus.follow_job(job.id) as follower:
            while True:
                _, progress = await follower.next()
                if progress is not None:
                    async with lock:
                        await _show(platform, job, message_ref, progress)

    async def _follow_grid(self, platform: Platform, grid: GridMessage, message_ref: str, lock: asyncio.Lock) -> None:
        """Each cell that begins or ends changes the sheet so far; several that end together change it once. What the
        chat's limits do not allow is shown a little later."""
        with self.progress_bus.follow_changes([cell.job.id for cell in grid.cells]) as follower:
            shown: GridMessage | None = grid
            is_shown = True
            while shown is not None and not shown.state.is_final:
                if is_shown:
                    await follower.next()
                async with lock:
                    shown, is_shown = await self._show_grid(platform, shown, message_ref)
                await asyncio.sleep(GRID_INTERVAL_S)

    async def _show_grid(
        self, platform: Platform, last: GridMessage, message_ref: str
    ) -> tuple[GridMessage | None, bool]:
        """The grid as it is now, and whether the message shows it. An ended one is shown by its result; None: it is
        erased."""
        try:
            assert self.grids is not None
            shown = await self.grids.find(last)
            if shown is None or shown.state.is_final:
                return shown, True
            preview = await self.grids.draw_preview(shown) if shown.ended else None
        except Exception as error:  # the loop must not end
            log.warning("progress not shown", action="progress_failed", exc_info=error)
            return last, True
        progress = Progress(step=shown.ended, steps=len(shown.cells), preview=preview)
        return shown, await _show(platform, shown, message_ref, progress)


def _key(job: Job) -> str:
    """A grid's message is handed over when the first of its jobs is erased."""
    return job.grid if isinstance(job, GridMessage) else job.id


async def _show(platform: Platform, job: Job, message_ref: str, progress: Progress) -> bool:
    """False: it may be shown a little later."""
    try:
        return await platform.show_progress(job, message_ref, progress) is not False
    except EaselError as error:
        log.debug("progress not shown", action="progress_failed", code=error.code)
    except Exception as error:  # the loop must not end
        log.warning("progress not shown", action="progress_failed", exc_info=error)
    return True
