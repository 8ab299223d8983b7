"""Downloads the files of messages, from Discord's own addresses only."""

import asyncio
from urllib.parse import urlsplit

import aiohttp
import structlog

from bot.errors import TooLarge
from bot.runtime.fair_slots import FairSlots

log = structlog.get_logger()

CDN_HOSTS = frozenset(
    {"cdn.discordapp.com", "media.discordapp.net", "images-ext-1.discordapp.net", "images-ext-2.discordapp.net"}
)
"""The last two have the previews of links."""
FETCH_TIMEOUT_S = 30.0
MAX_FETCHES = 8
"""Files that are processed concurrently; no more are in memory."""
MAX_FETCHES_PER_PERSON = 2
MAX_TRIES, RETRY_S = 3, 0.5


class AttachmentUnavailable(Exception):
    """The file could not be fetched: its link has expired, or Discord does not answer."""


class AttachmentFetcher:
    """`api_base`: another Discord-compatible server, whose host is accepted as well."""

    def __init__(self, api_base: str = "") -> None:
        self._own_host = urlsplit(api_base).hostname
        self.slots = FairSlots(MAX_FETCHES, per_owner=MAX_FETCHES_PER_PERSON)
        """Held by the caller, in the person's name, until the file is stored."""

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """Raises: TooLarge, AttachmentUnavailable."""
        if not self._is_discord_url(url):
            raise AttachmentUnavailable("the link is not Discord's")
        for attempt in range(MAX_TRIES):
            try:
                return await self._fetch_once(url, max_bytes)
            except TimeoutError as error:  # not again: the slot is held meanwhile
                raise AttachmentUnavailable(f"no end within {FETCH_TIMEOUT_S:g} s") from error
            except (aiohttp.ClientError, OSError) as error:
                log.info("a file could not be fetched", action="fetch_failed", error=type(error).__name__)
                await asyncio.sleep(RETRY_S * 2**attempt)
        raise AttachmentUnavailable("no answer")

    async def _fetch_once(self, url: str, max_bytes: int) -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status >= 500:
                response.raise_for_status()
            if response.content_type == "text/html":
                raise aiohttp.ClientPayloadError("a page instead of the file")
            if response.status != 200:
                raise AttachmentUnavailable(f"status {response.status}")
            data = bytearray()
            while len(data) <= max_bytes and not response.content.at_eof():
                data += await response.content.read(max_bytes + 1 - len(data))
        if len(data) > max_bytes:
            raise TooLarge(limit=max_bytes / 2**20, unit="MiB")
        return bytes(data)

    def _is_discord_url(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            is_plain = parts.username is None and parts.port in (None, 443)
        except ValueError:  # no address or port at all
            return False
        if self._own_host and parts.hostname == self._own_host:
            return parts.scheme in ("http", "https")
        return parts.scheme == "https" and is_plain and parts.hostname in CDN_HOSTS
