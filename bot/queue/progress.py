"""Progress, previews and "something changed", in memory: latest wins, nobody stores them.

A follower that is slow misses steps, never the end: what a job's end brought is read from the store.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bot.ports import Progress


class Follower:
    """One watcher of one job."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._changed = asyncio.Event()
        self._progress: Progress | None = None

    def put(self, progress: Progress | None) -> None:
        if progress is None:
            self._changed.set()
        else:
            self._progress = progress
        self._woken.set()

    async def next(self) -> tuple[bool, Progress | None]:
        """(the stored job changed, the latest progress since the last call or None). Waits for either."""
        await self._woken.wait()
        self._woken.clear()
        changed, progress = self._changed.is_set(), self._progress
        self._changed.clear()
        self._progress = None
        return changed, progress

    async def rest(self, seconds: float) -> None:
        """Let progress pass unseen for a while; a change of the stored job ends the rest at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # in Python 3.11, wait_for can swallow a cancel
                await self._changed.wait()


class Events:
    """The switchboard between the dispatcher and whoever watches."""

    def __init__(self) -> None:
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)
        self._latest: dict[str, Progress] = {}
        self.on_watched: Callable[[str, bool], None] = lambda _job_id, _watched: None

    @contextmanager
    def follow(self, job_id: str) -> Iterator[Follower]:
        follower = Follower()
        self._followers[job_id].add(follower)
        if len(self._followers[job_id]) == 1:
            self.on_watched(job_id, True)
        if job_id in self._latest:
            follower.put(self._latest[job_id])
        try:
            yield follower
        finally:
            self._followers[job_id].discard(follower)
            if not self._followers[job_id]:
                del self._followers[job_id]
                self.on_watched(job_id, False)

    def is_watched(self, job_id: str) -> bool:
        return bool(self._followers.get(job_id))

    def progressed(self, job_id: str, progress: Progress) -> None:
        self._latest[job_id] = progress
        for follower in self._followers.get(job_id, ()):
            follower.put(progress)

    def changed(self, job_id: str) -> None:
        """The stored job is another now; what it looked like while it ran is forgotten."""
        self._latest.pop(job_id, None)
        for follower in self._followers.get(job_id, ()):
            follower.put(None)

    def latest(self, job_id: str) -> Progress | None:
        return self._latest.get(job_id)
