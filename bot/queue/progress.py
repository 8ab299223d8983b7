"""An in-memory bus for progress, previews and change notifications; only the latest progress is kept.

A slow follower may miss steps, but never the end: the final state is read from the storage.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from bot.ports import Progress


def progress_of_part(progress: Progress, main: Progress | None) -> Progress:
    """The progress of a job while one of its parts runs: no step is made before the main task, all are made after it.

    `main`: the last progress of the main task; None: it has made none yet.
    """
    if main is not None:
        return replace(main, step=main.steps, phase="finishing", preview=None, used_s=progress.used_s)
    phase = "running" if progress.phase == "finishing" else progress.phase
    return replace(progress, step=0, steps=0, phase=phase, preview=None, text="")


class Follower:
    """A subscription to one job."""

    def __init__(self, *, wants_previews: bool = True) -> None:
        self.wants_previews = wants_previews
        self._wakeup = asyncio.Event()
        self._changed = asyncio.Event()
        self._progress: Progress | None = None

    def notify(self, progress: Progress | None) -> None:
        if progress is None:
            self._changed.set()
        else:
            self._progress = progress
        self._wakeup.set()

    async def next(self) -> tuple[bool, Progress | None]:
        """Wait for a change; return (whether the stored job changed, the latest progress since the last call or
        None)."""
        await self._wakeup.wait()
        self._wakeup.clear()
        changed, progress = self._changed.is_set(), self._progress
        self._changed.clear()
        self._progress = None
        return changed, progress

    async def pause(self, seconds: float) -> None:
        """Skip progress for a while; a change of the stored job ends the pause immediately."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # in Python 3.11, wait_for can swallow a cancel
                await self._changed.wait()


class ProgressBus:
    """Connects the dispatcher with the followers of jobs."""

    def __init__(self) -> None:
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)
        self._observers: defaultdict[str, set[Follower]] = defaultdict(set)
        self._latest: dict[str, Progress] = {}
        self.on_watched: Callable[[str, bool], None] = lambda _job_id, _watched: None

    @contextmanager
    def follow_job(self, job_id: str, *, wants_previews: bool = True) -> Iterator[Follower]:
        """`wants_previews`: of images, and of texts as they are written; they cost device time."""
        follower, was_watched = Follower(wants_previews=wants_previews), self.is_watched(job_id)
        self._followers[job_id].add(follower)
        if wants_previews and not was_watched:
            self.on_watched(job_id, True)
        if job_id in self._latest:
            follower.notify(self._latest[job_id])
        try:
            yield follower
        finally:
            self._followers[job_id].discard(follower)
            if wants_previews and not self.is_watched(job_id):
                self.on_watched(job_id, False)
            if not self._followers[job_id]:
                del self._followers[job_id]

    @contextmanager
    def follow_changes(self, job_ids: Collection[str]) -> Iterator[Follower]:
        """Changes of any of the stored jobs, without progress: nobody watches them for previews."""
        follower = Follower()
        for job_id in job_ids:
            self._observers[job_id].add(follower)
        try:
            yield follower
        finally:
            for job_id in job_ids:
                self._observers[job_id].discard(follower)
                if not self._observers[job_id]:
                    del self._observers[job_id]

    def is_followed(self, job_id: str) -> bool:
        return bool(self._followers.get(job_id))

    def is_watched(self, job_id: str) -> bool:
        """Whether a follower shows previews."""
        return any(follower.wants_previews for follower in self._followers.get(job_id, ()))

    def publish_progress(self, job_id: str, progress: Progress) -> None:
        self._latest[job_id] = progress
        for follower in self._followers.get(job_id, ()):
            follower.notify(progress)

    def publish_change(self, job_id: str) -> None:
        """Announce that the stored job changed, and drop its latest progress."""
        self._latest.pop(job_id, None)
        for follower in (*self._followers.get(job_id, ()), *self._observers.get(job_id, ())):
            follower.notify(None)

    def latest_progress(self, job_id: str) -> Progress | None:
        return self._latest.get(job_id)
