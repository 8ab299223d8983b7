"""Wakes tasks of one event loop when something changes."""

import asyncio
from collections.abc import Callable


class ChangeSignal:
    """A condition without a lock: `notify` wakes everyone who waits; a change is remembered for `wait_for_change`."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self._has_changed = False

    def notify(self) -> None:
        self._has_changed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for_change(self) -> None:
        """Return immediately if something changed since the last call, otherwise at the next change."""
        while not self._has_changed:
            await self._next_change()
        self._has_changed = False

    async def wait_until(self, is_true: Callable[[], bool]) -> None:
        """Check now and after each change."""
        while not is_true():
            await self._next_change()

    async def _next_change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
