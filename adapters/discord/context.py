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

from adapters.discord.circuit_breaker import Breaker
from adapters.discord.error_mapping import translated
from adapters.discord.event_parsing import pictures_of
from adapters.discord.events import PLATFORM, Attached, Event
from adapters.discord.rate_limit import PROGRESS_S, Editors, Pace
from adapters.discord.settings import DiscordSettings
from bot.errors import PlatformError, TooLarge, UnsupportedMedia
from bot.jobs import BY_BOT, ImageRef
from bot.ports import Person
from bot.usecases import Surroundings, Ticket, UseCases

if TYPE_CHECKING:
    from adapters.discord.client import EaselClient

log = structlog.get_logger()

CDN = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
FETCH_S = 30.0
FETCHES = 8
"""Files that are fetched at once; no more are in memory."""
TRIES = 3
REMEMBERED = 2000
RECENT, RECENT_S = 25, 10.0


class PictureLost(Exception):
    """The file could not be fetched: its link ran out, or Discord does not answer."""


@dataclass
class Desk:
    settings: DiscordSettings
    surroundings: Surroundings
    breaker: Breaker = field(default_factory=Breaker)
    pace: Pace = field(default_factory=Pace)
    client: "EaselClient | None" = None
    now: Callable[[], float] = time.time
    owners: frozenset[str] = frozenset()
    """Of the application, as Discord told us."""
    targets: OrderedDict[str, tuple[Attached, ...]] = field(default_factory=OrderedDict)
    """Pictures of messages that somebody just opened a menu on."""
    latest: OrderedDict[str, tuple[float, list[Ticket]]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.editors = Editors(self.pace, every_s=PROGRESS_S)
        self._fetching = asyncio.Semaphore(FETCHES)

    @property
    def usecases(self) -> UseCases:
        return self.surroundings.usecases

    def connected(self) -> "EaselClient":
        """The client, if requests can be made. Raises: PlatformError."""
        if self.client is None or self.client.user is None or self.client.is_closed():
            raise PlatformError("not connected to Discord")
        self.breaker.check()
        return self.client

    async def person(self, event: Event) -> Person:
        return await self.usecases.people.identify(PLATFORM, event.account_id, event.account_name)

    def is_admin(self, account_id: str) -> bool:
        """Whether the account may administer this house: the config says so, or it owns the application."""
        return account_id in self.settings.admins or account_id in self.owners

    # ------------------------------------------------------------ for completions

    async def recent(self, event: Event) -> list[Ticket]:
        """Their latest jobs, from memory for a few seconds: people type faster than databases are asked."""
        known = self.latest.get(event.account_id)
        if known is None or time.monotonic() - known[0] > RECENT_S:
            person = await self.person(event)
            tickets, _ = await self.usecases.jobs.page(person, limit=RECENT)
            known = self.latest[event.account_id] = (time.monotonic(), tickets)
            while len(self.latest) > REMEMBERED:
                self.latest.popitem(last=False)
        return known[1]

    def forget_recent(self, account_id: str) -> None:
        self.latest.pop(account_id, None)

    # ------------------------------------------------------------ files

    def remember(self, target: str, pictures: Sequence[Attached]) -> None:
        """A modal brings only words back: this is what they are about."""
        self.targets[target] = tuple(pictures)
        self.targets.move_to_end(target)
        while len(self.targets) > REMEMBERED:
            self.targets.popitem(last=False)

    async def upload(self, person: Person, pictures: Sequence[Attached]) -> tuple[ImageRef, ...]:
        """Fetch and keep them as the person's, at once: a link is never kept for later.

        Raises: TooLarge, UnsupportedMedia, StorageFull, PictureLost.
        """
        limit = self.usecases.media.settings.max_upload_mb
        refs = []
        for one in pictures:
            if one.size > limit * 2**20:
                raise TooLarge(limit=limit, unit="MiB")
            if not one.may_be_a_picture:
                raise UnsupportedMedia("not_a_picture")
            async with self._fetching:
                data = await self._fetch(one.url, limit * 2**20)
                kept = await self.usecases.media.upload(person, data)
                refs.append(ImageRef(kept.id, author=self._author(one)))
        return tuple(refs)

    def _author(self, picture: Attached) -> str:
        user = self.client.user if self.client is not None else None
        return BY_BOT if user is not None and picture.author == str(user.id) else picture.author

    async def pictures_at(self, target: str, *, may_be_none: bool = False) -> tuple[Attached, ...]:
        """The pictures of a message that was chosen before, or that Discord shows us when asked.

        Raises: PictureLost.
        """
        if target in self.targets:
            return self.targets[target]
        channel, _, message = target.partition(":")
        found: tuple[Attached, ...] = ()
        try:
            with translated():
                place = self.connected().get_partial_messageable(int(channel))
                found = pictures_of(await place.fetch_message(int(message)))
        except PlatformError as error:
            log.info("a message could not be read", action="message_unread", detail=error.detail)
        if not found and not may_be_none:
            raise PictureLost("the message shows no picture")
        return found

    async def _fetch(self, url: str, most: int) -> bytes:
        if not self._is_discords(url):
            raise PictureLost(f"not a link of Discord's: {urlsplit(url).hostname}")
        for attempt in range(TRIES):
            try:
                return await self._fetch_once(url, most)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.info("a file could not be fetched", action="fetch_failed", error=type(error).__name__)
                await asyncio.sleep(0.5 * 2**attempt)
        raise PictureLost("no answer")

    async def _fetch_once(self, url: str, most: int) -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status >= 500:
                answer.raise_for_status()
            if answer.status != 200:
                raise PictureLost(f"status {answer.status}")
            data = await answer.content.read(most + 1)
            while len(data) <= most and not answer.content.at_eof():
                data += await answer.content.read(most + 1 - len(data))
        if len(data) > most:
            raise TooLarge(limit=most / 2**20, unit="MiB")
        return data

    def _is_discords(self, url: str) -> bool:
        parts = urlsplit(url)
        ours = urlsplit(self.settings.api_base).hostname
        return (parts.scheme == "https" and parts.hostname in CDN) or (bool(ours) and parts.hostname == ours)
