"""The durable job queue and the job history.

Every storage method, here and in the neighbouring modules, is one transaction, is safe to cancel (the writer task
completes it) and raises `StorageBusy` if another process holds the database's lock, `StorageFull` if the disk is full.
Times are aware UTC datetimes. Durations are in seconds.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bot.jobs import ImageRef, Job, JobError, JobState, Origin, Result
from bot.ports.batches import NewBatch


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job about to be accepted.

    Attributes:
        estimate_s: expected device-seconds; advances the virtual time of the person and the space when it is claimed.
        cost: device-seconds charged to the quota; 0 for demo models.
        wants_delivery: it came through a chat platform, so it gets outbox rows.
        search_text: the text indexed for history search (the prompt or question).
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
    search_text: str = ""
    parent: str | None = None
    batch: str | None = None
    wants_delivery: bool = False


@dataclass(frozen=True)
class RequestKey:
    """An idempotency key: `api:{key id}:{Idempotency-Key}`, ...; `body_hash` identifies the request body."""

    key: str
    body_hash: str


@dataclass(frozen=True, kw_only=True)
class Limits:
    """One person's limits, and `total_queued` for everybody. `daily_s` None: unlimited."""

    daily_s: float | None = None
    outstanding: int = 50
    running: int = 2
    total_queued: int = 100_000


@dataclass(frozen=True)
class AcceptResult:
    jobs: tuple[Job, ...]
    is_replay: bool
    """The key was used before; these are its original jobs."""


KEPT_FREE = 2
"""Slots of a device that people with `queue.max_running` running jobs leave to others."""


@dataclass(frozen=True, kw_only=True)
class Offer:
    """The jobs that one device can accept now.

    Attributes:
        models: models that it can accept at least one more job for; those of them in `loaded` are already loaded.
        spare: loaded models that it can accept more than `KEPT_FREE` jobs for: where nobody else waits, one person may
            have more than `queue.max_running` of them.
        full: models that already run their maximum number of jobs.
        deferred: models that it can only load once the running jobs have ended.
        free_slots: the total number of further jobs that it can accept.
        is_idle: it runs nothing and can accept a job that needs an exclusive device.
        since_load_s: seconds since it last loaded a model; a swap waits until the load has paid off.
    """

    device: str
    models: frozenset[str]
    loaded: frozenset[str] = frozenset()
    spare: frozenset[str] = frozenset()
    full: frozenset[str] = frozenset()
    deferred: frozenset[str] = frozenset()
    free_slots: int = 1
    is_idle: bool = True
    since_load_s: float = math.inf


@dataclass(frozen=True)
class LeaseRenewal:
    """Of the leases to renew: jobs whose cancellation was requested, and claims that were lost."""

    cancel_requested: frozenset[str]
    lost: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class FairShareLane:
    """One person's (or space's) share of the queue. `vtime` is virtual time, device-seconds."""

    vtime: float
    backlog: int


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """The part of the queue that determines a job's position (`bot.queue.fairness.queue_position`).

    Attributes:
        own_ahead: earlier jobs of the same person in the same space.
        person: that person's lane in the space; `people`: the other lanes of the space.
        space: the space's lane; `spaces`: all other spaces.
        mean_s: mean estimate of the queued jobs, device-seconds.
        running: number of running jobs; `own_running` are the person's, in all spaces.
    """

    own_ahead: int
    person: FairShareLane
    people: tuple[FairShareLane, ...]
    space: FairShareLane
    spaces: tuple[FairShareLane, ...]
    mean_s: float
    running: int
    own_running: int = 0


