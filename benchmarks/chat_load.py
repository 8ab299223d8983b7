"""Two hundred people in a hundred groups of a chat platform, each with a request every 20 seconds for two minutes.

The platform is a loopback server that enforces the real limits; it and the users run in this process, the bot in its
own (`benchmarks/chat_bot.py`); the engines are fakes. Counted are lost requests, HTTP 429 responses to us, and the time
from a message to its placeholder. The peer is the same bot without rate limiting, which shows progress every second
like simple bots and only backs off after an HTTP 429.

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
from tests.discord.chat_load import run_load
from tests.discord.loopback.server import loopback
from tests.discord.simulated_users import until
from tests.telegram import chat_load
from tests.telegram.server import run_bot_server

DURATION_S = 120.0
READY_S = 120.0


@asynccontextmanager
async def _start_bot(platform: str, address: str, token: str, is_limited: bool) -> AsyncIterator[None]:
    """Runs the bot in its own process, connected within the block."""
    command = [sys.executable, "-m", "benchmarks.chat_bot", platform, address, token]
    bot = await asyncio.create_subprocess_exec(
        *command, *([] if is_limited else ["--unpaced"]), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert bot.stdin is not None
    assert bot.stdout is not None
    try:
        line = await asyncio.wait_for(bot.stdout.readline(), READY_S)
        assert line == b"ready\n", line
        yield
        bot.stdin.close()
        await asyncio.wait_for(bot.wait(), READY_S)
    finally:
        if bot.returncode is None:
            bot.kill()
            await bot.wait()


async def _run_telegram(duration_s: float, is_limited: bool) -> chat_load.Load:
    async with (
        run_bot_server() as server,
        _start_bot("telegram", server.api_base.removesuffix("/bot"), server.token, is_limited),
    ):
        app: Any = SimpleNamespace(server=server, state=server.state)
        return await chat_load.run_load(app, lasts_s=duration_s)


async def _run_discord(duration_s: float, is_limited: bool) -> DiscordLoad:
    async with loopback() as server:
        server.state.guild()
        async with _start_bot("discord", server.api_base, server.state.token, is_limited):
            await until(lambda: server.state.commands, "the commands")
            app: Any = SimpleNamespace(server=server)
            return await run_load(app, people=200, channels=100, seconds=duration_s, patience_s=600)


PLATFORMS: dict[str, Callable[[float, bool], Coroutine[Any, Any, chat_load.Load | DiscordLoad]]] = {
    "discord": _run_discord,
    "telegram": _run_telegram,
}


def run_benchmark(platform: str = "telegram", duration_s: float = DURATION_S) -> dict[str, Any]:
    """Ours first, then the peer."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    figures: dict[str, Any] = {"platform": platform, "chats": 100, "people": 200, "lasts_s": duration_s}
    for name, is_limited in (("ours", True), ("peer", False)):
        result = asyncio.run(PLATFORMS[platform](duration_s, is_limited))
        figures[f"{name}_requests"] = result.asked
        figures[f"{name}_lost"] = result.asked - result.answered
        figures[f"{name}_refused"] = result.refused
        figures[f"{name}_problems"] = len(result.problems)
        figures[f"{name}_p50_ms"] = round(1000 * result.percentile(0.5))
        figures[f"{name}_p95_ms"] = round(1000 * result.percentile(0.95))
    figures["ratio_p95"] = round(figures["peer_p95_ms"] / max(1, figures["ours_p95_ms"]), 2)
    return figures


def summarize(figures: dict[str, Any]) -> str:
    return (
        f"{figures['platform']}: of {figures['ours_requests']} requests {figures['ours_lost']} were lost, "
        f"{figures['ours_refused']} HTTP 429 responses, placeholder after {figures['ours_p50_ms']} ms (p50) and "
        f"{figures['ours_p95_ms']} ms (p95); without rate limiting: {figures['peer_lost']} lost, "
        f"{figures['peer_refused']} HTTP 429 responses, p95 {figures['peer_p95_ms']} ms: "
        f"{figures['ratio_p95']} times ours"
    )


if __name__ == "__main__":
    print(summarize(run_benchmark(sys.argv[1] if len(sys.argv) > 1 else "telegram")))
