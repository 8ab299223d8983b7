"""People, their API keys, and their usage."""

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
    """The person's own daily quota, device-seconds; None: the default quota (unlimited for the local person)."""
    is_blocked: bool = False
    """An admin blocked them: nothing new is made for them."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key without its secret, identified by `prefix`."""

    prefix: str
    person: Person
    is_admin: bool
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    name: str | None = None
    """What it is for, as its creator says."""


class People(Protocol):
    async def local_person(self) -> Person:
        """The user of this machine: the command line, and the page while there are no keys. Created on first use; an
        admin."""

    async def identify_account(self, platform: str, account_id: str, name: str) -> Person:
        """The person behind a platform account, created on first contact."""

    async def names_of(self, platform: str, account_id: str) -> frozenset[str]:
        """What the origins of jobs call the person with this account: the ids of their linked accounts, and their own
        id, which `account_id` is outside of chats."""

    async def person_named(self, name: str) -> Person:
        """The person with this name, created if there is none (for `keys create --person`)."""

    async def get_settings(self, person_id: str) -> Mapping[str, Any]:
        """The person's default options, by option name."""

    async def set_setting(self, person_id: str, name: str, value: Any) -> None: ...

    async def clear_setting(self, person_id: str, name: str) -> None:
        """Does nothing if it is not set."""

    async def add_key(
        self, prefix: str, secret_hash: str, person: Person, is_admin: bool, name: str | None = None
    ) -> ApiKey: ...

    async def find_key(self, prefix: str) -> tuple[ApiKey, str] | None:
        """The key and the SHA-256 hex digest of its secret; None for a revoked key."""

    async def list_keys(self) -> list[ApiKey]: ...

    async def revoke_key(self, prefix: str) -> ApiKey:
        """Raises: NotFound."""

    async def has_keys(self) -> bool:
        """Whether a key is active."""

    async def is_locked(self) -> bool:
        """Whether requests without a key are refused: since the first key existed, until `unlock`."""

    async def unlock(self) -> int:
        """Accept requests without a key again, if no key is active. Returns the number of active keys."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    used: float
    reserved: float


class Ledger(Protocol):
    async def daily_usage(self, person_id: str, day: str) -> Usage:
        """`day` is an ISO date, UTC."""

    async def find_imbalances(self) -> list[str]:
        """Each imbalance as a sentence; empty if reserve = capture + refund + open for every person and day."""
