"""One-time links that let a person in without typing their key: an admin shows one as a QR code."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bot.errors import NotFound, Unauthorized
from bot.ports import ApiKey, KeyLinkStore

LINK_LIFETIME = timedelta(hours=24)
LINK_PREFIX = "once."
"""A link's token begins with it, where a key is expected; no key does."""


@dataclass(frozen=True)
class KeyLinks:
    store: KeyLinkStore

    async def create_link(self, prefix: str) -> tuple[str, datetime]:
        """The link's token, which is not stored, and until when it is valid. Raises: NotFound: no such active key."""
        token, expires_at = LINK_PREFIX + secrets.token_urlsafe(32), datetime.now(UTC) + LINK_LIFETIME
        if not await self.store.add_link(_hash(token), prefix, expires_at):
            raise NotFound("key", prefix)
        return token, expires_at

    async def redeem(self, token: str) -> ApiKey:
        """Once only. Raises: Unauthorized: it was used before, has expired, or its key was revoked."""
        key = await self.store.take_link(_hash(token))
        if key is None:
            raise Unauthorized("link")
        return key


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
