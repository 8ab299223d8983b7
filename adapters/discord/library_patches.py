"""The only module that uses undocumented names of discord.py."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import yarl
from discord import Client, ShardInfo
from discord.app_commands import CommandTree
from discord.gateway import DiscordWebSocket, KeepAliveHandler
from discord.http import Route

OFFICIAL_API = Route.BASE
OFFICIAL_GATEWAY = DiscordWebSocket.DEFAULT_GATEWAY


def set_api_base(api_base: str, gateway_url: str) -> None:
    """Use this server for the whole process; both empty: Discord itself."""
    Route.BASE = api_base.rstrip("/") or OFFICIAL_API
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url) if gateway_url else OFFICIAL_GATEWAY


def cap_reconnect_wait(shard: ShardInfo) -> None:
    """At most a minute between two reconnects; the library waits up to 17."""
    back_off = getattr(shard._parent, "_backoff", None)
    if back_off is not None:  # a fake connection has none
        back_off._max = 6


async def stop_heartbeats(wait_s: float = 5.0) -> None:
    """Stop the heartbeat threads of this loop's connections.

    The library stops a thread with its connection, but not if the session had not started yet.
    """
    loop = asyncio.get_running_loop()
    threads = [one for one in threading.enumerate() if isinstance(one, KeepAliveHandler) and one.ws.loop is loop]
    for thread in threads:
        thread.stop()
    for thread in threads:
        await asyncio.to_thread(thread.join, wait_s)


async def fetch_commands(client: Client) -> list[Mapping[str, Any]]:
    """The registered commands; the library requests no translations and parses contexts off by one (2.7.1)."""
    route = Route("GET", "/applications/{application_id}/commands", application_id=client.application_id)
    commands: list[Mapping[str, Any]] = await client.http.request(route, params={"with_localizations": "true"})
    return commands


async def command_payloads(tree: CommandTree[Any]) -> list[Mapping[str, Any]]:
    """The commands as they would be registered."""
    commands, translator = tree.get_commands(), tree.translator
    if translator is None:
        return [command.to_dict(tree) for command in commands]
    return [await command.get_translated_payload(tree, translator) for command in commands]
