"""What admins do on the page: people and their quotas, everybody's queue, refused jobs, incidents, storage.

An admin sees words of a job only if it is the admin's own or has an open report.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from bot.errors import InvalidOption
from bot.jobs import Job, JobState
from bot.ports import (
    Administration,
    ApiKey,
    BlockedRequest,
    JobStore,
    ListPage,
    MetricSamples,
    Person,
    PersonSummary,
    Refusals,
    StorageUse,
)
from bot.runtime.incidents import IncidentLog
from bot.usecases.jobs import JobUseCases
from bot.usecases.people import PeopleUseCases
from bot.usecases.person_blocking import PersonBlocking
from bot.usecases.requests import Ticket

log = structlog.get_logger()

MAX_QUOTA_S = 1e9
MAX_QUERY = 200
MAX_KEY_NAME = 60
MAX_INCIDENTS = 50
SAMPLE_HOURS = 48.0
"""How long the figures of each minute are kept."""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job that has not ended. `has_words`: the admin may read them. `device`: where it runs, or empty."""

    ticket: Ticket
    owner: Person
    has_words: bool
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class ServerAdmin:
    """`settings`: those that admins may read, by section. `device_of`: the device on which a job runs, or empty.
    `builds_size_mb`: what was compiled for models takes on the disk; `learning_size_mb`: adapters and trainings;
    blocking."""

    store: JobStore
    administration: Administration
    refusals: Refusals
    samples: MetricSamples
    people: PeopleUseCases
    jobs: JobUseCases
    incidents: IncidentLog
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device_of: Callable[[str], str] = lambda _job_id: ""
    builds_size_mb: Callable[[], int] = lambda: 0
    learning_size_mb: Callable[[], int] = lambda: 0

    # ------------------------------------------------------------ people and keys

    async def list_people(self, *, q: str, before: str | None, limit: int) -> ListPage[PersonSummary]:
        """Newest first."""
        day = datetime.now(UTC).date().isoformat()
        return await self.administration.list_people(day, q=q, before=before, limit=limit)

    async def set_quota(self, admin: str, person_id: str, limit: float | None) -> Person:
        """Device-seconds of a day; None: the configured quota. Raises: NotFound, InvalidOption."""
        if limit is not None and not (math.isfinite(limit) and 0 <= limit <= MAX_QUOTA_S):
            raise InvalidOption("limit", "range", value=limit, allowed=f"0 to {MAX_QUOTA_S:.0f}, or null")
        person = await self.administration.set_quota(person_id, limit)
        log.info("a quota was set", action="quota_set", admin=admin, person=person_id, limit=limit)
        return person

    async def set_blocked(
        self, caller: Person, admin: str, person_id: str, *, is_blocked: bool
    ) -> tuple[Person, Sequence[str]]:
        """See `PersonBlocking`. Raises: NotFound; InvalidOption: it is the local person, or the caller."""
        blocking = PersonBlocking(self.administration, self.jobs.cancel_job)
        return await blocking.set_blocked(admin, person_id, is_blocked=is_blocked, caller=caller.id)

    async def create_key(
        self, caller: Person, admin: str, *, person: str | None, is_admin: bool, name: str | None
    ) -> tuple[ApiKey, str]:
        """A key for somebody new, called `person`, or for the caller; `name`: what it is for.

        A key lets its holder read everything of its person, so only the local person gets one for a person who has
        jobs. Raises: InvalidOption: it is such a person, or no name.
        """
        if person is None:
            key, text = await self.people.create_key_for(caller, is_admin=is_admin, name=name)
        else:
            owner = await self.people.named_person(person)
            is_open_to = owner.id == caller.id or caller.is_local
            if not is_open_to and not await self.administration.may_create_key(owner.id):
                raise InvalidOption("person", "has_jobs", value=owner.name)
            key, text = await self.people.create_key_for(owner, is_admin=is_admin, name=name)
        log.info("a key was created", action="key_created", admin=admin, key=key.prefix, for_admin=is_admin)
        return key, text

    async def revoke_key(self, admin: str, prefix: str) -> ApiKey:
        """Raises: NotFound."""
        key = await self.people.revoke_key(prefix)
        log.info("a key was revoked", action="key_revoked", admin=admin, key=prefix)
        return key

    # ------------------------------------------------------------ everybody's queue

    async def list_queue(self, caller: Person, *, before: str | None, limit: int) -> ListPage[QueuedJob]:
        """Running jobs, then queued ones, the oldest first."""
        page = await self.administration.list_queue(before=before, limit=limit)
        reported = await self.administration.reported_jobs([job.id for job, _ in page.items])
        shown = [await self._describe(caller, job, owner, reported) for job, owner in page.items]
        return ListPage(items=tuple(shown), total=page.total, next=page.next)

    async def _describe(self, caller: Person, job: Job, owner: Person, reported: frozenset[str]) -> QueuedJob:
        device = self.device_of(job.id) if job.state is JobState.RUNNING else ""
        has_words = owner.id == caller.id or job.id in reported
        return QueuedJob(ticket=await self.jobs.ticket_for(job), owner=owner, has_words=has_words, device=device)

    async def cancel_job(self, caller: Person, admin: str, job_id: str) -> QueuedJob:
        """With a refund; the person is told as if they had cancelled it. Raises: JobNotFound, NotCancellable."""
        job = await self.store.get_job(job_id, None)
        owner = await self.administration.get_person(job.owner)
        ticket = await self.jobs.cancel_job(owner, job.id)
        log.info("an admin cancelled a job", action="admin_cancelled", admin=admin, job_id=job.id)
        reported = await self.administration.reported_jobs([job.id])
        return replace(await self._describe(caller, ticket.job, owner, reported), ticket=ticket)

    # ------------------------------------------------------------ what went wrong, and figures

    async def list_blocked(self, *, before: str | None, limit: int) -> ListPage[BlockedRequest]:
        """What was refused, before it was accepted or while it ran, newest first. Its words are private."""
        return await self.refusals.list_blocked(before=before, limit=limit)

    async def find_incidents(self, code: str) -> tuple[Sequence[tuple[Job, Person]], Sequence[Mapping[str, str]]]:
        """Failed jobs with this incident, and what the log says of it; without one, the newest failed jobs."""
        jobs = await self.administration.list_incidents(code, MAX_INCIDENTS)
        return jobs, await self.incidents.find(code) if code else ()

    async def measure_storage(self) -> StorageUse:
        builds_mb = await asyncio.to_thread(self.builds_size_mb)
        learning_mb = await asyncio.to_thread(self.learning_size_mb)
        use = await self.administration.measure_storage()
        return replace(use, builds_bytes=builds_mb << 20, learning_bytes=learning_mb << 20)

    async def list_samples(self, since: datetime | None) -> Mapping[datetime, Mapping[str, float]]:
        """Of each minute since then, 48 hours at most; by default of the last 24."""
        now = datetime.now(UTC)
        oldest = now - timedelta(hours=SAMPLE_HOURS)
        return await self.samples.list_samples(max(oldest, since or now - timedelta(hours=24)))
