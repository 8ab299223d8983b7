"""How fast we write: fewer requests than Discord allows, results before progress, one progress editor per channel.

Discord counts about 5 writes in 5 seconds per channel, edits included, and 50 requests a second over all. The library
only learns of a limit when it was met; here it is not met.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from bot.errors import PlatformError

log = structlog.get_logger()

WRITES_PER_WINDOW, WINDOW_S = 4, 5.5
"""Writes of one channel in any such time: one less than Discord takes, and a little longer."""
REQUESTS_PER_S = 40
"""Requests in any second, of Discord's 50: answers to interactions are not counted there."""
PROGRESS_REQUESTS_PER_S = 20
"""Progress only goes out while fewer were made in this second."""
PROGRESS_INTERVAL_S = 3.0
MAX_WAIT_S = 2.5
"""Whoever would wait longer comes back later, so that a busy channel holds up no other."""


class RateLimiter:
    """Hands out the moments at which requests may go out."""

    writes = WRITES_PER_WINDOW
    window_s = WINDOW_S

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._writes_by_channel: defaultdict[str, deque[float]] = defaultdict(deque)
        self._all_writes: deque[float] = deque()

    def _wait_s(self, channel: str) -> float:
        """Until the next write in this channel may go out. Moments handed out already may lie ahead."""
        now = self._clock()
        times = self._writes_by_channel[channel]
        while times and now - times[0] >= self.window_s:
            times.popleft()
        while self._all_writes and now - self._all_writes[0] >= 1:
            self._all_writes.popleft()
        ready = [now]
        if len(times) >= self.writes:
            ready.append(times[-self.writes] + self.window_s)
        if len(self._all_writes) >= REQUESTS_PER_S:
            ready.append(self._all_writes[-REQUESTS_PER_S] + 1)
        if len(self._writes_by_channel) > 5000:
            self._drop_idle_channels(now)
        return max(ready) - now

    def _drop_idle_channels(self, now: float) -> None:
        for name in [
            name for name, times in self._writes_by_channel.items() if not times or now - times[-1] > self.window_s
        ]:
            del self._writes_by_channel[name]

    async def wait_for_slot(self, channel: str) -> None:
        """Wait until it is ours. Raises: PlatformError with how long, when that is too long to wait here."""
        wait_s = self._wait_s(channel)
        if wait_s > MAX_WAIT_S:
            raise PlatformError("too much is said in this channel", retry_after_s=wait_s)
        at = self._clock() + wait_s
        self._writes_by_channel[channel].append(at)
        self._all_writes.append(at)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def has_spare_capacity(self, channel: str) -> bool:
        """Whether progress may go out now: half of the channel's writes stay for what matters more."""
        is_quiet = self._wait_s(channel) <= 0 and len(self._writes_by_channel[channel]) <= self.writes // 2
        return is_quiet and len(self._all_writes) < PROGRESS_REQUESTS_PER_S


ShowProgress = Callable[[], Awaitable[None]]


@dataclass
class _ChannelEditor:
    """One channel's: the latest progress of each of its messages, shown one after another."""

    pending: dict[str, ShowProgress] = field(default_factory=dict)
    current: str = ""
    is_idle: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class ProgressEditors:
    """Progress: best effort, latest wins, and never after a result."""

    def __init__(self, rate_limiter: RateLimiter, *, every_s: float = PROGRESS_INTERVAL_S) -> None:
        self._rate_limiter = rate_limiter
        self._every_s = every_s
        self._editors: dict[str, _ChannelEditor] = {}

    def schedule(self, channel: str, message: str, show: ShowProgress) -> None:
        """Show this as soon as there is room, unless something newer comes first."""
        editor = self._editors.setdefault(channel, _ChannelEditor())
        editor.pending[message] = show
        if editor.task is None:
            editor.task = asyncio.create_task(self._run_editor(channel, editor))

    async def finish(self, channel: str, message: str) -> None:
        """Nothing of this message's progress arrives after this returns."""
        editor = self._editors.get(channel)
        if editor is None:
            return
        editor.pending.pop(message, None)
        while editor.current == message:
            await editor.is_idle.wait()

    async def _run_editor(self, channel: str, editor: _ChannelEditor) -> None:
        try:
            while editor.pending:
                while editor.pending and not self._rate_limiter.has_spare_capacity(channel):  # noqa: ASYNC110 - room comes with time
                    await asyncio.sleep(0.25)
                if editor.pending:
                    await self._show_one(channel, editor)
                    await asyncio.sleep(self._every_s)
        finally:
            editor.task = None
            if not editor.pending:
                self._editors.pop(channel, None)

    async def _show_one(self, channel: str, editor: _ChannelEditor) -> None:
        message = next(iter(editor.pending))
        showing = editor.pending.pop(message)
        editor.current = message
        editor.is_idle.clear()
        try:
            with suppress(PlatformError):
                await self._rate_limiter.wait_for_slot(channel)
                await showing()
        except Exception as error:  # the edge of a loop that must go on
            log.debug("progress was not shown", action="progress_failed", exc_info=error)
        finally:
            editor.current = ""
            editor.is_idle.set()

    def stop(self) -> None:
        for editor in list(self._editors.values()):
            if editor.task is not None:
                editor.task.cancel()
