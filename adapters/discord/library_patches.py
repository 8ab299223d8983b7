"""The only place that touches names of discord.py which its documentation does not promise."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import yarl
from discord import Client, ShardInfo
from discord.app_commands import CommandTree, Translator
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

OFFICIAL_API = Route.BASE
OFFICIAL_GATEWAY = DiscordWebSocket.DEFAULT_GATEWAY


def set_api_base(api_base: str, gateway_url: str) -> None:
    """Send everything to this server, else (both empty) to Discord itself. For the whole process."""
    Route.BASE = api_base.rstrip("/") or OFFICIAL_API
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url) if gateway_url else OFFICIAL_GATEWAY


def cap_reconnect_wait(shard: ShardInfo) -> None:
    """At most a minute between two tries to connect again: the library waits up to 17."""
    back_off = getattr(shard._parent, "_backoff", None)
    if back_off is not None:  # a connection that is only played has none
        back_off._max = 6


async def stop_heartbeats(wait_s: float = 5.0) -> None:
    """End the threads that keep this loop's connections alive.

    The library ends a connection's own when it closes it, but forgets one whose session had not begun yet.
    """
    loop = asyncio.get_running_loop()
    beating = [one for one in threading.enumerate() if isinstance(one, KeepAliveHandler) and one.ws.loop is loop]
    for thread in beating:
        thread.stop()
    for thread in beating:
        await asyncio.to_thread(thread.join, wait_s)


async def fetch_commands(client: Client) -> list[Mapping[str, Any]]:
    """What Discord was told: the library asks without translations, and reads contexts one too low (2.7.1)."""
    route = Route("GET", "/applications/{application_id}/commands", application_id=client.application_id)
    told: list[Mapping[str, Any]] = await client.http.request(route, params={"with_localizations": "true"})
    return told


async def command_payloads(tree: CommandTree[Any]) -> list[Mapping[str, Any]]:
    """What Discord would be told."""
    translator = tree.translator or Translator()
    return [await one.get_translated_payload(tree, translator) for one in tree.get_commands()]
