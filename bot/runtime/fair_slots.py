"""Slots that owners share fairly, so that nobody's requests keep everybody else waiting."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """At most `size` holders at a time, at most `per_owner` of them of one owner.

    A free slot goes to the waiting owner who holds the fewest, and among equals in turn: however many requests somebody
    else has waiting, at most one of them goes first.
    """

    def __init__(self, size: int, per_owner: int) -> None:
        self._free = size
        self._per_owner = per_owner
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """By owner, in the order of their turns."""

    @asynccontextmanager
    async def hold(self, owner: str) -> AsyncIterator[None]:
        await self._acquire(owner)
        try:
            yield
        finally:
            self._release(owner)

    async def _acquire(self, owner: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._fill_slots()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # its turn came in the same moment
                self._release(owner)
            raise

    def _release(self, owner: str) -> None:
        self._free += 1
        self._held[owner] -= 1
        if not self._held[owner]:
            del self._held[owner]
        self._fill_slots()

    def _fill_slots(self) -> None:
        while self._free and (owner := self._next_owner()) is not None:
            turns = self._waiting.pop(owner)
            turn = turns.popleft()
            if turns:
                self._waiting[owner] = turns  # behind the others
            if not turn.cancelled():
                self._free -= 1
                self._held[owner] += 1
                turn.set_result(None)

    def _next_owner(self) -> str | None:
        allowed = (owner for owner in self._waiting if self._held[owner] < self._per_owner)
        return min(allowed, key=lambda owner: self._held[owner], default=None)
