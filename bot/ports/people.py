"""People, their API keys, and what they used."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Person:
    id: str
    name: str
    is_local: bool = False
    is_admin: bool = False
    daily_s: float | None = None
    """The person's own daily allowance; None: the house's (for the local person: unlimited)."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key without its secret; `prefix` names it."""

    prefix: str
    person: Person
    is_admin: bool
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class People(Protocol):
    async def local(self) -> Person:
        """The person at the keyboard: the page without keys, the command line. Made on first use; is an admin."""

    async def identify(self, platform: str, account_id: str, name: str) -> Person:
        """The person behind a platform account, made on first contact."""

    async def by_name(self, name: str) -> Person:
        """The person with this name, made if there is none (for `keys create --person`)."""

    async def settings(self, person_id: str) -> Mapping[str, Any]:
        """The person's own defaults, by option name."""

    async def set_setting(self, person_id: str, name: str, value: Any) -> None: ...

    async def clear_setting(self, person_id: str, name: str) -> None:
        """One that is not set is no mistake."""

    async def add_key(self, prefix: str, secret_hash: str, person: Person, is_admin: bool) -> ApiKey: ...

    async def find_key(self, prefix: str) -> tuple[ApiKey, str] | None:
        """The key and its secret's SHA-256 hex; revoked ones are not found."""

    async def keys(self) -> list[ApiKey]: ...

    async def revoke_key(self, prefix: str) -> ApiKey:
        """Raises: NotFound."""

    async def has_keys(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Usage:
    used: float
    reserved: float


class Ledger(Protocol):
    async def usage(self, person_id: str, day: str) -> Usage:
        """`day` is an ISO date, UTC."""

    async def problems(self) -> list[str]:
        """Sentences about every imbalance found; empty when reserve = capture + refund + open, always."""
