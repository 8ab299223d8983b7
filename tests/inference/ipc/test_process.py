"""A child process is gone after it was closed, even if closing it is cancelled."""

import asyncio

import pytest

from inference.ipc.process import ChildProcess

pytestmark = pytest.mark.process


async def test_a_child_is_gone_even_if_closing_it_is_cancelled():
    child = await ChildProcess.start("sleeper", "tests.inference.sleeper")
    closing = asyncio.create_task(child.close(30))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert child._process.returncode is not None
