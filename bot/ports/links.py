"""Accounts of several platforms that belong to one person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class LinkedAccount:
    """`platform` is that of a chat, "web" for a person who has API keys, or "local"."""

    platform: str
    account_id: str
    name: str

    @property
    def is_chat(self) -> bool:
        return self.platform not in ("local", "web")


@dataclass(frozen=True, kw_only=True)
class LinkSide:
    """What one person brings into a link. `used` is today's usage, and `limit` the daily quota, in device-seconds;
    `limit` None: unlimited."""

    person_id: str
    accounts: tuple[LinkedAccount, ...]
    jobs: int
    pictures: int
    used: float
    limit: float | None


@dataclass(frozen=True, kw_only=True)
class LinkResult:
    """Two persons that become one, or would. `own` is the side that typed the code; `kept` and `emptied` are the ids of
    the person who remains and of the one who is empty then."""

    own: LinkSide
    other: LinkSide
    kept: str
    emptied: str

    @property
    def accounts(self) -> tuple[LinkedAccount, ...]:
        return (*self.own.accounts, *self.other.accounts)

    @property
    def limit(self) -> float | None:
        """The larger daily quota, which counts for both."""
        limits = [side.limit for side in (self.own, self.other) if side.limit is not None]
        return max(limits) if len(limits) == 2 else None

    @property
    def used(self) -> float:
        return self.own.used + self.other.used


class Links(Protocol):
    """`default_s`: the daily quota of persons without one of their own, device-seconds; None: unlimited."""

    async def add_code(self, person_id: str, code_hash: str, expires_at: datetime) -> None:
        """A code that stands for the person, once; their former one ends. Raises: NotFound: they were forgotten."""

    async def revoke_code(self, code_hash: str) -> None:
        """Nobody can use it any more."""

    async def preview(self, person_id: str, code_hash: str, default_s: float | None) -> LinkResult:
        """What `link` would do. Raises like it."""

    async def link(self, person_id: str, code_hash: str, default_s: float | None) -> LinkResult:
        """The person and the code's become one, in one transaction, with all that both own.

        The local person remains, else the one with more jobs. `media_owner.source` stays as it is. Admin rights belong
        to API keys and to accounts, so nobody gains any.

        Raises: LinkRefused, NotFound: the person was forgotten.
        """

    async def list_accounts(self, person_id: str) -> Sequence[LinkedAccount]:
        """By platform and name."""

    async def unlink(
        self, person_id: str, platform: str, account_id: str | None, default_s: float | None
    ) -> Sequence[LinkedAccount]:
        """The person's accounts on a chat platform, or that one, each become a new person without history. What the
        person has used counts for each of them as well. Raises: LinkRefused."""
