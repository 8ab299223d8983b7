"""Who is asking, what they may use today, and API keys."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bot.errors import InvalidOption, Unauthorized
from bot.options import clean_text
from bot.ports import ApiKey, Ledger, People, Person

_NOBODY = hashlib.sha256(b"nobody").hexdigest()
MAX_NAME = 60
_PREFIX = re.compile("[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Device-seconds of the UTC day. `limit` None: unlimited."""

    limit: float | None
    used: float
    reserved: float
    resets_at: datetime


def next_day(now: datetime) -> datetime:
    return (now.astimezone(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(frozen=True)
class PeopleUseCases:
    people: People
    ledger: Ledger

    async def local(self) -> Person:
        return await self.people.local()

    async def quota(self, person: Person, limit: float | None) -> Quota:
        now = datetime.now(UTC)
        usage = await self.ledger.usage(person.id, now.date().isoformat())
        return Quota(limit=limit, used=usage.used, reserved=usage.reserved, resets_at=next_day(now))

    async def create_key(self, name: str | None, *, is_admin: bool) -> tuple[ApiKey, str]:
        """A new key and its text `prefix.secret`, which is shown this once. Without a name it is the local person's.

        Raises: InvalidOption.
        """
        person = await self.people.local() if name is None else await self.people.by_name(_check_name(name))
        prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        key = await self.people.add_key(prefix, _hash(secret), person, is_admin)
        return key, f"{prefix}.{secret}"

    async def authenticate(self, text: str) -> tuple[Person, ApiKey]:
        """Takes the same time for unknown prefixes and wrong secrets. Raises: Unauthorized."""
        prefix, _, secret = text.partition(".")
        found = await self.people.find_key(prefix) if _PREFIX.fullmatch(prefix) else None
        expected = found[1] if found else _NOBODY
        if not hmac.compare_digest(_hash(secret), expected) or found is None:
            raise Unauthorized
        return found[0].person, found[0]


def _check_name(name: str) -> str:
    name = clean_text(name)
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidOption("person", "long" if name else "empty", value=len(name), allowed=str(MAX_NAME))
    return name


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
