"""Which sessions a caller has open, so that a new one replaces one that its program has forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager


class OpenSessions:
    """Ids of sessions, the least recently used first. `limit`: how many may be open."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._uses: dict[str, int] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._uses

    def add(self, session_id: str) -> None:
        self._uses[session_id] = 0

    def remove(self, session_id: str) -> None:
        self._uses.pop(session_id, None)

    def find_excess(self) -> str | None:
        """The session to end before another one is opened: the first that has no request under way."""
        if len(self._uses) < self._limit:
            return None
        return next((one for one, uses in self._uses.items() if not uses), None)

    @contextmanager
    def using(self, session_id: str) -> Iterator[None]:
        """For the duration of a request; an open stream is one."""
        self._count(session_id, 1)
        try:
            yield
        finally:
            self._count(session_id, -1)

    def _count(self, session_id: str, change: int) -> None:
        if session_id in self._uses:
            self._uses[session_id] = self._uses.pop(session_id) + change
