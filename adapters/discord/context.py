"""What the rooms of this adapter share: the use cases, the present connection, and the files that hang on messages."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import structlog

from adapters.discord.circuit_breaker import CircuitBreaker
from adapters.discord.error_mapping import translate_errors
from adapters.discord.event_parsing import attached_images
from adapters.discord.events import PLATFORM, AttachedFile, DiscordEvent
from adapters.discord.rate_limit import PROGRESS_INTERVAL_S, ProgressEditors, RateLimiter
from adapters.discord.settings import DiscordSettings
from bot.errors import PlatformError, TooLarge, UnsupportedMedia
from bot.jobs import BY_BOT, ImageRef
from bot.ports import Person
from bot.usecases import Surroundings, Ticket, UseCases

if TYPE_CHECKING:
    from adapters.discord.client import EaselClient

log = structlog.get_logger()

CDN_HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
FETCH_TIMEOUT_S = 30.0
MAX_FETCHES = 8
"""Files that are fetched at once; no more are in memory."""
MAX_TRIES = 3
CACHE_SIZE = 2000
RECENT_JOBS, RECENT_JOBS_S = 25, 10.0


class AttachmentUnavailable(Exception):
    """The file could not be fetched: its link ran out, or Discord does not answer."""


@dataclass
class DiscordContext:
    settings: DiscordSettings
    adapter_context: Surroundings
    circuit_breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    rate_limiter: RateLimiter = field(default_factory=RateLimiter)
    client: "EaselClient | None" = None
    now: Callable[[], float] = time.time
    owner_ids: frozenset[str] = frozenset()
    """Of the application, as Discord told us."""
    menu_attachments: OrderedDict[str, tuple[AttachedFile, ...]] = field(default_factory=OrderedDict)
    """Pictures of messages that somebody just opened a menu on."""
    recent_jobs: OrderedDict[str, tuple[float, list[Ticket]]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.progress_editors = ProgressEditors(self.rate_limiter, every_s=PROGRESS_INTERVAL_S)
        self._fetching = asyncio.Semaphore(MAX_FETCHES)

    @property
    def usecases(self) -> UseCases:
        return self.adapter_context.usecases

    def connected_client(self) -> "EaselClient":
        """The client, if requests can be made. Raises: PlatformError."""
        if self.client is None or self.client.user is None or self.client.is_closed():
            raise PlatformError("not connected to Discord")
        self.circuit_breaker.check()
        return self.client

    async def identify_person(self, event: DiscordEvent) -> Person:
        return await self.usecases.people.identify(PLATFORM, event.account_id, event.account_name)

    def is_admin(self, account_id: str) -> bool:
        """Whether the account may administer this house: the config says so, or it owns the application."""
        return account_id in self.settings.admins or account_id in self.owner_ids

    # ------------------------------------------------------------ for completions

    async def find_recent_jobs(self, event: DiscordEvent) -> list[Ticket]:
        """Their latest jobs, from memory for a few seconds: people type faster than databases are asked."""
        known = self.recent_jobs.get(event.account_id)
        if known is None or time.monotonic() - known[0] > RECENT_JOBS_S:
            person = await self.identify_person(event)
            tickets, _ = await self.usecases.jobs.page(person, limit=RECENT_JOBS)
            known = self.recent_jobs[event.account_id] = (time.monotonic(), tickets)
            while len(self.recent_jobs) > CACHE_SIZE:
                self.recent_jobs.popitem(last=False)
        return known[1]

    def forget_recent_jobs(self, account_id: str) -> None:
        self.recent_jobs.pop(account_id, None)

    # ------------------------------------------------------------ files

    def remember_attachments(self, target: str, attachments: Sequence[AttachedFile]) -> None:
        """A modal brings only words back: this is what they are about."""
        self.menu_attachments[target] = tuple(attachments)
        self.menu_attachments.move_to_end(target)
        while len(self.menu_attachments) > CACHE_SIZE:
            self.menu_attachments.popitem(last=False)

    async def upload_attachments(self, person: Person, attachments: Sequence[AttachedFile]) -> tuple[ImageRef, ...]:
        """Fetch and keep them as the person's, at once: a link is never kept for later.

        Raises: TooLarge, UnsupportedMedia, StorageFull, PictureLost.
        """
        limit = self.usecases.media.settings.max_upload_mb
        refs = []
        for one in attachments:
            if one.size > limit * 2**20:
                raise TooLarge(limit=limit, unit="MiB")
            if not one.may_be_image:
                raise UnsupportedMedia("not_a_picture")
            async with self._fetching:
                data = await self._fetch(one.url, limit * 2**20)
                kept = await self.usecases.media.upload(person, data)
                refs.append(ImageRef(kept.id, author=self._author(one)))
        return tuple(refs)

    def _author(self, picture: AttachedFile) -> str:
        user = self.client.user if self.client is not None else None
        return BY_BOT if user is not None and picture.author == str(user.id) else picture.author

    async def find_attachments(self, target: str, *, can_be_empty: bool = False) -> tuple[AttachedFile, ...]:
        """The pictures of a message that was chosen before, or that Discord shows us when asked.

        Raises: PictureLost.
        """
        if target in self.menu_attachments:
            return self.menu_attachments[target]
        channel, _, message = target.partition(":")
        found: tuple[AttachedFile, ...] = ()
        try:
            with translate_errors():
                place = self.connected_client().get_partial_messageable(int(channel))
                found = attached_images(await place.fetch_message(int(message)))
        except PlatformError as error:
            log.info("a message could not be read", action="message_unread", detail=error.detail)
        if not found and not can_be_empty:
            raise AttachmentUnavailable("the message shows no picture")
        return found

    async def _fetch(self, url: str, most: int) -> bytes:
        if not self._is_discord_url(url):
            raise AttachmentUnavailable(f"not a link of Discord's: {urlsplit(url).hostname}")
        for attempt in range(MAX_TRIES):
            try:
                return await self._fetch_once(url, most)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.info("a file could not be fetched", action="fetch_failed", error=type(error).__name__)
                await asyncio.sleep(0.5 * 2**attempt)
        raise AttachmentUnavailable("no answer")

    async def _fetch_once(self, url: str, most: int) -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status >= 500:
                answer.raise_for_status()
            if answer.status != 200:
                raise AttachmentUnavailable(f"status {answer.status}")
            data = await answer.content.read(most + 1)
            while len(data) <= most and not answer.content.at_eof():
                data += await answer.content.read(most + 1 - len(data))
        if len(data) > most:
            raise TooLarge(limit=most / 2**20, unit="MiB")
        return data

    def _is_discord_url(self, url: str) -> bool:
        parts = urlsplit(url)
        ours = urlsplit(self.settings.api_base).hostname
        return (parts.scheme == "https" and parts.hostname in CDN_HOSTS) or (bool(ours) and parts.hostname == ours)
