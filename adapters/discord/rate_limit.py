"""Limits the rate of requests below Discord's limits: results before progress, one progress editor per channel.

Discord allows about 5 writes in 5 seconds per channel, edits included, and 50 requests per second in total. The library
only learns of a limit by exceeding it; this module stays below.
"""

import asyncio
import heapq
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from bot.ports.platform_answers import PlatformError

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


@dataclass
class _RetryTimes:
    """When the postponed writes of a channel come back: in turn by person, however many writes somebody has."""

    _due: list[tuple[float, str]] = field(default_factory=list)
    _waiting: Counter[str] = field(default_factory=Counter)

    def are_over(self, now: float) -> bool:
        while self._due and self._due[0][0] <= now:
            self._waiting -= Counter([heapq.heappop(self._due)[1]])
        return not self._due

    def count_ahead(self, owner: str, now: float) -> int:
        if self.are_over(now):
            return 0
        own = self._waiting[owner]
        return own + sum(min(count, own + 1) for other, count in self._waiting.items() if other != owner)

    def add(self, owner: str, at: float) -> None:
        heapq.heappush(self._due, (at, owner))
        self._waiting[owner] += 1


class RateLimiter:
    """Hands out the times at which requests may be sent."""

    writes = WRITES_PER_WINDOW
    window_s = WINDOW_S

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._writes_by_channel: defaultdict[str, deque[float]] = defaultdict(deque)
        self._retries_by_channel: defaultdict[str, _RetryTimes] = defaultdict(_RetryTimes)
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
        writes, retries = self._writes_by_channel, self._retries_by_channel
        for name in [name for name, times in writes.items() if not times or now - times[-1] > self.window_s]:
            del writes[name]
        for name in [name for name, times in retries.items() if times.are_over(now)]:
            del retries[name]

    async def wait_for_slot(self, channel: str, *, owner: str = "") -> None:
        """Wait for a slot. Raises: PlatformError with `retry_after_s`, if the wait is longer than `MAX_WAIT_S`.

        `owner`: whose write it is, if it is tried again then.
        """
        wait_s = self._wait_s(channel)
        if wait_s > MAX_WAIT_S:
            if owner:
                ahead = self._retries_by_channel[channel].count_ahead(owner, self._clock())
                wait_s += ahead // self.writes * self.window_s
                self._retries_by_channel[channel].add(owner, self._clock() + wait_s)
            raise PlatformError("the channel's rate limit is used up", retry_after_s=wait_s)
        at = self._clock() + wait_s
        self._writes_by_channel[channel].append(at)
        self._all_writes.append(at)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

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
