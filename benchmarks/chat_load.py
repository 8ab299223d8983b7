"""Two hundred people in a hundred groups of a chat platform, each asking every 20 seconds for two minutes.

The platform is a server on loopback that holds us to the real limits; it and the crowd live in this process, the bot in
one of its own (`benchmarks/chat_bot.py`); the engines are made up. Counted are requests lost, refusals for flooding
(429) that we caused, and the time from the message being there to the placeholder standing. The peer is the same bot
without a pace of its own, which shows progress every second as simple bots do and only stops when it is told to.

`python -m benchmarks.chat_load [telegram|discord]`
"""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import structlog

from benchmarks.machine import ROOT
from tests.discord.chat_load import Load as DiscordLoad
from tests.discord.chat_load import put_on
from tests.discord.loopback.server import loopback
from tests.discord.simulated_users import until
from tests.telegram import chat_load
from tests.telegram.server import serving

LASTS_S = 120.0
READY_S = 120.0


@asynccontextmanager
async def _bot(platform: str, address: str, token: str, is_paced: bool) -> AsyncIterator[None]:
    """Connected while inside."""
    command = [sys.executable, "-m", "benchmarks.chat_bot", platform, address, token]
    bot = await asyncio.create_subprocess_exec(
        *command, *([] if is_paced else ["--unpaced"]), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert bot.stdin is not None
    assert bot.stdout is not None
    try:
        said = await asyncio.wait_for(bot.stdout.readline(), READY_S)
        assert said == b"ready\n", said
        yield
        bot.stdin.close()
        await asyncio.wait_for(bot.wait(), READY_S)
    finally:
        if bot.returncode is None:
            bot.kill()
            await bot.wait()


async def _telegram(lasts_s: float, is_paced: bool) -> chat_load.Load:
    async with serving() as server, _bot("telegram", server.api_base.removesuffix("/bot"), server.token, is_paced):
        town: Any = SimpleNamespace(server=server, world=server.world)
        return await chat_load.run(town, lasts_s=lasts_s)


async def _discord(lasts_s: float, is_paced: bool) -> DiscordLoad:
    async with loopback() as server:
        server.world.guild()
        async with _bot("discord", server.api_base, server.world.token, is_paced):
            await until(lambda: server.world.commands, "the commands")
            house: Any = SimpleNamespace(server=server)
            return await put_on(house, people=200, channels=100, seconds=lasts_s, patience_s=600)


PLATFORMS: dict[str, Callable[[float, bool], Coroutine[Any, Any, chat_load.Load | DiscordLoad]]] = {
    "discord": _discord,
    "telegram": _telegram,
}


def run(platform: str = "telegram", lasts_s: float = LASTS_S) -> dict[str, Any]:
    """Ours, then the peer."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures: dict[str, Any] = {"platform": platform, "chats": 100, "people": 200, "lasts_s": lasts_s}
    for name, is_paced in (("ours", True), ("peer", False)):
        result = asyncio.run(PLATFORMS[platform](lasts_s, is_paced))
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
