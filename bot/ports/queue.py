"""The durable queue and the history of what was asked.

Every storage method, here and in the neighbouring modules, is one transaction, is safe to cancel (the work goes on in
the writer task) and raises `StorageBusy` when another process holds the database's lock, `StorageFull` when the disk
is full. Times are aware UTC datetimes. Durations are seconds.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bot.jobs import ImageRef, Job, JobError, JobState, Origin, Result


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job about to be accepted.

    Attributes:
        estimate_s: device-seconds it will likely use; moves the person's and the space's virtual time when claimed.
        cost: device-seconds charged to the quota; 0 for demo models.
        wants_delivery: it came through a chat platform, so outbox rows are written for it.
        needle: text that history search finds it by (the prompt or question).
    """

    id: str
    owner: str
    origin: Origin
    command: str
    options: Mapping[str, Any]
    images: tuple[ImageRef, ...]
    task: str
    model: str
    cost: float
    estimate_s: float
    needle: str = ""
    parent: str | None = None
    batch: str | None = None
    wants_delivery: bool = False


@dataclass(frozen=True)
class RequestKey:
    """An idempotency key: `api:{key id}:{Idempotency-Key}`, ...; `body_hash` tells bodies apart."""

    key: str
    body_hash: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one person may have at once. `daily_s` None: unlimited."""

    daily_s: float | None = None
    outstanding: int = 50
    running: int = 2
    house_queued: int = 100_000


@dataclass(frozen=True)
class Accepted:
    jobs: tuple[Job, ...]
    replayed: bool
    """The key was seen before: these are the jobs of that first time."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What one device would take now.

    Attributes:
        models: names of the models of which it takes at least one more job; `warm` are those of them already loaded.
        full: models that have all the jobs they can have.
        later: models that it would have to load, and cannot beside what it runs.
        free: how many more jobs it can admit in all.
        idle: it runs nothing, so a job that must run alone may go there.
        settled_s: seconds since it last loaded a model; a swap waits until that has paid.
    """

    device: str
    models: frozenset[str]
    warm: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    free: int = 1
    idle: bool = True
    settled_s: float = math.inf


@dataclass(frozen=True)
class Renewed:
    """Of the leases renewed: whose person asked to cancel, and which are ours no longer."""

    cancel: frozenset[str]
    lost: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One person's (or space's) standing in the queue. `vtime` is virtual device-seconds."""

    vtime: float
    backlog: int


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """Enough of the queue to say where a queued job stands (`bot.queue.fairness.position`).

    Attributes:
        own_ahead: jobs of the same person in the same space that come before it.
        person: that person's lane in the space; `people`: the other lanes of the space.
        space: the space's lane; `spaces`: all other spaces.
        mean_s: mean estimate of the queued jobs, device-seconds.
        running: jobs running now; `own_running` are the person's, in all spaces.
    """

    own_ahead: int
    person: Lane
    people: tuple[Lane, ...]
    space: Lane
    spaces: tuple[Lane, ...]
    mean_s: float
    running: int
    own_running: int = 0


