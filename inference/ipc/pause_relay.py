"""Lets a child process that works in the background wait while people's jobs run."""

import asyncio
from collections.abc import Callable

from inference.ipc.build_messages import SetPaused
from inference.ipc.process import ChildProcess

POLL_S = 0.2
"""How often the process is told whether people's jobs run."""


async def relay_pauses(child: ChildProcess, is_paused: Callable[[], bool]) -> None:
    """Until it is cancelled."""
    told = False
    while True:
        if is_paused() != told:
            told = not told
            child.send(SetPaused(told))
        await asyncio.sleep(POLL_S)
