"""The only module that uses undocumented names of discord.py."""

import asyncio
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
import yarl
from discord import Client, DiscordException, ShardInfo, utils
from discord.app_commands import CommandTree
from discord.gateway import DiscordWebSocket, KeepAliveHandler, ReconnectWebSocket
from discord.http import HTTPClient, Route
from discord.webhook.async_ import AsyncWebhookAdapter

log = structlog.get_logger()

OFFICIAL_API = Route.BASE
SYNC_FLUSH = b"\x00\x00\xff\xff"
OFFICIAL_GATEWAY = DiscordWebSocket.DEFAULT_GATEWAY


def set_api_base(api_base: str, gateway_url: str) -> None:
    """Use this server for the whole process; both empty: Discord itself."""
    Route.BASE = api_base.rstrip("/") or OFFICIAL_API
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url) if gateway_url else OFFICIAL_GATEWAY


class GatewayDecompressor:
    """Inflates the gateway's stream (zlib-stream). Source: Discord's documentation, "Transport Compression"."""

    COMPRESSION_TYPE = "zlib-stream"

    def __init__(self) -> None:
        self._received = bytearray()
        self._inflater = zlib.decompressobj()

    def decompress(self, data: bytes, /) -> str | None:
        """The message that ends with this frame; None: it goes on. Raises: zlib.error."""
        self._received += data
        if not data.endswith(SYNC_FLUSH):
            return None
        message = self._inflater.decompress(self._received)
        self._received.clear()
        return message.decode()


def use_zlib() -> None:
    """Ask the gateway for zlib, which every server speaks: the library asks for zstd if any package brought its module,
    and then takes another's broken stream for an error of its own."""
    utils._ActiveDecompressionContext = GatewayDecompressor


def cap_reconnect_wait(shard: ShardInfo) -> None:
    """At most a minute between two reconnects; the library waits up to 17."""
    back_off = getattr(shard._parent, "_backoff", None)
    if back_off is not None:  # a fake connection has none
        back_off._max = 6


# ---------------------------------------------------------------- answers

WEBHOOK_TIMEOUT_S = 60.0
_request, _request_webhook = HTTPClient.request, AsyncWebhookAdapter.request


def check_answers() -> None:
    """A page with status 200 is no success, and a call by an interaction's token ends in time.

    The library takes any text for an answer, and waits by itself for as long as the limit of a webhook asks.
    """
    HTTPClient.request = _request_checked  # type: ignore[method-assign, assignment]
    AsyncWebhookAdapter.request = _request_webhook_checked  # type: ignore[method-assign, assignment]


async def _request_checked(client: HTTPClient, *args: Any, **more: Any) -> Any:
    return _require_no_page(await _request(client, *args, **more))


async def _request_webhook_checked(adapter: AsyncWebhookAdapter, *args: Any, **more: Any) -> Any:
    async with asyncio.timeout(WEBHOOK_TIMEOUT_S):
        return _require_no_page(await _request_webhook(adapter, *args, **more))


def _require_no_page(answer: Any) -> Any:
    """Raises: ValueError. Discord answers with JSON, or with nothing."""
    if isinstance(answer, str) and answer:
        raise ValueError("a page instead of an answer")
    return answer


# ---------------------------------------------------------------- events that cannot be read

BROKEN_STREAM_WAIT_S = 1.0
GUILD_DETAILS = (
    *("roles", "emojis", "stickers", "members", "voice_states", "presences"),
    *("stage_instances", "guild_scheduled_events", "soundboard_sounds"),
)
UNREADABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_receive = DiscordWebSocket.received_message


class UnreadableSession(DiscordException):
    """The session's first event cannot be read: only a new connection helps."""


def drop_unreadable_events(client: Client) -> None:
    """An event that the library cannot parse is dropped alone; the library would give up the session for it."""
    parsers: dict[str, Callable[[Any], None]] = client._connection.parsers
    for name, parse in list(parsers.items()):
        parsers[name] = _careful_parser(name, parse)
    DiscordWebSocket.received_message = _receive_carefully  # type: ignore[method-assign]


def log_dropped(name: str, error: BaseException) -> None:
    """One line about an event that could not be read, with the place that could not read it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    log.warning("an event could not be read", action="event_dropped", name=name, error=repr(error)[:200], place=place)


@contextmanager
def log_unreadable(name: str) -> Iterator[None]:
    """What cannot be read is dropped with one line in the log."""
    try:
        yield
    except UNREADABLE as error:
        log_dropped(name, error)


def _careful_parser(name: str, parse: Callable[[Any], None]) -> Callable[[Any], None]:
    def parse_carefully(data: Any) -> None:
        for form in _forms(name, data):
            try:
                parse(form)
                return
            except Exception as error:  # whatever an event contains
                reason = error
        log_dropped(name, reason)
        if name == "READY":
            raise UnreadableSession(repr(reason)[:200]) from reason

    return parse_carefully


def _forms(name: str, data: Any) -> list[Any]:
    """The event, and of a server what is left without the details that Easel does not need."""
    if name != "GUILD_CREATE" or not isinstance(data, dict):
        return [data]
    plain = {**data, **{detail: [] for detail in GUILD_DETAILS if detail in data}}
    return [data, plain, {**plain, "channels": [], "threads": []}]


async def _receive_carefully(socket: DiscordWebSocket, frame: Any, /) -> None:
    try:
        await _receive(socket, frame)
    except zlib.error as error:  # all later frames depend on this one
        log.warning("the gateway's stream is broken", action="stream_broken", error=str(error))
        await asyncio.sleep(BROKEN_STREAM_WAIT_S)
        await socket.close()
        raise ReconnectWebSocket(socket.shard_id) from error
    except UNREADABLE as error:
        log.warning("a frame could not be read", action="frame_dropped", error=repr(error)[:200])


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