class JobStore(Protocol):
    """The durable queue. Every move between states checks the old state (`bot.jobs.TRANSITIONS`)."""

    async def accept(
        self,
        jobs: Sequence[NewJob],
        *,
        key: RequestKey | None,
        limits: Limits,
        quote: str | None = None,
    ) -> Accepted:
        """Take all jobs or none, in one transaction: idempotency key, outstanding limit, quota reserve (ledger row
        `reserve` for each job), job rows, input-media rows, search text, and for `wants_delivery` a placeholder
        outbox row. Images must belong to the owner. All jobs have one owner.

        Raises: QuotaExceeded, QueueFull, IdempotencyConflict, MediaNotFound, StorageFull, StorageBusy.
        """

    async def seen(self, key: str) -> tuple[str, tuple[Job, ...]] | None:
        """What the idempotency key was used for: its body's hash and the jobs, as they are now."""

    async def claim(
        self,
        offer: Offer,
        *,
        max_running: int,
        lease_s: float,
        swap_wait_s: float,
        only: frozenset[str] | None = None,
    ) -> Job | None:
        """Move the fairest runnable queued job to running and return it; its `attempt` is the fencing token.

        Start-time fair queueing on two levels: the space with the lowest virtual time, in it the person with the
        lowest, in that the oldest job; persons with `max_running` jobs running are passed over; jobs in back-off
        (`not_before`) too. Jobs marked alone are only given to an idle offer, and go first. A job whose model is not
        warm gives way to the fairest job of a warm model for `swap_wait_s` after it was queued, and as long after
        the device's last load. If its model still has no place beside what runs, nothing is claimed, so that the
        device runs dry for it. The cost does not grow with the number of queued jobs. `only`: consider just these
        ids (one-shot commands).
        """

    async def renew(self, leases: Mapping[str, int], lease_s: float) -> Renewed:
        """Prolong the leases `{job id: attempt}`."""

    async def render(self, job_id: str, attempt: int, result: Result) -> Job | None:
        """Record the result: rendered (and delivered at once when the job wants no delivery), ledger `capture`,
        output-media rows for the owner, search text, result outbox row, virtual times corrected by what was really
        used. None: the claim is no longer ours, the result is discarded. If a cancel was requested meanwhile the
        job becomes cancelled and is refunded instead."""

    async def end(
        self,
        job_id: str,
        attempt: int,
        state: JobState,
        error: JobError | None,
        *,
        used_s: float = 0.0,
    ) -> Job | None:
        """Running to failed, dead or cancelled: ledger `refund`, outbox row, time used counts for fairness."""

    async def stranded(self, models: Collection[str], limit: int) -> list[Job]:
        """Queued jobs that wait for a model which is none of these, the oldest first."""

    async def fail_queued(self, job_id: str, error: JobError) -> Job | None:
        """Queued to failed (its model cannot be had), with refund; None: it was not queued."""

    async def requeue(
        self,
        job_id: str,
        attempt: int,
        *,
        crashed: bool,
        interrupted: bool,
        delay_s: float,
        alone: bool,
        used_s: float = 0.0,
    ) -> Job | None:
        """Running back to queued, at the front of its person's line; counts one crash, one interruption, or else
        one failure. Time used counts for fairness, up to the estimate. Not claimable before `delay_s`. `alone`: run it
        only on an idle device. If a cancel was requested it is cancelled and refunded instead."""

    async def recover(self, *, max_interruptions: int) -> int:
        """At start, holding the lock: requeue every running job at once (cancelled ones are cancelled), counting an
        interruption; those over the maximum fail. Returns how many were requeued."""

    async def rescue(self, *, max_interruptions: int) -> int:
        """Requeue running jobs whose lease ran out."""

    async def request_cancel(self, job_id: str, owner: str) -> Job:
        """Queued: cancelled and refunded now. Running: `cancel_requested` is set. Twice is once.

        Raises: JobNotFound, NotCancellable (rendered or later, or already ended otherwise).
        """

    async def get(self, job_id: str, owner: str | None) -> Job:
        """The job by its id or, with an owner, any unique prefix of 4 or more. Raises: JobNotFound."""

    async def queue_view(self, job_id: str) -> QueueView | None:
        """None when the job is not queued."""

    async def counts(self) -> Mapping[JobState, int]: ...

    async def next_due_s(self) -> float | None:
        """Seconds until the next backed-off queued job may be claimed; None: there is none."""


class History(Protocol):
    async def page(
        self, owner: str, *, state: JobState | None, q: str, before: str | None, limit: int
    ) -> tuple[list[Job], str | None]:
        """The owner's jobs, newest first, and what to pass as `before` for more. `q` searches prompts, questions,
        captions and answers, all words, prefixes allowed; no characters of `q` are special."""
