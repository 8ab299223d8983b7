"""Two hundred people in a hundred chats for four seconds, on a fake engine and at Telegram's own limits."""

import pytest

from adapters.telegram.rate_limit import RateLimits
from tests.telegram import chat_load
from tests.telegram.easel_fixture import build_app
from tests.telegram.server import run_bot_server

SLACK_S = 20.0
"""The benchmark holds it to one second, on a machine that has nothing else to do. If a chat had to wait for the others,
it would be a minute."""


@pytest.mark.slow
async def test_a_hundred_chats_lose_nothing_and_cause_no_flood(tmp_path):
    async with run_bot_server() as server, build_app(tmp_path, server, rates=RateLimits(), room=16) as app:
        app.pool.step_s = 0.05
        await app.open()
        result = await chat_load.run_load(app, lasts_s=4)

    assert result.asked >= 32
    assert result.answered == result.asked
    assert len(result.waits_s) == result.asked
    assert result.refused == 0
    assert result.problems == []
    assert result.percentile(0.95) < SLACK_S
