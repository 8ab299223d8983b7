"""Keeps a connection to Discord, whatever happens to it, while the rest of the house runs.

An outage of hours, a first connect that fails, a refused token: none of them ends the process, and jobs that were
asked for before go on. What is to be delivered waits in the outbox until there is a connection again.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

import aiohttp
import discord
import structlog

from adapters.discord.client import EaselClient, owners_of
from adapters.discord.command_sync import sync
from adapters.discord.context import Desk
from adapters.discord.delivery import Reply
from adapters.discord.event_handler import Intake
from adapters.discord.events import PLATFORM
from adapters.discord.library_patches import end_heartbeats, point_at
from adapters.discord.settings import DiscordSettings
from bot.errors import EaselError
from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.usecases import Surroundings

log = structlog.get_logger()

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
READY_S = 600.0
"""A connection that was not ready once in this time is begun anew."""
GATEWAY_S = 20.0
BAD_TOKEN = 4004
REFUSED = (
    "Discord refused the token (DISCORD_TOKEN): make a new one in the developer portal, under Bot, and start again. "
    "Everything else runs on."
)
NO_CONTENT_INTENT = (
    "Discord does not allow the message content intent: switch it on in the developer portal, under Bot, or set "
    "discord.message_content to false. Going on without it."
)


class Discord:
    """The adapter and the platform (`bot.ports`)."""

    name = PLATFORM
    first_wait_s = FIRST_WAIT_S
    ready_s = READY_S

    def __init__(self, settings: DiscordSettings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._surroundings = surroundings
        self.desk = Desk(settings, surroundings)
        self.intake = Intake(self.desk)
        self._reply = Reply(self.desk)
        self._message_content = settings.message_content

    def is_admin(self, account_id: str) -> bool:
        return self.desk.is_admin(account_id)

    # ------------------------------------------------------------ the adapter

    async def run(self) -> None:
        """Serve until cancelled. Returns when Discord refuses the token: the rest of the house goes on."""
        token = self._surroundings.secret_of("DISCORD_TOKEN")
        try:
            await self._keep_connected(token)
        finally:
            await self.intake.stop()

    async def _keep_connected(self, token: str) -> None:
        wait_s = self.first_wait_s
        while True:
            client = EaselClient(self.desk, self.intake, message_content=self._message_content)
            try:
                await self._connect(client, token)
            except discord.LoginFailure:
                self._tell(REFUSED)
                return
            except discord.PrivilegedIntentsRequired:
                self._tell(NO_CONTENT_INTENT)
                self._message_content = False
                continue
            except discord.ConnectionClosed as error:
                if error.code == BAD_TOKEN:
                    self._tell(REFUSED)
                    return
                log.warning("Discord closed the connection", action="discord_closed", code=error.code)
            except (discord.DiscordException, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.warning("no connection to Discord", action="discord_away", error=type(error).__name__)
            except Exception as error:  # the edge of a loop that must go on
                log.error("the connection to Discord broke", action="discord_broke", exc_info=error)
            wait_s = self.first_wait_s if client.was_ready else min(LONGEST_WAIT_S, wait_s * 2)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))

    async def _connect(self, client: EaselClient, token: str) -> None:
        """Until the connection is lost for good. Raises what the library raises."""
        helpers: list[asyncio.Task[None]] = []
        point_at(self._settings.api_base, await self._gateway(token))
        try:
            async with client:
                await client.login(token)
                self.desk.client, self.desk.owners = client, owners_of(client)
                helpers = [asyncio.create_task(self._settle_in(client)), asyncio.create_task(self._watch(client))]
                await client.connect()
        finally:
            self.desk.client = None
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await end_heartbeats()

    async def _gateway(self, token: str) -> str:
        """Another server's gateway; empty: Discord's. Never Discord's with a token for another server.

        Raises: aiohttp.ClientError, TimeoutError.
        """
        if self._settings.gateway_url or not self._settings.api_base:
            return self._settings.gateway_url
        url = f"{self._settings.api_base.rstrip('/')}/gateway/bot"
        timeout = aiohttp.ClientTimeout(total=GATEWAY_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"Authorization": f"Bot {token}"}, raise_for_status=False) as answer,
        ):
            if answer.status == 401:
                raise discord.LoginFailure("the token was refused")
            answer.raise_for_status()
            return str((await answer.json())["url"])

    async def _settle_in(self, client: EaselClient) -> None:
        """What an earlier life left undone, then the commands."""
        wait_s = self.first_wait_s
        while True:
            try:
                await self.intake.take_up_again()
                if self._settings.sync_commands:
                    await sync(client.tree)
                return
            except EaselError as error:
                log.warning("settling in at Discord has to wait", action="discord_settling", error=str(error))
            except Exception as error:  # the edge of a loop that must go on
                log.error("settling in at Discord failed", action="discord_settling", exc_info=error)
            wait_s = min(LONGEST_WAIT_S, wait_s * 2)
            await asyncio.sleep(wait_s)

    async def _watch(self, client: EaselClient) -> None:
        """The library tries a first connect for ever, one try inside the other; a new client starts over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.ready_s):
                await client.wait_until_ready()
                return
        log.warning("Discord is not ready for too long, connecting anew", action="discord_not_ready")
        await client.close()

    def _tell(self, sentence: str) -> None:
        log.error("something about Discord needs its owner", action="discord_owner", sentence=sentence)
        self._surroundings.announce(sentence)

    # ------------------------------------------------------------ the platform

    async def place(self, delivery: Delivery) -> str:
        return await self._reply.place(delivery)

    async def progress(self, job: Job, message_ref: str, progress: Progress) -> None:
        await self._reply.progress(job, message_ref, progress)

    async def edit(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._reply.edit(delivery, pictures)

    async def send(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._reply.send(delivery, pictures)

    async def tell_kept(self, delivery: Delivery) -> None:
        await self._reply.tell_kept(delivery)
