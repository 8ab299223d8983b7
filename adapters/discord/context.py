"""What the modules of this adapter share: the use cases, the current connection and the attachments of messages."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import discord
import structlog

from adapters.discord.attachments import AttachmentFetcher, AttachmentUnavailable
from adapters.discord.circuit_breaker import CircuitBreaker
from adapters.discord.error_mapping import translate_errors
from adapters.discord.event_parsing import attached_images
from adapters.discord.events import PLATFORM, AttachedFile, DiscordEvent
from adapters.discord.rate_limit import PROGRESS_INTERVAL_S, ProgressEditors, RateLimiter
from adapters.discord.settings import DiscordSettings
from bot.chat.file_types import is_other_media
from bot.errors import TooLarge, UnsupportedMedia
from bot.jobs import BY_BOT, ImageRef
from bot.ports import Person
from bot.ports.platform_answers import PlatformError, TokenRefused
from bot.usecases import AdapterContext, Ticket, UseCases

log = structlog.get_logger()

CACHE_SIZE = 2000
RECENT_JOBS, RECENT_JOBS_S = 25, 10.0


@dataclass
class DiscordContext:
    settings: DiscordSettings
    adapter_context: AdapterContext
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    rate_limiter: RateLimiter = field(default_factory=RateLimiter)
    client: discord.Client | None = None
    now: Callable[[], float] = time.time
    refused_until: float = 0.0
    """Discord refused the token: until this time (monotonic) nothing is sent."""
    owner_ids: frozenset[str] = frozenset()
    """The accounts that own the application, according to Discord."""
    menu_attachments: OrderedDict[str, tuple[AttachedFile, ...]] = field(default_factory=OrderedDict)
    """Images of messages on which somebody just opened a message menu."""
    recent_jobs: OrderedDict[str, tuple[float, list[Ticket]]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.progress_editors = ProgressEditors(self.rate_limiter, every_s=PROGRESS_INTERVAL_S)
        self._fetcher = AttachmentFetcher(self.settings.api_base)

    @property
    def usecases(self) -> UseCases:
        return self.adapter_context.usecases

    def connected_client(self) -> discord.Client:
        """The client, if requests can be made. Raises: PlatformError."""
        if self.client is None or self.client.user is None or self.client.is_closed():
            raise PlatformError("not connected to Discord")
        self.circuit_breaker.check()
        if (wait_s := self.refused_until - time.monotonic()) > 0:
            raise TokenRefused("the token was refused", retry_after_s=wait_s)
        return self.client

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Translate errors of Discord; after a refused token nothing is sent for a while. Raises: PlatformError."""
        try:
            with translate_errors():
                yield
        except TokenRefused as error:
            log.error("Discord refused the token", action="discord_token_refused", detail=error.detail)
            self.refused_until = time.monotonic() + (error.retry_after_s or 0.0)
            raise

    async def identify_person(self, event: DiscordEvent) -> Person:
        return await self.usecases.people.identify_account(PLATFORM, event.account_id, event.account_name)

    def is_admin(self, account_id: str) -> bool:
        """Whether the account is an admin of this server: by the config, or as an owner of the application."""
        return account_id in self.settings.admins or account_id in self.owner_ids

    # ------------------------------------------------------------ autocompletion

    async def find_recent_jobs(self, event: DiscordEvent) -> list[Ticket]:
        """The person's latest jobs, cached for a few seconds: each keystroke of an autocompletion asks for them."""
        known = self.recent_jobs.get(event.account_id)
        if known is None or time.monotonic() - known[0] > RECENT_JOBS_S:
            person = await self.identify_person(event)
            tickets, _ = await self.usecases.jobs.list_tickets(person, limit=RECENT_JOBS)
            known = self.recent_jobs[event.account_id] = (time.monotonic(), tickets)
            while len(self.recent_jobs) > CACHE_SIZE:
                self.recent_jobs.popitem(last=False)
        return known[1]

    def forget_recent_jobs(self, account_id: str) -> None:
        self.recent_jobs.pop(account_id, None)

    # ------------------------------------------------------------ files

    def remember_attachments(self, target: str, attachments: Sequence[AttachedFile]) -> None:
        """Remember what a modal will be about: its submission carries text only."""
        self.menu_attachments[target] = tuple(attachments)
        self.menu_attachments.move_to_end(target)
        while len(self.menu_attachments) > CACHE_SIZE:
            self.menu_attachments.popitem(last=False)

    async def upload_attachments(self, person: Person, attachments: Sequence[AttachedFile]) -> tuple[ImageRef, ...]:
        """Download the files and store them as the person's, immediately: links expire.

        Raises: TooLarge, UnsupportedMedia, StorageFull, UploadQuotaExceeded, AttachmentUnavailable.
        """
        limit = self.usecases.media.max_file_mb
        refs = []
        for one in attachments:
            if one.size > limit * 2**20:
                raise self.usecases.media.too_large()
            if is_other_media(one.content_type):
                raise UnsupportedMedia("not_a_picture")
            await self.usecases.media.check_allowance(person)
            async with self._fetcher.slots.hold(person.id):
                try:
                    data = await self._fetcher.fetch(one.url, limit * 2**20)
                except TooLarge:
                    raise self.usecases.media.too_large() from None
                stored = await self.usecases.media.upload(person, data, source=PLATFORM)
                refs.append(ImageRef(stored.id, role=one.role or "init", author=self._author(one)))
        return tuple(refs)

    def _author(self, picture: AttachedFile) -> str:
        user = self.client.user if self.client is not None else None
        return BY_BOT if user is not None and picture.author == str(user.id) else picture.author

    async def find_attachments(self, target: str, *, can_be_empty: bool = False) -> tuple[AttachedFile, ...]:
        """The images of a message on which a menu was opened, or that Discord returns on request.

        Raises: AttachmentUnavailable.
        """
        if target in self.menu_attachments:
            return self.menu_attachments[target]
        channel, _, message = target.partition(":")
        images: tuple[AttachedFile, ...] = ()
        try:
            with self.translate_errors():
                channel_ref = self.connected_client().get_partial_messageable(int(channel))
                await self.rate_limiter.wait_for_slot(f"read:{channel}")
                images = attached_images(await channel_ref.fetch_message(int(message)), any_file=not can_be_empty)
        except PlatformError as error:
            log.info("a message could not be read", action="message_unread", detail=error.detail)
        if not images and not can_be_empty:
            raise AttachmentUnavailable("the message shows no picture")
        return images


class EventCallbacks(Protocol):
    """What a connection calls when something happens on Discord."""

    async def on_slash_command(
        self, interaction: discord.Interaction[Any], name: str, values: dict[str, Any]
    ) -> None: ...

    async def on_context_menu(
        self, interaction: discord.Interaction[Any], name: str, message: discord.Message
    ) -> None: ...

    async def on_button(self, interaction: discord.Interaction[Any], custom_id: str) -> None: ...

    async def on_unknown_command(self, interaction: discord.Interaction[Any], name: str, error: Exception) -> None: ...

    async def on_unreadable_command(self, interaction: discord.Interaction[Any], error: Exception) -> None: ...


class Connection(Protocol):
    """The client, as commands and buttons see it."""

    context: DiscordContext
    event_handler: EventCallbacks


def connection_of(interaction: discord.Interaction[Any]) -> Connection:
    return cast(Connection, interaction.client)
