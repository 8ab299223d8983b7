"""Sessions of the page: a token stands for an API key until it is ended, unused for 30 days, or its key is revoked."""

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from bot.errors import Unauthorized
from bot.ports import ApiKey, Person, SessionStore
from bot.usecases.key_links import LINK_PREFIX, KeyLinks
from bot.usecases.people import PeopleUseCases

log = structlog.get_logger()

LIFETIME = timedelta(days=30)
"""Since it was used last."""
RENEWED_AFTER = timedelta(hours=1)
"""How exactly the last use is stored."""
MAX_PER_KEY = 20
"""The sessions used least recently end when there are more."""
MAX_TOKEN = 100
_MAX_KNOWN = 10_000


@dataclass(frozen=True)
class SessionUseCases:
    people: PeopleUseCases
    store: SessionStore
    links: KeyLinks
    _known: "OrderedDict[str, str]" = field(default_factory=OrderedDict)
    """Which key a session stands for, of those used lately, by the hash of its token."""

    async def begin(self, key_text: str, replaced: str | None = None) -> tuple[Person, ApiKey, str]:
        """A new session for a key; returns its token, which is not stored. `replaced`: the session that it replaces.

        Raises: Unauthorized.
        """
        person, key = await self._find_key(key_text)
        if replaced is not None:
            await self.end(replaced)
        token = secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        ended = await self.store.add_session(hash_token(token), key.prefix, now + LIFETIME, keep=MAX_PER_KEY)
        if ended is None:
            raise Unauthorized("wrong_key")  # it was revoked meanwhile
        for token_hash in ended:
            self.people.access.end(token_hash)
        return person, key, token

    async def _find_key(self, text: str) -> tuple[Person, ApiKey]:
        """By a key, or a one-time link to it, which is used up. Raises: Unauthorized."""
        if text.startswith(LINK_PREFIX):
            key = await self.links.redeem(text)
            return key.person, key
        try:
            return await self.people.authenticate(text)
        except Unauthorized as error:
            raise Unauthorized("wrong_key") from error

    async def authenticate(self, token: str) -> tuple[Person, ApiKey] | None:
        """Renews the session. None: there is none, or it or its key has ended."""
        if len(token) > MAX_TOKEN:
            return None
        token_hash = hash_token(token)
        key = await self._find(token_hash)
        if key is None:
            self._known.pop(token_hash, None)
            return None
        self._known[token_hash] = key.prefix
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return key.person, key

    async def is_active(self, token_hash: str) -> bool:
        return await self._find(token_hash) is not None

    async def _find(self, token_hash: str) -> ApiKey | None:
        expires_at = datetime.now(UTC) + LIFETIME
        return await self.store.find_session(token_hash, renewed_until=expires_at, precision=RENEWED_AFTER)

    async def end(self, token: str) -> None:
        """Also ends the streams that were opened with it."""
        token_hash = hash_token(token)
        await self.store.end_session(token_hash)
        self._known.pop(token_hash, None)
        self.people.access.end(token_hash)

    async def end_all(self, person: Person) -> int:
        """Of all keys of the person, with their streams; returns their number. The keys stay valid."""
        ended = await self.store.end_sessions_of(person.id)
        for token_hash in ended:
            self._known.pop(token_hash, None)
            self.people.access.end(token_hash)
        log.info("all sessions were ended", action="sessions_ended", person=person.id, sessions=len(ended))
        return len(ended)

    def find_name(self, token: str) -> str | None:
        """The prefix of its key, if it was used lately. Nothing is checked: for counting requests."""
        return self._known.get(hash_token(token))


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
