"""Waiting for something to change, within one event loop."""

import asyncio
from collections.abc import Callable


class Changes:
    """`note` a change; others wait for the next one, or for news since they last asked."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self._has_news = False

    def note(self) -> None:
        self._has_news = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def news(self) -> None:
        """Returns at once if something changed since the last call, else at the next change."""
        while not self._has_news:
            await self._next()
        self._has_news = False

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Look at once and again after each change."""
        while not is_true():
            await self._next()

    async def _next(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
