"""Shutdown: stop signals, and ending tasks."""

import asyncio
import os
import signal
from collections.abc import Iterable
from typing import Any

RECANCEL_INTERVAL_S = 5.0


class StopSignal:
    """The first signal requests a stop, the second exits immediately."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._request)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self._request))

    def _request(self) -> None:
        if self._requested.is_set():
            os._exit(130)
        self._requested.set()

    async def wait(self) -> None:
        await self._requested.wait()


async def cancel_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel the tasks until they have ended: in Python 3.11 a library's `wait_for` can swallow a cancellation."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=RECANCEL_INTERVAL_S)
