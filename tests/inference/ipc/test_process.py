"""A child process is gone once it was closed, whoever loses patience."""

import asyncio

import pytest

from inference.ipc.process import ChildProcess


async def test_a_child_is_gone_though_its_closing_is_cancelled():
    child = await ChildProcess.start("sleeper", "tests.inference.sleeper")
    closing = asyncio.create_task(child.close(30))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert child._process.returncode is not None
