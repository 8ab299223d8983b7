"""What a platform told us, kept before it is acknowledged, so that a crash in between loses nothing."""

from collections.abc import Mapping
from typing import Any, Protocol


class Inbox(Protocol):
    """Keys name one event of a platform for ever: `interaction:1234`, `77:update:5`."""

    async def keep(self, platform: str, key: str, event: Mapping[str, Any]) -> bool:
        """Durable once it returns. False: this key was kept before (a replay)."""

    async def waiting(self, platform: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Kept and not done, oldest first."""

    async def done(self, platform: str, key: str) -> None:
        """Handled: the event's body is dropped, its key stays known for 30 days."""

    async def prune(self, keep_days: int) -> int:
        """Forget the keys of handled events, and idempotency keys, that are older; returns how many."""
