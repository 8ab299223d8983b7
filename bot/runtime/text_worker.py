"""Runs work on the texts of requests in a thread of its own, for a limited time.

The event loop goes on meanwhile. It is one thread, which people use in turn: a flood of such requests takes one core
at most, none of the threads that read files, and delays each other person by one request.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bot.errors import QueueFull
from bot.runtime.fair_slots import FairSlots

DEADLINE_S = 5.0
"""Waiting for the thread included."""
T = TypeVar("T")


class TextWorker:
    def __init__(self, *, deadline_s: float = DEADLINE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._deadline_s = deadline_s
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="texts")
        self._turns = FairSlots(1, per_owner=1)

    async def collect(self, steps: Iterator[T], *, owner: str = "", is_light: bool = False) -> list[T]:
        """All items of the iterator, which is advanced in the thread, or here if `is_light`.

        Raises: QueueFull: the deadline passed, which is checked before each item; what the iterator does.
        """
        if is_light:
            return list(steps)
        loop, deadline = asyncio.get_running_loop(), self._clock() + self._deadline_s
        try:
            async with asyncio.timeout(self._deadline_s), self._turns.hold(owner):
                return await loop.run_in_executor(self._executor, self._collect, steps, deadline)
        except TimeoutError as error:
            raise self._too_late() from error

    def _collect(self, steps: Iterator[T], deadline: float) -> list[T]:
        items: list[T] = []
        while self._clock() < deadline:
            try:
                items.append(next(steps))
            except StopIteration:
                return items
        raise self._too_late()

    def _too_late(self) -> QueueFull:
        return QueueFull(limit=1, retry_after_s=max(1, round(self._deadline_s)), is_global=True)
