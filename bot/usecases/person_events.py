"""The changes of all of a person's jobs, as one stream of events that can be resumed.

Each change is read once for all streams of a person. A stream that is slow, or that resumes far back, reads pages of
changes from the storage instead: nothing is queued for it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import structlog

from bot.errors import EaselError
from bot.jobs import Job, JobState
from bot.ports import JobChange, JobChanges, Person
from bot.queue.progress import ProgressBus
from bot.usecases.jobs import PREVIEW_INTERVAL_S, JobUseCases
from bot.usecases.requests import Ticket

log = structlog.get_logger()

PAGE = 100
"""Changes read at a time."""
MAX_RECENT = 256
"""Changes that are kept in memory for all streams of a person."""
RETRY_S = 1.0
_SUCCEEDED = (JobState.RENDERED, JobState.DELIVERED)


@dataclass(frozen=True, kw_only=True)
class PersonEvent:
    """`kind`: state, result, error, erased or progress; first of all `ready`, whose number is where the stream begins.

    Attributes:
        number: of the change, for resuming; None: nothing was stored.
        is_resumed: of `ready`: nothing is missing since the number that the stream was resumed from.
    """

    kind: str
    number: int | None = None
    job_id: str | None = None
    ticket: Ticket | None = None
    is_resumed: bool = False


@dataclass(eq=False)
class _Stream:
    wakeup: asyncio.Event = field(default_factory=asyncio.Event)
    progress: dict[str, PersonEvent] = field(default_factory=dict)
    """By job, what was not sent yet; the latest wins."""


class PersonEvents:
    def __init__(self, changes: JobChanges, jobs: JobUseCases, progress_bus: ProgressBus) -> None:
        self._changes = changes
        self._jobs = jobs
        self._progress_bus = progress_bus
        self._feeds: dict[str, _Feed] = {}

    async def follow(self, person: Person, after: int | None = None) -> AsyncIterator[PersonEvent]:
        """`ready`, then every change after the number `after`, or from now on, and progress, without an end."""
        with self._join(person) as (feed, stream):
            cursor, is_resumed = await feed.start_after(after)
            yield PersonEvent(kind="ready", number=cursor, is_resumed=is_resumed)
            while True:
                stream.wakeup.clear()
                events = feed.recent_after(cursor)
                if events is None:
                    events = await feed.read_page(cursor)
                    cursor = max(cursor, feed.floor) if not events else cursor
                for event in events:
                    cursor = event.number or cursor
                    yield event
                if not events:
                    while stream.progress:
                        yield stream.progress.pop(next(iter(stream.progress)))
                    await stream.wakeup.wait()

    @property
    def is_followed(self) -> bool:
        """Whether anybody follows anything."""
        return bool(self._feeds)

    @contextmanager
    def _join(self, person: Person) -> "Iterator[tuple[_Feed, _Stream]]":
        feed = self._feeds.get(person.id)
        if feed is None:
            feed = self._feeds[person.id] = _Feed(person.id, self._changes, self._jobs, self._progress_bus)
        stream = _Stream()
        feed.streams.add(stream)
        try:
            yield feed, stream
        finally:
            feed.streams.discard(stream)
            if not feed.streams:
                feed.close()
                del self._feeds[person.id]


class _Feed:
    """What happens to one person's jobs while anybody follows them. `floor`: of the newest change that is not in
    memory."""

    def __init__(self, owner: str, changes: JobChanges, jobs: JobUseCases, progress_bus: ProgressBus) -> None:
        self._owner = owner
        self._changes = changes
        self._jobs = jobs
        self._progress_bus = progress_bus
        self._recent: deque[PersonEvent] = deque()
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._is_ready = asyncio.Event()
        self._last = 0
        self.floor = 0
        self.streams: set[_Stream] = set()
        self._reading = asyncio.create_task(self._read_forever(), name="feed of a person")

    def close(self) -> None:
        for task in (self._reading, *self._followed.values()):
            task.cancel()

    async def start_after(self, after: int | None) -> tuple[int, bool]:
        """Where a stream begins, and whether that is where it was: a number of another database is unknown here, and
        one from before accounts were linked is void."""
        await self._is_ready.wait()
        if after is None or not await self._changes.first_resumable(self._owner) <= after <= self._last:
            return self._last, False
        return after, True

    def recent_after(self, cursor: int) -> Sequence[PersonEvent] | None:
        """The changes in memory; None: some are not, so they have to be read."""
        if cursor < self.floor:
            return None
        if cursor >= self._last:
            return ()
        return [event for event in self._recent if event.number is not None and event.number > cursor]

    async def read_page(self, cursor: int) -> list[PersonEvent]:
        return [await self._to_event(change) for change in await self._changes.list_changes(self._owner, cursor, PAGE)]

    # ------------------------------------------------------------ changes

    async def _read_forever(self) -> None:
        with self._changes.watch(self._owner) as changed:
            while True:
                try:
                    if not self._is_ready.is_set():
                        await self._begin()
                    await changed.wait()
                    changed.clear()
                    await self._read_changes()
                except Exception as error:  # the feed must not end
                    log.warning("a feed of changes waits", action="feed_waits", exc_info=error)
                    await asyncio.sleep(RETRY_S)
                    changed.set()

    async def _begin(self) -> None:
        self._last = self.floor = await self._changes.last_change(self._owner)
        for job in await self._changes.list_open(self._owner):
            self._follow_progress(job)
        self._is_ready.set()

    async def _read_changes(self) -> None:
        is_last = False
        while not is_last:
            events = await self.read_page(self._last)
            is_last = len(events) < PAGE
            for event in events:
                self._add(event)

    def _add(self, event: PersonEvent) -> None:
        assert event.number is not None
        assert event.job_id is not None
        self._recent.append(event)
        self._last = event.number
        if len(self._recent) > MAX_RECENT:
            self.floor = self._recent.popleft().number or self.floor
        if event.kind == "state" and event.ticket is not None:
            self._follow_progress(event.ticket.job)
        else:
            self._end_progress(event.job_id)
        for stream in self.streams:
            stream.wakeup.set()

    async def _to_event(self, change: JobChange) -> PersonEvent:
        job = change.job
        if change.is_erased:
            return PersonEvent(kind="erased", number=change.number, job_id=job.id)
        ticket = replace(await self._jobs.ticket_for(job), marks=change.marks)
        kind = "result" if job.state in _SUCCEEDED else "error" if job.state.is_final else "state"
        return PersonEvent(kind=kind, number=change.number, job_id=job.id, ticket=ticket)

    # ------------------------------------------------------------ progress

    def _follow_progress(self, job: Job) -> None:
        if job.id not in self._followed and not job.state.is_final:
            self._followed[job.id] = asyncio.create_task(self._pass_on_progress(job))

    def _end_progress(self, job_id: str) -> None:
        task = self._followed.pop(job_id, None)
        if task is not None:
            task.cancel()
        for stream in self.streams:
            stream.progress.pop(job_id, None)

    async def _pass_on_progress(self, job: Job) -> None:
        """At most twice a second."""
        with self._progress_bus.follow_job(job.id) as follower:
            while True:
                _, progress = await follower.next()
                if progress is None:
                    continue
                with suppress(EaselError):  # the next one will do
                    event = await self._jobs.progress_event(job, progress)
                    self._publish(PersonEvent(kind=event.kind, job_id=job.id, ticket=event.ticket))
                await follower.pause(PREVIEW_INTERVAL_S)

    def _publish(self, event: PersonEvent) -> None:
        assert event.job_id is not None
        for stream in self.streams:
            stream.progress[event.job_id] = event
            stream.wakeup.set()
