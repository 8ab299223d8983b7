"""Limits the rate of requests below Discord's limits: results before progress, one progress editor per channel.

Discord allows about 5 writes in 5 seconds per channel, edits included, and 50 requests per second in total. The library
only learns of a limit by exceeding it; this module stays below.
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
"""Writes per channel and window: one fewer than Discord allows, in a slightly longer window."""
REQUESTS_PER_S = 40
"""Of the 50 that Discord allows, which do not count answers to interactions."""
PROGRESS_REQUESTS_PER_S = 20
"""Progress is only shown while fewer requests were made in the last second."""
PROGRESS_INTERVAL_S = 3.0
MAX_WAIT_S = 2.5
"""For a longer wait the caller retries later: a busy channel delays no other."""


class RateLimiter:
    """Hands out the times at which requests may be sent."""

    writes = WRITES_PER_WINDOW
    window_s = WINDOW_S

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._writes_by_channel: defaultdict[str, deque[float]] = defaultdict(deque)
        self._retries_by_channel: defaultdict[str, deque[float]] = defaultdict(deque)
        self._all_writes: deque[float] = deque()

    def _wait_s(self, channel: str) -> float:
        """Seconds until the next write in this channel. Times already handed out may be in the future."""
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
        for by_channel in (self._writes_by_channel, self._retries_by_channel):
            idle = [name for name, times in by_channel.items() if not times or now - times[-1] > self.window_s]
            for name in idle:
                del by_channel[name]

    async def wait_for_slot(self, channel: str, *, will_retry: bool = False) -> None:
        """Wait for a slot. Raises: PlatformError with `retry_after_s`, if the wait is longer than `MAX_WAIT_S`.

        `will_retry`: the caller comes back then, and no more callers are told to come back at about the same time than
        may write then.
        """
        wait_s = self._wait_s(channel)
        if wait_s > MAX_WAIT_S:
            retry_after_s = self._schedule_retry(channel, wait_s) if will_retry else wait_s
            raise PlatformError("the channel's rate limit is used up", retry_after_s=retry_after_s)
        at = self._clock() + wait_s
        self._writes_by_channel[channel].append(at)
        self._all_writes.append(at)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def _schedule_retry(self, channel: str, wait_s: float) -> float:
        now, times = self._clock(), self._retries_by_channel[channel]
        while times and times[0] <= now:
            times.popleft()
        at = now + wait_s
        if len(times) >= self.writes:
            at = max(at, times[-self.writes] + self.window_s)
        times.append(max(at, times[-1]) if times else at)
        return times[-1] - now

    def has_spare_capacity(self, channel: str) -> bool:
        """Whether progress may be shown now: half of the channel's writes are reserved for results."""
        is_quiet = self._wait_s(channel) <= 0 and len(self._writes_by_channel[channel]) <= self.writes // 2
        return is_quiet and len(self._all_writes) < PROGRESS_REQUESTS_PER_S


ShowProgress = Callable[[], Awaitable[None]]


@dataclass
class _ChannelEditor:
    """The latest progress of each message of a channel, shown one after another."""

    pending: dict[str, ShowProgress] = field(default_factory=dict)
    current: str = ""
    is_idle: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class ProgressEditors:
    """Shows progress: best effort, the latest wins, never after a result."""

    def __init__(self, rate_limiter: RateLimiter, *, every_s: float = PROGRESS_INTERVAL_S) -> None:
        self._rate_limiter = rate_limiter
        self._every_s = every_s
        self._editors: dict[str, _ChannelEditor] = {}

    def schedule(self, channel: str, message: str, show: ShowProgress) -> None:
        """Show this as soon as the limits allow, unless newer progress comes first."""
        editor = self._editors.setdefault(channel, _ChannelEditor())
        editor.pending[message] = show
        if editor.task is None:
            editor.task = asyncio.create_task(self._run_editor(channel, editor))

    async def finish(self, channel: str, message: str) -> None:
        """When this returns, no more progress of this message will be shown."""
        editor = self._editors.get(channel)
        if editor is None:
            return
        editor.pending.pop(message, None)
        while editor.current == message:
            await editor.is_idle.wait()

    async def _run_editor(self, channel: str, editor: _ChannelEditor) -> None:
        try:
            while editor.pending:
                while editor.pending and not self._rate_limiter.has_spare_capacity(channel):  # noqa: ASYNC110
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
        show = editor.pending.pop(message)
        editor.current = message
        editor.is_idle.clear()
        try:
            with suppress(PlatformError):
                await self._rate_limiter.wait_for_slot(channel)
                await show()
        except Exception as error:  # the boundary of a loop that must continue
            log.debug("progress was not shown", action="progress_failed", exc_info=error)
        finally:
            editor.current = ""
            editor.is_idle.set()

    def stop(self) -> None:
        for editor in list(self._editors.values()):
            if editor.task is not None:
                editor.task.cancel()