class JobStore(Protocol):
    """The durable queue. Every state change checks the previous state (`bot.jobs.TRANSITIONS`)."""

    async def accept_jobs(
        self,
        jobs: Sequence[NewJob],
        *,
        key: RequestKey | None,
        limits: Limits,
        quote: str | None = None,
        batch: NewBatch | None = None,
    ) -> AcceptResult:
        """Accept all jobs or none, in one transaction: idempotency key, outstanding limit, quota reserve (a ledger row
        `reserve` for each job), job rows, input-media rows, search text, and for `wants_delivery` a placeholder
        outbox row. Images must belong to the owner. All jobs must have the same owner. `batch`: what is remembered of
        the batch that they name.

        Raises: QuotaExceeded, QueueFull, IdempotencyConflict, MediaNotFound, StorageFull, StorageBusy.
        """

    async def find_request(self, key: str) -> tuple[str, tuple[Job, ...]] | None:
        """The request that used this idempotency key: its body's hash and its jobs in their current state."""

    async def find_recent_request(self, prefix: str, body_hash: str, since: datetime) -> tuple[Job, ...]:
        """The jobs of the latest request since then whose key begins so and whose body has this hash; none: ()."""

    async def claim_job(
        self,
        offer: Offer,
        *,
        max_running: int,
        lease_s: float,
        swap_wait_s: float,
        only: frozenset[str] | None = None,
    ) -> Job | None:
        """Move the fairest runnable job from queued to running and return it; its `attempt` is the fencing token.

        Start-time fair queueing on two levels: the space with the lowest virtual time, in it the person with the
        lowest, then that person's oldest job. Persons with `max_running` running jobs and jobs in back-off
        (`not_before`) are skipped. If nobody else waits, persons with more get what the offer has to spare, in the
        same order. Jobs that need an exclusive device go first, but only to an idle offer. A job whose
        model is not loaded yields to the fairest job of a loaded model for `swap_wait_s` after it was queued and after
        the device's last load. If its model then still does not fit, nothing is claimed, and the device drains for it.
        The cost does not depend on the number of queued jobs. `only`: consider only these ids (one-shot commands).
        """

    async def renew_leases(self, leases: Mapping[str, int], lease_s: float) -> LeaseRenewal:
        """Extend the leases `{job id: attempt}`."""

    async def save_result(self, job_id: str, attempt: int, result: Result) -> Job | None:
        """Save the result: rendered (and immediately delivered if the job wants no delivery), ledger `capture`,
        output-media rows for the owner, search text, result outbox row, and virtual times corrected by the time used.
        None: the claim was lost and the result is discarded. If a cancellation was requested in the meantime, the job
        is cancelled and refunded instead."""

    async def end_job(
        self,
        job_id: str,
        attempt: int,
        state: JobState,
        error: JobError | None,
        *,
        used_s: float = 0.0,
    ) -> Job | None:
        """Running to failed, dead or cancelled: ledger `refund`, outbox row; time used counts towards fairness."""

    async def orphaned(self, models: Collection[str], limit: int) -> list[Job]:
        """Queued jobs whose model is not one of these, oldest first."""

    async def fail_queued(self, job_id: str, error: JobError) -> Job | None:
        """Queued to failed (its model is not available), with a refund; None: it was not queued."""

    async def requeue_job(
        self,
        job_id: str,
        attempt: int,
        *,
        crashed: bool,
        interrupted: bool,
        delay_s: float,
        exclusive: bool,
        used_s: float = 0.0,
        faultless: bool = False,
    ) -> Job | None:
        """Running back to queued, at the front of its person's lane; counts one crash, one interruption, or else one
        failure; `faultless`: none of them, and no time. Time used counts towards fairness, up to the estimate. It can
        be claimed again after `delay_s`.
        `exclusive`: run it only on an idle device. If a cancellation was requested, it is cancelled and refunded
        instead."""

    async def requeue_interrupted(self, *, max_interruptions: int) -> int:
        """At startup, under the data lock: requeue every running job (or cancel it, if that was requested) and count an
        interruption; those over the maximum fail. Returns the number of requeued jobs."""

    async def requeue_expired(self, *, max_interruptions: int) -> int:
        """Requeue running jobs whose lease has expired; returns their number."""

    async def request_cancel(self, job_id: str, owner: str) -> Job:
        """Queued: cancel and refund immediately. Running: set `cancel_requested`. Idempotent.

        Raises: JobNotFound, NotCancellable: it is rendered, or has ended in another way.
        """

    async def get_job(self, job_id: str, owner: str | None) -> Job:
        """The job by its id or, with an owner, by a unique prefix of at least 4 characters. Raises: JobNotFound."""

    async def has_earlier_result(self, job_id: str) -> bool:
        """Whether an earlier job of the same space has a result."""

    async def queue_view(self, job_id: str) -> QueueView | None:
        """None: the job is not queued."""

    async def count_by_state(self) -> Mapping[JobState, int]: ...

    async def next_due_s(self) -> float | None:
        """Seconds until the next queued job in back-off can be claimed; None: there is none."""


@dataclass(frozen=True, kw_only=True)
class HistoryFilter:
    """Only jobs of this command and model, with a picture that is a favourite, or in this collection of the owner's,
    made from `since` on and before `until`, that have a result, that follow from the job `parent`, or were given the
    image; empty: of any. `grids_once`: of each grid, only the newest of its jobs."""

    grids_once: bool = False
    favourite: bool = False
    results: bool = False
    parent: str = ""
    image: str = ""
    command: str = ""
    model: str = ""
    collection: str = ""
    since: datetime | None = None
    until: datetime | None = None


ALL_JOBS = HistoryFilter()


class History(Protocol):
    async def count_jobs(self, owner: str, *, state: JobState | None, q: str, only: HistoryFilter = ALL_JOBS) -> int:
        """The number of jobs that `list_jobs` lists, on all pages."""

    async def list_jobs(
        self,
        owner: str,
        *,
        state: JobState | None,
        q: str,
        only: HistoryFilter = ALL_JOBS,
        before: str | None,
        after: str | None = None,
        limit: int,
    ) -> tuple[list[Job], str | None]:
        """The owner's jobs, newest first, and the `before` of the next page. With `after`, the nearest that are newer
        than that job, and the next page's `after`. `q` searches prompts, questions, captions and answers for all of
        its words or prefixes; none of its characters are special."""

    async def list_ids(
        self,
        owner: str,
        *,
        state: JobState | None,
        q: str,
        only: HistoryFilter = ALL_JOBS,
        among: Collection[str] | None = None,
        limit: int,
    ) -> list[str]:
        """The ids of what `list_jobs` lists, newest first. `among`: only those of these jobs."""

    async def get_listed(
        self, owner: str, job_ids: Sequence[str], *, state: JobState | None, only: HistoryFilter = ALL_JOBS
    ) -> list[Job]:
        """Those of the jobs that `list_jobs` would list without words, in the order of their ids here."""
