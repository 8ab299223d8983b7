"""Tasks that wait for a free slot, as the parts of a job can for long: no processes."""

import asyncio

import pytest

from bot.errors import JobCancelled
from inference.pool.pool import DevicePool
from inference.settings import PoolSettings
from tests.inference.support import PassthroughEncoder, collect, make_task


async def test_a_task_that_is_cancelled_while_it_waits_for_a_slot_ends_without_another_change():
    pool = DevicePool(PoolSettings(), (), (), PassthroughEncoder())
    waiting = asyncio.create_task(collect(pool, make_task(is_part=True)))
    await asyncio.sleep(0)

    pool.cancel_task("job")

    with pytest.raises(JobCancelled):
        async with asyncio.timeout(30):
            await waiting
