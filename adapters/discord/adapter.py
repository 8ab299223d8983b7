"""Keeps Easel connected to Discord; whatever happens to the connection, the rest of the server keeps running.

An outage of hours, a failed first connect, a refused token: none of them ends the process, and accepted jobs continue.
Deliveries wait in the outbox until the connection is back.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

import aiohttp
import discord
import structlog

from adapters.discord.client import EaselClient, application_owner_ids
from adapters.discord.command_sync import sync_commands
from adapters.discord.context import DiscordContext
from adapters.discord.delivery import MessageDelivery
from adapters.discord.event_handler import EventHandler
from adapters.discord.events import PLATFORM
from adapters.discord.library_patches import set_api_base, stop_heartbeats
from adapters.discord.settings import DiscordSettings
from bot.errors import EaselError
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.usecases import AdapterContext

log = structlog.get_logger()

MIN_RECONNECT_S, MAX_RECONNECT_S = 1.0, 60.0
READY_TIMEOUT_S = 600.0
"""A client that is not ready within this time is replaced."""
GATEWAY_TIMEOUT_S = 20.0
BAD_TOKEN_CODE = 4004
TOKEN_REFUSED = (
    "Discord refused the token (DISCORD_TOKEN): create a new one in the developer portal, under Bot, and restart. "
    "Everything else keeps running."
)
CONTENT_INTENT_REFUSED = (
    "Discord does not allow the message content intent: turn it on in the developer portal, under Bot, or set "
    "discord.message_content to false. Continuing without it."
)


class DiscordAdapter:
    """The adapter and the platform (`bot.ports`)."""

    name = PLATFORM
    first_wait_s = MIN_RECONNECT_S
    ready_s = READY_TIMEOUT_S

    def __init__(self, settings: DiscordSettings, adapter_context: AdapterContext) -> None:
        self._settings = settings
        self._adapter_context = adapter_context
        self.context = DiscordContext(settings, adapter_context)
        self.event_handler = EventHandler(self.context)
        self._delivery = MessageDelivery(self.context)
        self._message_content = settings.message_content

    def is_admin(self, account_id: str) -> bool:
        return self.context.is_admin(account_id)

    # ------------------------------------------------------------ the adapter

    async def serve(self) -> None:
        """Serve until cancelled. Returns if Discord refuses the token: the rest of the server keeps running."""
        token = self._adapter_context.read_secret("DISCORD_TOKEN")
        try:
            await self._keep_connected(token)
        finally:
            await self.event_handler.stop()

    async def _keep_connected(self, token: str) -> None:
        wait_s = self.first_wait_s
        while True:
            client = EaselClient(self.context, self.event_handler, message_content=self._message_content)
            try:
                await self._connect(client, token)
            except discord.LoginFailure:
                self._notify_owner(TOKEN_REFUSED)
                return
            except discord.PrivilegedIntentsRequired:
                self._notify_owner(CONTENT_INTENT_REFUSED)
                self._message_content = False
                continue
            except discord.ConnectionClosed as error:
                if error.code == BAD_TOKEN_CODE:
                    self._notify_owner(TOKEN_REFUSED)
                    return
                log.warning("Discord closed the connection", action="discord_closed", code=error.code)
            except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("no connection to Discord", action="discord_away", error=type(error).__name__)
            except Exception as error:  # the boundary of a loop that must continue
                log.error("the connection to Discord broke", action="discord_broke", exc_info=error)
            wait_s = self.first_wait_s if client.was_ready else min(MAX_RECONNECT_S, wait_s * 2)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))

    async def _connect(self, client: EaselClient, token: str) -> None:
        """Returns when the connection is lost for good. Raises what the library raises."""
        helpers: list[asyncio.Task[None]] = []
        set_api_base(self._settings.api_base, await self._gateway_url(token))
        try:
            async with client:
                await client.login(token)
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

        Raises: aiohttp.ClientError, TimeoutError.
        """
        if self._settings.gateway_url or not self._settings.api_base:
            return self._settings.gateway_url
        url = f"{self._settings.api_base.rstrip('/')}/gateway/bot"
        timeout = aiohttp.ClientTimeout(total=GATEWAY_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"Authorization": f"Bot {token}"}, raise_for_status=False) as answer,
        ):
            if answer.status == 401:
                raise discord.LoginFailure("the token was refused")
            answer.raise_for_status()
            return str((await answer.json())["url"])

    async def _resume_and_sync(self, client: EaselClient) -> None:
        """Handle the events that the last process left, then sync the commands."""
        wait_s = self.first_wait_s
        while True:
            try:
                await self.event_handler.resume()
                if self._settings.sync_commands:
                    await sync_commands(client.tree)
                return
            except EaselError as error:
                log.warning("resuming after the connect has to wait", action="discord_settling", error=str(error))
            except Exception as error:  # the boundary of a loop that must continue
                log.error("resuming after the connect failed", action="discord_settling", exc_info=error)
            wait_s = min(MAX_RECONNECT_S, wait_s * 2)
            await asyncio.sleep(wait_s)

    async def _close_unless_ready(self, client: EaselClient) -> None:
        """The library retries a first connect forever, each try nested in the last; a new client starts over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.ready_s):
                await client.wait_until_ready()
                return
        log.warning("Discord was not ready in time; reconnecting", action="discord_not_ready")
        await client.close()

    def _notify_owner(self, sentence: str) -> None:
        log.error("Discord needs the owner's attention", action="discord_owner", sentence=sentence)
        self._adapter_context.announce(sentence)

    # ------------------------------------------------------------ the platform

    async def post_placeholder(self, delivery: Delivery) -> str:
        return await self._delivery.post_placeholder(delivery)

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> None:
        await self._delivery.show_progress(job, message_ref, progress)

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._delivery.edit_result(delivery, pictures)

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._delivery.send_result(delivery, pictures)

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        await self._delivery.notify_undeliverable(delivery)
