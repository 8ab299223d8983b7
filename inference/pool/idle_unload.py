"""Gives a device's memory back: at once when somebody says so, and of models that nobody used for long."""

import asyncio
from collections.abc import Callable, Collection

import structlog

from bot.ports import Freed
from inference.ipc import messages

_log = structlog.get_logger("inference")
ANSWER_S = 60.0
"""What somebody waits for a child that loads a model just then."""
Post = Callable[[messages.Release], None]


class Idleness:
    """What one device's models were last used for, and who waits for them to be released.

    `after_s`: a model that nobody used for so long is unloaded; 0: never. Times are monotonic seconds.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._used_at: dict[str, float] = {}
        self._waiting: list[asyncio.Future[Freed]] = []

    def used(self, model: str, now: float) -> None:
        self._used_at[model] = now

    def stale(self, warm: Collection[str], running: Collection[str], now: float) -> tuple[str, ...]:
        """Models to be unloaded for want of use. What has just come counts as used."""
        self._used_at = {name: self._used_at.get(name, now) for name in warm}
        for name in running:
            if name in self._used_at:
                self._used_at[name] = now
        if not self._after_s:
            return ()
        found = tuple(name for name, used_at in self._used_at.items() if now - used_at >= self._after_s)
        for name in found:
            self._used_at[name] = now  # said once, not at each look
        return found

    async def release(self, post: Post) -> Freed:
        """Have the child unload all that nothing runs on. Nothing is freed by a child that dies or loads for long."""
        waiting: asyncio.Future[Freed] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        post(messages.Release())
        try:
            async with asyncio.timeout(ANSWER_S):
                return await waiting
        except TimeoutError:
            return Freed()
        finally:
            self._waiting.remove(waiting)

    def released(self, freed: Freed) -> None:
        """The child did it, or is gone."""
        if freed.models:
            _log.info("Models were unloaded", action="released", models=list(freed.models), mb=freed.freed_mb)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(freed)
