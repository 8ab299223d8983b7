"""Two hundred people in a hundred groups of a chat platform, each asking every 20 seconds for two minutes.

The platform is a server on loopback that holds us to the real limits; the engines are made up. Counted are requests
lost, refusals for flooding (429) that we caused, and the time from the message being there to the placeholder standing.
The peer is the same bot without a pace of its own, which shows progress every second as simple bots do and only stops
when it is told to.

`python -m benchmarks.chat_load [telegram|discord]`
"""

import asyncio
import logging
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from adapters.discord import desk as discord_desk
from adapters.discord import pace as discord_pace
from adapters.telegram.pace import Rate, Rates
from tests.discord.house import opened
from tests.discord.load import Load as DiscordLoad
from tests.discord.load import put_on
from tests.discord.loopback.server import loopback
from tests.telegram import load
from tests.telegram.server import serving
from tests.telegram.town import built
from tests.web import pool as web_pool

LASTS_S = 120.0
STEP_S = 0.1
ROOM = 32
NO_LIMIT = Rate(10**6, 1.0)
UNPACED = Rates(
    chat=NO_LIMIT, group=NO_LIMIT, overall=NO_LIMIT, kept=0, kept_overall=0, progress_s=1.0, group_progress_s=1.0
)


async def _telegram(lasts_s: float, rates: Rates) -> load.Load:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        async with serving() as server, built(Path(folder), server, rates=rates, room=ROOM) as town:
            town.pool.step_s = STEP_S
            await town.open()
            return await load.run(town, lasts_s=lasts_s)


async def _discord(lasts_s: float, rates: Rates) -> DiscordLoad:
    if rates is UNPACED:
        discord_pace.A_SECOND = discord_pace.SPARE = discord_pace.Pace.writes = 10**6
        discord_desk.PROGRESS_S = 1.0
    web_pool.STEP_S = STEP_S
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        async with loopback() as server:
            server.world.guild()
            async with opened(Path(folder), server, room=ROOM) as house:
                house.start()
                await house.ready()
                return await put_on(house, people=200, channels=100, seconds=lasts_s, patience_s=600)


PLATFORMS: dict[str, Callable[[float, Rates], Coroutine[Any, Any, load.Load | DiscordLoad]]] = {
    "discord": _discord,
    "telegram": _telegram,
}


def run(platform: str = "telegram", lasts_s: float = LASTS_S) -> dict[str, Any]:
    """Ours, then the peer."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures: dict[str, Any] = {"platform": platform, "chats": 100, "people": 200, "lasts_s": lasts_s}
    for name, rates in (("ours", Rates()), ("peer", UNPACED)):
        result = asyncio.run(PLATFORMS[platform](lasts_s, rates))
        figures[f"{name}_asked"] = result.asked
        figures[f"{name}_lost"] = result.asked - result.answered
        figures[f"{name}_refused"] = result.refused
        figures[f"{name}_problems"] = len(result.problems)
        figures[f"{name}_p50_ms"] = round(1000 * result.percentile(0.5))
        figures[f"{name}_p95_ms"] = round(1000 * result.percentile(0.95))
    figures["ratio_p95"] = round(figures["peer_p95_ms"] / max(1, figures["ours_p95_ms"]), 2)
    return figures


def sentence(figures: dict[str, Any]) -> str:
    return (
        f"{figures['platform']}: of {figures['ours_asked']} requests {figures['ours_lost']} were lost, "
        f"{figures['ours_refused']} refusals for flooding, placeholder after {figures['ours_p50_ms']} ms (p50) and "
        f"{figures['ours_p95_ms']} ms (p95); without a pace of its own: {figures['peer_lost']} lost, "
        f"{figures['peer_refused']} refusals, p95 {figures['peer_p95_ms']} ms: {figures['ratio_p95']} times ours"
    )


if __name__ == "__main__":
    print(sentence(run(sys.argv[1] if len(sys.argv) > 1 else "telegram")))
