"""Tasks end, even those that swallow a cancellation."""

import asyncio
from contextlib import suppress

from bot.runtime import shutdown


async def test_a_task_that_swallows_a_cancel_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(shutdown, "RECANCEL_INTERVAL_S", 0.01)
    swallowed = []

    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        swallowed.append(True)
        await asyncio.sleep(60)

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await shutdown.cancel_tasks([task])

    assert task.cancelled()
    assert swallowed == [True]


async def test_what_has_ended_is_no_matter():
    task = asyncio.create_task(asyncio.sleep(0))
    await task

    await shutdown.cancel_tasks([task])
    await shutdown.cancel_tasks([])
