"""Sessions of the page."""

from datetime import datetime, timedelta
from typing import Protocol

from bot.ports.people import ApiKey


class SessionStore(Protocol):
    """Tokens are known by their SHA-256 hex digest only. A session ends with its key."""

    async def add_session(self, token_hash: str, prefix: str, expires_at: datetime, *, keep: int) -> list[str] | None:
        """Of the key's sessions, only the `keep` that expire last stay; returns those that end. None: there is no such
        active key."""

    async def find_session(self, token_hash: str, *, renewed_until: datetime, precision: timedelta) -> ApiKey | None:
        """The key of a session that has not expired; it expires then, `precision` earlier at most."""

    async def end_session(self, token_hash: str) -> None:
        """Does nothing if there is none."""

    async def end_sessions_of(self, person_id: str) -> list[str]:
        """Of all keys of the person; returns those that ended."""
