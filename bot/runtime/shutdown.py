"""How a server is asked to stop, and how its tasks end."""

import asyncio
import os
import signal
from collections.abc import Iterable
from typing import Any

AGAIN_S = 5.0


class Stop:
    """The first signal asks to stop, the second stops at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._ask)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._ask))

    def _ask(self) -> None:
        if self._asked.is_set():
            os._exit(130)
        self._asked.set()

    async def wait(self) -> None:
        await self._asked.wait()


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel them until they have ended: in Python 3.11 a library's `wait_for` can swallow a cancel."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
