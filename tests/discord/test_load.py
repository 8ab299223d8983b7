"""Two hundred people over a hundred channels, for four seconds; `benchmarks` takes longer."""

import pytest

from tests.discord.app_fixture import DiscordApp
from tests.discord.chat_load import run_load


@pytest.mark.slow
async def test_nothing_is_lost_and_no_limit_met_with_two_hundred_people(app: DiscordApp, real_pace: None) -> None:
    load = await run_load(app, people=200, channels=100, seconds=4)

    assert load.asked > 24
    assert load.lost == []
    assert load.duplicated == []
    assert load.too_soon == []
    assert len(repr(load)) < 100_000
    assert load.percentile(0.95) < 20.0  # the benchmark's goal is 1 s, on a machine where nobody else works
