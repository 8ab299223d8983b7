"""The bot of `benchmarks/chat_load.py`, in its own process: `python -m benchmarks.chat_bot PLATFORM ADDRESS TOKEN`.

Everything is real but the engines. It says "ready" when it is connected and ends with its input.
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

from adapters.discord import context as discord_desk
from adapters.discord import rate_limit as discord_pace
from adapters.telegram.rate_limit import Rate, Rates
from tests.discord.app_fixture import opened
from tests.discord.loopback.discord_server_state import World
from tests.telegram.easel_fixture import built
from tests.web import fake_pool as web_pool

STEP_S = 0.1
ROOM = 32
NO_LIMIT = Rate(10**6, 1.0)
UNPACED = Rates(
    chat=NO_LIMIT, group=NO_LIMIT, overall=NO_LIMIT, kept=0, kept_overall=0, progress_s=1.0, group_progress_s=1.0
)
"""No pace of its own, and progress every second, as simple bots show it."""


@asynccontextmanager
async def _telegram(address: str, token: str, folder: Path, is_paced: bool) -> AsyncIterator[None]:
    server: Any = SimpleNamespace(api_base=f"{address}/bot", file_base=f"{address}/file/bot", token=token)
    async with built(folder, server, rates=Rates() if is_paced else UNPACED, room=ROOM) as town:
        town.pool.step_s = STEP_S
        await town.open()
        yield


@asynccontextmanager
async def _discord(address: str, token: str, folder: Path, is_paced: bool) -> AsyncIterator[None]:
    if not is_paced:
        discord_pace.REQUESTS_PER_S = discord_pace.PROGRESS_REQUESTS_PER_S = discord_pace.RateLimiter.writes = 10**6
        discord_desk.PROGRESS_INTERVAL_S = 1.0
    web_pool.STEP_S = STEP_S
    server: Any = SimpleNamespace(api_base=address, world=SimpleNamespace(now=World().now, commands=True))
    async with opened(folder, server, room=ROOM, token=token) as house:
        house.start()
        await house.ready()
        yield


BOTS: dict[str, Callable[[str, str, Path, bool], AbstractAsyncContextManager[None]]] = {
    "discord": _discord,
    "telegram": _telegram,
}


async def _run(platform: str, address: str, token: str, is_paced: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        async with BOTS[platform](address, token, Path(folder), is_paced):
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("platform", choices=list(BOTS))
    parser.add_argument("address")
    parser.add_argument("token")
    parser.add_argument("--unpaced", action="store_true")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asyncio.run(_run(chosen.platform, chosen.address, chosen.token, not chosen.unpaced))


if __name__ == "__main__":
    main()
