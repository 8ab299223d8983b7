"""Linking accounts of several platforms: one-time codes, each given to one account and typed on another."""

import asyncio
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import structlog

from bot.ports import LinkedAccount, LinkResult, Links, Person
from bot.problem_texts.link_problems import LinkRefused, TooManyCodes
from bot.settings.core import QuotaSettings
from bot.usecases.people import PeopleUseCases

log = structlog.get_logger()

CODE_LIFETIME = timedelta(minutes=10)
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: nothing in it looks like another sign of it."""
CODE_LENGTH = 8
"""40 random bits."""
_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None, "\u2013": None, "\u2014": None})
MAX_WRONG_CODES, WRONG_CODES_S = 10, 3600.0
"""Wrong codes of an account within this time; then it has to wait."""
_MAX_ACCOUNTS = 10_000
_GUESSES = frozenset({"wrong_code", "expired_code", "used_code"})
T = TypeVar("T")


@dataclass(frozen=True)
class LinkCode:
    """`text` is not stored, only its hash."""

    text: str
    expires_at: datetime


class CodeAttempts:
    """Counts the wrong codes of each account, whatever person it belongs to: neither unlinking nor forgetting resets
    it."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}

    def begin(self, account: str) -> float:
        """Counts an attempt as wrong until `forgive`. Raises: TooManyCodes."""
        now = time.monotonic()
        times = self._times.setdefault(account, deque())
        while times and times[0] <= now - WRONG_CODES_S:
            times.popleft()
        if len(times) >= MAX_WRONG_CODES:
            raise TooManyCodes(int(times[0] + WRONG_CODES_S - now) + 1)
        times.append(now)
        self._drop_old(now)
        return now

    def forgive(self, account: str, attempt: float) -> None:
        times = self._times.get(account, deque())
        if attempt in times:
            times.remove(attempt)

    def _drop_old(self, now: float) -> None:
        if len(self._times) > _MAX_ACCOUNTS:
            recent = {one: times for one, times in self._times.items() if times and times[-1] > now - WRONG_CODES_S}
            self._times = recent


@dataclass(frozen=True)
class LinkUseCases:
    """`account` names who types a code: the platform and the account there, or the API key."""

    links: Links
    people: PeopleUseCases
    quota: QuotaSettings
    attempts: CodeAttempts = field(default_factory=CodeAttempts)

    async def create_code(self, person: Person) -> LinkCode:
        """A code that links the person's accounts with the one where it is typed; their former one ends."""
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        expires_at = datetime.now(UTC) + CODE_LIFETIME
        await self.links.add_code(person.id, _hash_code(code), expires_at)
        return LinkCode(f"{code[:4]}-{code[4:]}", expires_at)

    async def revoke_code(self, text: str) -> None:
        """Others have seen it. What is no code is ignored."""
        code = _normalize(text)
        if _is_code(code):
            await self.links.revoke_code(_hash_code(code))

    async def preview(self, person: Person, account: str, text: str) -> LinkResult:
        """What would be linked; the code stays valid. Raises like `link`."""
        code = parse_code(text)
        return await self._try(account, lambda: self.links.preview(person.id, _hash_code(code), self._default_s))

    async def link(self, person: Person, account: str, text: str) -> LinkResult:
        """All accounts of both become one person's, with all that they own.

        Raises: LinkRefused, TooManyCodes.
        """
        code = parse_code(text)
        linked = await self._try(account, lambda: self.links.link(person.id, _hash_code(code), self._default_s))
        await asyncio.shield(self._settle(linked))
        return linked

    async def _settle(self, linked: LinkResult) -> None:
        """End what was opened as the person who is empty now: streams, copies of the data."""
        self.people.access.end(linked.emptied)
        await self.people.privacy.delete_exports_of(linked.emptied)
        platforms = sorted({one.platform for one in linked.accounts})
        log.info("accounts were linked", action="accounts_linked", person=linked.kept, platforms=platforms)

    async def list_accounts(self, person: Person) -> Sequence[LinkedAccount]:
        return await self.links.list_accounts(person.id)

    async def unlink(self, person: Person, platform: str, account_id: str | None = None) -> Sequence[LinkedAccount]:
        """Accounts on a chat platform become new persons without history. Raises: LinkRefused."""
        gone = await self.links.unlink(person.id, platform, account_id, self._default_s)
        log.info("accounts were unlinked", action="accounts_unlinked", person=person.id, platform=platform)
        return gone

    @property
    def _default_s(self) -> float | None:
        return self.quota.daily_device_seconds or None

    async def _try(self, account: str, use_code: Callable[[], Awaitable[T]]) -> T:
        """Concurrent attempts count before their outcome is known. Raises: TooManyCodes."""
        attempt = self.attempts.begin(account)
        try:
            outcome = await use_code()
        except LinkRefused as error:
            if error.problem not in _GUESSES:
                self.attempts.forgive(account, attempt)
            raise
        self.attempts.forgive(account, attempt)
        return outcome


def parse_code(text: str) -> str:
    """Also as people type it: with or without the dash, in small letters, O for 0. Raises: LinkRefused."""
    code = _normalize(text)
    if not _is_code(code):
        raise LinkRefused("code_form")
    return code


def _normalize(text: str) -> str:
    return text[:40].upper().translate(_MISREAD)


def _is_code(text: str) -> bool:
    return len(text) == CODE_LENGTH and set(text) <= set(ALPHABET)


def _hash_code(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
