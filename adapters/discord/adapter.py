"""Keeps Easel connected to Discord; whatever happens to the connection, the rest of the server keeps running.

An outage of hours, a failed first connect, a refused token: none of them ends the process, and accepted jobs continue.
Deliveries wait in the outbox until the connection is back.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import discord
import structlog

from adapters.discord.client import EaselClient, application_owner_ids
from adapters.discord.command_sync import sync_commands
from adapters.discord.context import DiscordContext
from adapters.discord.delivery import MessageDelivery
from adapters.discord.error_mapping import REFUSED_RETRY_S, is_token_refusal
from adapters.discord.event_handler import EventHandler
from adapters.discord.events import PLATFORM
from adapters.discord.library_patches import UNREADABLE, check_answers, set_api_base, stop_heartbeats, use_zlib
from adapters.discord.settings import DiscordSettings
from bot.errors import EaselError
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.ports.platform_answers import Undeliverable
from bot.usecases import AdapterContext

log = structlog.get_logger()

MIN_RECONNECT_S, MAX_RECONNECT_S = 1.0, 60.0
SWITCH_WAIT_S = 5.0
"""After a plugin was switched; others may follow, and Discord limits registrations per day."""
READY_TIMEOUT_S = 600.0
"""A client that is not ready within this time is replaced."""
GATEWAY_TIMEOUT_S = 20.0
CONNECTION_ERRORS = (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError, *UNREADABLE)
GATEWAY_ERRORS = (discord.ConnectionClosed, discord.PrivilegedIntentsRequired)
BAD_TOKEN_CODE = 4004
TOKEN_REFUSED = (
    "Discord refused the token (DISCORD_TOKEN): create a new one in the developer portal, under Bot. Easel tries again "
    "every minute and keeps all results; a token that is replaced in its file is read without a restart."
)
CONNECTED, AWAY = "Discord is connected.", "Discord cannot be reached; Easel keeps trying."
CLOSE_SENTENCES = {
    4010: "Discord refused the connection's shard: restart Easel.",
    4011: "Discord requires more shards for this bot than it is connected with: restart Easel.",
    4012: "Discord no longer supports this version of its gateway: update Easel (easel update).",
    4013: "Discord does not know an intent that Easel asks for: update Easel (easel update).",
    4014: "Discord does not allow an intent that Easel needs: check them in the developer portal, under Bot.",
}
"""What the owner reads when Discord closes the gateway for a reason that does not end by itself."""
CONTENT_INTENT_REFUSED = (
    "Discord does not allow the message content intent: turn it on in the developer portal, under Bot, or set "
    "discord.message_content to false. Continuing without it."
)


class DiscordAdapter:
    """The adapter and the platform (`bot.ports`)."""

    name = PLATFORM
    first_wait_s = MIN_RECONNECT_S
    switch_wait_s = SWITCH_WAIT_S
    refused_wait_s = REFUSED_RETRY_S
    ready_s = READY_TIMEOUT_S

    def __init__(self, settings: DiscordSettings, adapter_context: AdapterContext) -> None:
        self._settings = settings
        self._adapter_context = adapter_context
        self.context = DiscordContext(settings, adapter_context)
        self.event_handler = EventHandler(self.context)
        self._delivery = MessageDelivery(self.context)
        self._message_content = settings.message_content
        self._is_refused = False
        self._told: set[str] = set()

    def is_admin(self, account_id: str) -> bool:
        return self.context.is_admin(account_id)

    # ------------------------------------------------------------ the adapter

    async def serve(self) -> None:
        """Serve until cancelled; a refused token is tried again, as it is then."""
        try:
            await self._keep_connected()
        finally:
            await self.event_handler.stop()

    async def _keep_connected(self) -> None:
        wait_s = self.first_wait_s
        while True:
            client = EaselClient(self.context, self.event_handler, message_content=self._message_content)
            sentence = AWAY
            try:
                await self._connect(client, self._adapter_context.read_secret("DISCORD_TOKEN"))
            except CONNECTION_ERRORS as error:
                if isinstance(error, discord.PrivilegedIntentsRequired) and self._message_content:
                    self._notify_owner(CONTENT_INTENT_REFUSED)
                    self._message_content = False
                    continue
                if _is_token_refused(error):
                    await self._wait_for_token()
                    continue
                log.warning("no connection to Discord", action="discord_away", error=repr(error)[:200])
                sentence = self._explain_close(error)
            except Exception as error:  # the boundary of a loop that must continue
                log.error("the connection to Discord broke", action="discord_broke", exc_info=error)
            self._report(sentence, is_ok=False)
            wait_s = self.first_wait_s if client.was_ready else min(MAX_RECONNECT_S, wait_s * 2)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))

    async def _wait_for_token(self) -> None:
        """Tell the owner once, and try again calmly: results wait in the outbox."""
        if not self._is_refused:
            self._notify_owner(TOKEN_REFUSED)
        self._is_refused = True
        self._report(TOKEN_REFUSED, is_ok=False)
        await asyncio.sleep(self.refused_wait_s)

    def _explain_close(self, error: Exception) -> str:
        """What `doctor` says about a lost connection; the owner is told once what does not end by itself."""
        code: Any = 4014 if isinstance(error, discord.PrivilegedIntentsRequired) else getattr(error, "code", None)
        sentence = CLOSE_SENTENCES.get(code) if isinstance(error, GATEWAY_ERRORS) else None
        if sentence is not None and sentence not in self._told:
            self._told.add(sentence)
            self._notify_owner(sentence)
        return sentence or AWAY

    def _report(self, sentence: str, *, is_ok: bool) -> None:
        self._adapter_context.usecases.operations.report_platform(PLATFORM, sentence, is_ok=is_ok)

    async def _connect(self, client: EaselClient, token: str) -> None:
        """Returns when the connection is lost for good. Raises what the library raises."""
        helpers: list[asyncio.Task[None]] = []
        check_answers()
        use_zlib()
        set_api_base(self._settings.api_base, await self._gateway_url(token))
        try:
            async with client:
                await client.login(token)
                self._is_refused, self.context.refused_until = False, 0.0
                self.context.client, self.context.owner_ids = client, application_owner_ids(client)
                helpers = [
                    asyncio.create_task(self._resume_and_sync(client)),
                    asyncio.create_task(self._close_unless_ready(client)),
                ]
                await client.connect()
        finally:
            self.context.client = None
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await stop_heartbeats()

    async def _gateway_url(self, token: str) -> str:
        """The gateway of another server; empty: Discord's, which never gets a token meant for another server.

        Raises: discord.HTTPException, aiohttp.ClientError, TimeoutError.
        """
        if self._settings.gateway_url or not self._settings.api_base:
            return self._settings.gateway_url
        url = f"{self._settings.api_base.rstrip('/')}/gateway/bot"
        timeout = aiohttp.ClientTimeout(total=GATEWAY_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"Authorization": f"Bot {token}"}, raise_for_status=False) as answer,
        ):
            body = await answer.text()
            if answer.status != 200:
                raise discord.HTTPException(answer, _parse_json(body))
            url = _parse_json(body)
            if not isinstance(url, dict) or not isinstance(url.get("url"), str):
                raise aiohttp.ClientPayloadError("no gateway in the answer")
            return str(url["url"])

    async def _resume_and_sync(self, client: EaselClient) -> None:
        """Handle the events that the last process left, then sync the commands, and again when plugins are switched."""
        wait_s, is_resumed, is_known = self.first_wait_s, False, False
        while True:
            try:
                if not is_resumed:
                    await self.event_handler.resume()
                is_resumed = True
                if not self._settings.sync_commands:
                    return
                if is_known:
                    await self._wait_for_plugins(client)
                is_known = False
                await sync_commands(client.tree)
                is_known, wait_s = True, self.first_wait_s
                continue
            except Undeliverable as error:
                log.error("Discord rejected the commands", action="commands_rejected", detail=error.detail)
                is_known = True  # it would reject the same ones again, and counts them
                continue
            except EaselError as error:
                log.warning("resuming after the connect has to wait", action="discord_settling", error=str(error))
            except Exception as error:  # the boundary of a loop that must continue
                log.error("resuming after the connect failed", action="discord_settling", exc_info=error)
            wait_s = min(MAX_RECONNECT_S, wait_s * 2)
            await asyncio.sleep(wait_s)

    async def _wait_for_plugins(self, client: EaselClient) -> None:
        """Until they have other commands, which the client offers then."""
        plugins = self._adapter_context.usecases.plugins
        await plugins.wait_for_commands(client.of_plugins)
        await asyncio.sleep(self.switch_wait_s)
        client.offer_commands(plugins.commands)

    async def _close_unless_ready(self, client: EaselClient) -> None:
        """The library retries a first connect forever, each try nested in the last; a new client starts over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.ready_s):
                await client.wait_until_ready()
                self._report(CONNECTED, is_ok=True)
                return
        log.warning("Discord was not ready in time; reconnecting", action="discord_not_ready")
        await client.close()

    def _notify_owner(self, sentence: str) -> None:
        log.error("Discord needs the owner's attention", action="discord_owner", sentence=sentence)
        self._adapter_context.announce(sentence)

    # ------------------------------------------------------------ the platform

    async def retract_message(self, delivery: Delivery, message_ref: str) -> None:
        await self._delivery.retract_message(delivery, message_ref)

    async def post_placeholder(self, delivery: Delivery) -> str:
        return await self._delivery.post_placeholder(delivery)

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> bool:
        return await self._delivery.show_progress(job, message_ref, progress)

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._delivery.edit_result(delivery, pictures)

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._delivery.send_result(delivery, pictures)

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        await self._delivery.notify_undeliverable(delivery)


def _is_token_refused(error: Exception) -> bool:
    """Whether Discord itself refused the token; the library takes any 401 for that, a proxy's page too."""
    if isinstance(error, discord.ConnectionClosed):
        return error.code == BAD_TOKEN_CODE
    cause = error.__cause__ if isinstance(error, discord.LoginFailure) else error
    if isinstance(cause, discord.HTTPException):
        return is_token_refusal(cause)
    return isinstance(error, discord.LoginFailure)


def _parse_json(body: str) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body
