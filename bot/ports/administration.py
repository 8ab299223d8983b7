"""What admins see of everybody: people, the queue, reports, refused jobs, storage and figures of the last two days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, Protocol, TypeVar

from bot.jobs import Job
from bot.ports.people import ApiKey, Person

Item = TypeVar("Item")
ReportState = Literal["open", "closed", "all"]
SaveOutcome = Literal["saved", "known", "limit"]
"""Of a new report: stored; the person has reported the same before; they have reported too much today."""


@dataclass(frozen=True, kw_only=True)
class PersonSummary:
    """`accounts`: (platform, account id); `used`: device-seconds of the day, reserved ones included."""

    person: Person
    created_at: datetime
    accounts: tuple[tuple[str, str], ...] = ()
    keys: tuple[ApiKey, ...] = ()
    jobs: int = 0
    used: float = 0.0
    last_seen: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ListPage(Generic[Item]):
    """`total`: the number on all pages; `next`: the `before` of the next page."""

    items: tuple[Item, ...]
    total: int
    next: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReportedJob:
    """`picture`: which of the job's, from 1; None: all of it. `outcome`: how it was closed."""

    id: int
    job: Job
    picture: int | None
    reason: str
    reporter: Person
    owner: Person
    created_at: datetime
    closed_at: datetime | None = None
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class StorageUse:
    """`images` are files that the database knows, each counted once; `builds_bytes` is what was compiled for models,
    `learning_bytes` are adapters and what trainings keep; bytes."""

    images: int
    image_bytes: int
    database_bytes: int
    free_bytes: int
    oldest: datetime | None = None
    builds_bytes: int = 0
    learning_bytes: int = 0


class Administration(Protocol):
    """Words and images of jobs come along; `bot.usecases.server_admin` decides which an admin may see."""

    async def list_people(self, day: str, *, q: str, before: str | None, limit: int) -> ListPage[PersonSummary]:
        """Those who were not forgotten, newest first. `q`: a part of a name, or an id of a person or an account."""

    async def get_person(self, person_id: str) -> Person:
        """Raises: NotFound."""

    async def set_quota(self, person_id: str, daily_s: float | None) -> Person:
        """None: the configured quota. Raises: NotFound."""

    async def set_blocked(self, person_id: str, *, is_blocked: bool) -> tuple[Person, Sequence[str]]:
        """Also returns the ids of the person's jobs that have not ended. Raises: NotFound."""

    async def may_create_key(self, person_id: str) -> bool:
        """The person was created by name, has no account of a chat platform, and has no jobs."""

    async def list_queue(self, *, before: str | None, limit: int) -> ListPage[tuple[Job, Person]]:
        """Everybody's running and queued jobs: running ones first, then the oldest first."""

    async def list_incidents(self, code: str, limit: int) -> Sequence[tuple[Job, Person]]:
        """Failed jobs with an incident, newest first. `code`: only the one with this incident."""

    async def reported_jobs(self, job_ids: Sequence[str]) -> frozenset[str]:
        """Those of the jobs with an open report."""

    async def count_open(self) -> tuple[int, int]:
        """The numbers of queued and of running jobs."""

    async def measure_storage(self) -> StorageUse: ...


class Reports(Protocol):
    async def save_report(
        self, person_id: str, job_id: str, picture: int | None, reason: str, *, daily_limit: int
    ) -> SaveOutcome:
        """Raises: JobNotFound, NotFound: the person was forgotten."""

    async def list_reports(self, state: ReportState, *, before: str | None, limit: int) -> ListPage[ReportedJob]:
        """Open ones first, the newest first of each."""

    async def get_report(self, report_id: int) -> ReportedJob:
        """Raises: NotFound."""

    async def close_reports(self, report_id: int, outcome: str) -> int:
        """Close it, and open reports of the same picture; returns their number. Raises: NotFound."""


class KeyLinkStore(Protocol):
    """One-time links of API keys, known by the SHA-256 hex digest of their tokens. A link ends with its key."""

    async def add_link(self, token_hash: str, prefix: str, expires_at: datetime) -> bool:
        """False: there is no such active key."""

    async def take_link(self, token_hash: str) -> ApiKey | None:
        """Delete the link; returns its key. None: there is no such link, it has expired, or its key was revoked."""


class MetricSamples(Protocol):
    async def save_samples(self, minute: datetime, values: Mapping[str, float], *, keep_h: float) -> None:
        """Replaces the minute's samples; deletes older ones than `keep_h` hours."""

    async def list_samples(self, since: datetime) -> Mapping[datetime, Mapping[str, float]]: ...
