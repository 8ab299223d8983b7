"""Incoming platform events, stored before they are acknowledged: a crash in between loses none."""

from collections.abc import Mapping
from typing import Any, Protocol


class Inbox(Protocol):
    """A key identifies one event of a platform permanently: `interaction:1234`, `77:update:5`."""

    async def save_event(self, platform: str, key: str, event: Mapping[str, Any]) -> bool:
        """The event is durable when this returns. False: the key is already stored (a replay)."""

    async def pending_events(self, platform: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Events that are stored but not yet handled, oldest first."""

    async def mark_done(self, platform: str, key: str) -> None:
        """Drop the body of a handled event; its key is remembered for 30 days."""

    async def prune(self, keep_days: int) -> int:
        """Delete the keys of handled events, and idempotency keys, that are older; returns how many."""
