"""Two hundred people in a hundred chats for ten seconds, on a fake engine and at Telegram's own limits."""

import pytest

from adapters.telegram.rate_limit import Rates
from tests.telegram import chat_load
from tests.telegram.easel_fixture import built
from tests.telegram.server import serving

SLACK_S = 5.0
"""The benchmark holds it to one second, on a machine that has nothing else to do."""


@pytest.mark.slow
async def test_a_hundred_chats_lose_nothing_and_cause_no_flood(tmp_path):
    async with serving() as server, built(tmp_path, server, rates=Rates(), room=16) as town:
        town.pool.step_s = 0.05
        await town.open()
        result = await chat_load.run(town, lasts_s=10)

    assert result.asked >= 80
    assert result.answered == result.asked
    assert len(result.waits_s) == result.asked
    assert result.refused == 0
    assert result.problems == []
    assert result.percentile(0.95) < SLACK_S
