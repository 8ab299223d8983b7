"""The gateway connection: passes Discord's events to the event handler."""

import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import Any

import discord
import structlog

from adapters.discord.context import DiscordContext
from adapters.discord.event_handler import EventHandler
from adapters.discord.events import PLATFORM
from adapters.discord.library_patches import UNREADABLE, cap_reconnect_wait, drop_unreadable_events, log_dropped
from adapters.discord.slash_commands import build_tree, replace_plugin_commands
from adapters.discord.translations import CatalogueTranslator
from adapters.discord.views import CellMenu, JobButton, is_own
from bot.plugins.plugin_commands import OwnCommand

log = structlog.get_logger()

HEARTBEAT_S = 60.0
CONNECT_S = 30.0
MAX_RATE_LIMIT_S = 30.0
MESSAGE_TYPES = (discord.MessageType.default, discord.MessageType.reply)


def build_intents(*, message_content: bool) -> discord.Intents:
    """Servers, messages to the bot and private messages; the only privileged intent is message content."""
    return discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=message_content)


def _is_not_voice_warning(record: logging.LogRecord) -> bool:
    """The bot uses no voice, so the library's two warnings at each start would only worry the owner."""
    return "voice will NOT" not in str(record.msg)


class EaselClient(discord.AutoShardedClient):
    """Attributes:
    identify_wait_s: the pause that Discord requires before a new session.
    guilds_wait_s: the longest pause between two servers' events before the list counts as complete.
    """

    identify_wait_s = 5.0
    guilds_wait_s = 2.0

    def __init__(self, context: DiscordContext, event_handler: EventHandler, *, message_content: bool = False) -> None:
        is_elsewhere = context.settings.gateway_url or context.settings.api_base
        more: dict[str, Any] = {"shard_count": 1} if is_elsewhere else {}
        logging.getLogger("discord.client").addFilter(_is_not_voice_warning)
        super().__init__(
            intents=build_intents(message_content=message_content),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            heartbeat_timeout=HEARTBEAT_S,
            guild_ready_timeout=self.guilds_wait_s,
            shard_connect_timeout=CONNECT_S,
            max_ratelimit_timeout=MAX_RATE_LIMIT_S,
            http_trace=context.circuit_breaker.trace_config(),
            enable_debug_events=False,
            **more,
        )
        self.context = context
        self.event_handler = event_handler
        self.was_ready = False
        drop_unreadable_events(self)
        self.add_dynamic_items(JobButton, CellMenu)
        self.of_plugins = context.usecases.plugins.commands
        self.tree = build_tree(self, self.of_plugins)

    async def setup_hook(self) -> None:
        translator = CatalogueTranslator()
        if translator.has_catalogues:  # else discord.py would ask it ten thousand times for nothing
            await self.tree.set_translator(translator)

    def offer_commands(self, of_plugins: Sequence[OwnCommand]) -> None:
        """Those of the plugins that run now, in place of the earlier ones. Discord learns of them with a sync."""
        replace_plugin_commands(self.tree, self.of_plugins, of_plugins)
        self.of_plugins = of_plugins

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        if not initial:
            await asyncio.sleep(self.identify_wait_s)

    # ------------------------------------------------------------ events

    async def on_ready(self) -> None:
        self.was_ready = True
        log.info("connected to Discord", action="discord_ready", guilds=len(self.guilds))

    async def on_shard_connect(self, shard_id: int) -> None:
        shard = self.get_shard(shard_id)
        if shard is not None:
            cap_reconnect_wait(shard)

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """The library dispatches commands and the bot's own buttons; this handles modals and unknown buttons."""
        data: Any = interaction.data or {}
        custom_id = str(data.get("custom_id", ""))
        if interaction.type is discord.InteractionType.modal_submit:
            await self.event_handler.on_modal_submit(interaction, custom_id)
        elif interaction.type is discord.InteractionType.component and not is_own(custom_id):
            await self.event_handler.on_button(interaction, custom_id)

    async def on_message(self, message: discord.Message) -> None:
        """Only messages from people to the bot: private ones, and mentions of it or of its own role (a pinging reply is
        one)."""
        if message.author.bot or message.webhook_id is not None or message.type not in MESSAGE_TYPES:
            return
        if is_private(message) or self.user in message.mentions or mentions_own_role(message):
            await self.event_handler.on_message(message)

    # ------------------------------------------------------------ where the bot may write

    async def on_guild_join(self, guild: discord.Guild) -> None:
        log.info("added to a server", action="server_joined")
        await self._retry_deliveries(guild)

    async def on_guild_available(self, guild: discord.Guild) -> None:
        """After an outage of that server; while the bot connects, all servers become available."""
        if self.is_ready():
            await self._retry_deliveries(guild)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Its policy and history are kept: it may add the bot again."""
        log.info("removed from a server", action="server_left")

    async def on_guild_role_update(self, before: discord.Role, after: discord.Role) -> None:
        if before.permissions != after.permissions:
            await self._retry_deliveries(after.guild)

    async def on_guild_channel_update(self, before: discord.abc.GuildChannel, after: discord.abc.GuildChannel) -> None:
        if before.overwrites != after.overwrites:
            await self._retry_deliveries(after.guild)

    async def on_thread_update(self, before: discord.Thread, after: discord.Thread) -> None:
        if (before.locked or before.archived) and not (after.locked or after.archived):
            await self._retry_deliveries(after.guild)

    async def on_thread_join(self, thread: discord.Thread) -> None:
        """Also of a thread that was archived: the library forgets those."""
        if not (thread.locked or thread.archived):
            await self._retry_deliveries(thread.guild)

    async def _retry_deliveries(self, guild: discord.Guild) -> None:
        await self.context.usecases.chat.retry_deliveries(PLATFORM, str(guild.id))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, UNREADABLE):
            log_dropped(event_method, error)
        else:
            log.exception("an event failed", action="event_failed", event_method=event_method)


def is_private(message: discord.Message) -> bool:
    """A message of a server that the library does not know is not private, although it has no guild either."""
    return message.guild is None and getattr(message.channel, "guild_id", None) is None


def mentions_own_role(message: discord.Message) -> bool:
    """Whether it mentions the role that Discord made for the bot in that server: it has the bot's name too."""
    role = message.guild.self_role if message.guild is not None else None
    return role is not None and role in message.role_mentions


def application_owner_ids(client: discord.Client) -> frozenset[str]:
    """Accounts that own the application: its owner, or the members of its team that may change it."""
    application = client.application
    if application is None:
        return frozenset()
    if application.team is None:
        return frozenset({str(application.owner.id)})
    accepted, reads = discord.TeamMembershipState.accepted, discord.TeamMemberRole.read_only
    members = [one for one in application.team.members if one.membership_state is accepted and one.role is not reads]
    return frozenset(str(one.id) for one in members)
