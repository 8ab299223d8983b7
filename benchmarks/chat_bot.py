"""The bot of `benchmarks/chat_load.py`, in its own process: `python -m benchmarks.chat_bot PLATFORM ADDRESS TOKEN`.

Everything is real but the engines. It prints "ready" when it is connected and exits at the end of its input.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog

from adapters.discord import context as discord_context
from adapters.discord import rate_limit as discord_rate_limit
from adapters.telegram.rate_limit import RateLimit, RateLimits
from tests.discord.app_fixture import open_app
from tests.discord.loopback.discord_server_state import DiscordServerState
from tests.telegram.easel_fixture import build_app
from tests.web import fake_pool as web_pool

STEP_S = 0.1
CAPACITY = 32
NO_LIMIT = RateLimit(10**6, 1.0)
UNLIMITED = RateLimits(
    chat=NO_LIMIT,
    group=NO_LIMIT,
    overall=NO_LIMIT,
    reserved=0,
    reserved_overall=0,
    progress_s=1.0,
    group_progress_s=1.0,
)
"""No rate limiting, and progress every second, like simple bots."""


@asynccontextmanager
async def _run_telegram(address: str, token: str, folder: Path, is_limited: bool) -> AsyncIterator[None]:
    server: Any = SimpleNamespace(api_base=f"{address}/bot", file_base=f"{address}/file/bot", token=token)
    async with build_app(folder, server, rates=RateLimits() if is_limited else UNLIMITED, slots=CAPACITY) as app:
        app.pool.step_s = STEP_S
        await app.open()
        yield


@asynccontextmanager
async def _run_discord(address: str, token: str, folder: Path, is_limited: bool) -> AsyncIterator[None]:
    if not is_limited:
        discord_rate_limit.REQUESTS_PER_S = discord_rate_limit.PROGRESS_REQUESTS_PER_S = (
            discord_rate_limit.RateLimiter.writes
        ) = 10**6
        discord_context.PROGRESS_INTERVAL_S = 1.0
    web_pool.STEP_S = STEP_S
    server: Any = SimpleNamespace(api_base=address, state=SimpleNamespace(now=DiscordServerState().now, commands=True))
    async with open_app(folder, server, slots=CAPACITY, token=token) as app:
        app.start()
        await app.wait_until_ready()
        yield


BOTS: dict[str, Callable[[str, str, Path, bool], AbstractAsyncContextManager[None]]] = {
    "discord": _run_discord,
    "telegram": _run_telegram,
}


async def _run(platform: str, address: str, token: str, is_limited: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        async with BOTS[platform](address, token, Path(folder), is_limited):
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("platform", choices=list(BOTS))
    parser.add_argument("address")
    parser.add_argument("token")
    parser.add_argument("--unpaced", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(_run(options.platform, options.address, options.token, not options.unpaced))


if __name__ == "__main__":
    main()
