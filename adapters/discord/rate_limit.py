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

WRITES, WINDOW_S = 4, 5.5
"""Writes of one channel in any such time: one less than Discord takes, and a little longer."""
A_SECOND = 40
"""Requests in any second, of Discord's 50: answers to interactions are not counted there."""
SPARE = 20
"""Progress only goes out while fewer were made in this second."""
PROGRESS_S = 3.0
PATIENCE_S = 2.5
"""Whoever would wait longer comes back later, so that a busy channel holds up no other."""


class Pace:
    """Hands out the moments at which requests may go out."""

    writes = WRITES
    window_s = WINDOW_S

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._channels: defaultdict[str, deque[float]] = defaultdict(deque)
        self._all: deque[float] = deque()

    def _wait_s(self, channel: str) -> float:
        """Until the next write in this channel may go out. Moments handed out already may lie ahead."""
        now = self._clock()
        times = self._channels[channel]
        while times and now - times[0] >= self.window_s:
            times.popleft()
        while self._all and now - self._all[0] >= 1:
            self._all.popleft()
        ready = [now]
        if len(times) >= self.writes:
            ready.append(times[-self.writes] + self.window_s)
        if len(self._all) >= A_SECOND:
            ready.append(self._all[-A_SECOND] + 1)
        if len(self._channels) > 5000:
            self._forget_the_quiet(now)
        return max(ready) - now

    def _forget_the_quiet(self, now: float) -> None:
        for name in [name for name, times in self._channels.items() if not times or now - times[-1] > self.window_s]:
            del self._channels[name]

    async def turn(self, channel: str) -> None:
        """Wait until it is ours. Raises: PlatformError with how long, when that is too long to wait here."""
        wait_s = self._wait_s(channel)
        if wait_s > PATIENCE_S:
            raise PlatformError("too much is said in this channel", retry_after_s=wait_s)
        at = self._clock() + wait_s
        self._channels[channel].append(at)
        self._all.append(at)
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def has_spare(self, channel: str) -> bool:
        """Whether progress may go out now: half of the channel's writes stay for what matters more."""
        is_quiet = self._wait_s(channel) <= 0 and len(self._channels[channel]) <= self.writes // 2
        return is_quiet and len(self._all) < SPARE


Showing = Callable[[], Awaitable[None]]


@dataclass
class _Editor:
    """One channel's: the latest progress of each of its messages, shown one after another."""

    waiting: dict[str, Showing] = field(default_factory=dict)
    showing: str = ""
    is_free: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Editors:
    """Progress: best effort, latest wins, and never after a result."""

    def __init__(self, pace: Pace, *, every_s: float = PROGRESS_S) -> None:
        self._pace = pace
        self._every_s = every_s
        self._editors: dict[str, _Editor] = {}

    def show(self, channel: str, message: str, showing: Showing) -> None:
        """Show this as soon as there is room, unless something newer comes first."""
        editor = self._editors.setdefault(channel, _Editor())
        editor.waiting[message] = showing
        if editor.task is None:
            editor.task = asyncio.create_task(self._edit(channel, editor))

    async def settle(self, channel: str, message: str) -> None:
        """Nothing of this message's progress arrives after this returns."""
        editor = self._editors.get(channel)
        if editor is None:
            return
        editor.waiting.pop(message, None)
        while editor.showing == message:
            await editor.is_free.wait()

    async def _edit(self, channel: str, editor: _Editor) -> None:
        try:
            while editor.waiting:
                while editor.waiting and not self._pace.has_spare(channel):  # noqa: ASYNC110 - room comes with time
                    await asyncio.sleep(0.25)
                if editor.waiting:
                    await self._show_one(channel, editor)
                    await asyncio.sleep(self._every_s)
        finally:
            editor.task = None
            if not editor.waiting:
                self._editors.pop(channel, None)

    async def _show_one(self, channel: str, editor: _Editor) -> None:
        message = next(iter(editor.waiting))
        showing = editor.waiting.pop(message)
        editor.showing = message
        editor.is_free.clear()
        try:
            with suppress(PlatformError):
                await self._pace.turn(channel)
                await showing()
        except Exception as error:  # the edge of a loop that must go on
            log.debug("progress was not shown", action="progress_failed", exc_info=error)
        finally:
            editor.showing = ""
            editor.is_free.set()

    def stop(self) -> None:
        for editor in list(self._editors.values()):
            if editor.task is not None:
                editor.task.cancel()
