"""Runs work on the texts of requests in a thread of its own, for a limited time.

The event loop goes on meanwhile. It is one thread: a flood of such requests takes one core at most, and none of the
threads that read files.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bot.errors import QueueFull

DEADLINE_S = 5.0
"""Waiting for the thread included."""
T = TypeVar("T")


class TextWorker:
    def __init__(self, *, deadline_s: float = DEADLINE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline_s = deadline_s
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="texts")

    async def collect(self, steps: Iterator[T], *, is_light: bool = False) -> list[T]:
        """All items of the iterator, which is advanced in the thread, or here if `is_light`.

        Raises: QueueFull: the deadline passed, which is checked before each item; what the iterator does.
        """
        if is_light:
            return list(steps)
        loop, deadline = asyncio.get_running_loop(), self._clock() + self._deadline_s
        return await loop.run_in_executor(self._executor, self._collect, steps, deadline)

    def _collect(self, steps: Iterator[T], deadline: float) -> list[T]:
        items: list[T] = []
        while self._clock() < deadline:
            try:
                items.append(next(steps))
            except StopIteration:
                return items
        raise QueueFull(limit=1, retry_after_s=max(1, round(self._deadline_s)), is_global=True)
