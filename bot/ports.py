"""What the core needs from the outside, as Protocols: storage, the inference pool, platforms.

Every storage method is one transaction, is safe to cancel (the work goes on in the writer task) and raises
`StorageBusy` when another process holds the database's lock, `StorageFull` when the disk is full. Times are
aware UTC datetimes. Durations are seconds.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from bot.jobs import ImageRef, Job, JobError, JobState, Media, Origin, Picture, Result
from bot.models import ModelSpec

# ---------------------------------------------------------------- storage: jobs


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
    """An idempotency key: `api:{key id}:{Idempotency-Key}`, `tg:{bot}:{update_id}`, ...; `body_hash` tells bodies apart."""

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
        models: names of the models it may run; `warm` are those already loaded.
        free: how many more jobs it can admit.
        idle: it runs nothing, so a job that must run alone may go there.
    """

    device: str
    models: frozenset[str]
    warm: frozenset[str] = frozenset()
    free: int = 1
    idle: bool = True


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
    """Enough of the queue to say where a queued job stands (`bot.fairness.position`).

    Attributes:
        own_ahead: jobs of the same person in the same space that come before it.
        person: that person's lane in the space; `people`: the other lanes of the space.
        space: the space's lane; `spaces`: all other spaces.
        mean_s: mean estimate of the queued jobs, device-seconds.
        running: jobs running now.
    """

    own_ahead: int
    person: Lane
    people: tuple[Lane, ...]
    space: Lane
    spaces: tuple[Lane, ...]
    mean_s: float
    running: int


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
        warm gives way to the fairest job of a warm model for `swap_wait_s` after it was queued. The cost does not
        grow with the number of queued jobs. `only`: consider just these ids (one-shot commands).
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

    async def fail_queued(self, job_id: str, error: JobError) -> Job | None:
        """Queued to failed (its model cannot be had), with refund."""

    async def requeue(
        self,
        job_id: str,
        attempt: int,
        *,
        crashed: bool,
        interrupted: bool,
        delay_s: float,
        alone: bool,
    ) -> Job | None:
        """Running back to queued, at the front of its person's line; counts one crash, one interruption, or else
        one failure. Not claimable before `delay_s`. `alone`: run it only on an idle device. If a cancel was requested it is
        cancelled and refunded instead."""

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


# ---------------------------------------------------------------- storage: people, quota


@dataclass(frozen=True, kw_only=True)
class Person:
    id: str
    name: str
    is_local: bool = False
    is_admin: bool = False
    daily_s: float | None = None
    """The person's own daily allowance; None: the house's (for the local person: unlimited)."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """An API key without its secret; `prefix` names it."""

    prefix: str
    person: Person
    is_admin: bool
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class People(Protocol):
    async def local(self) -> Person:
        """The person at the keyboard: the page without keys, the command line. Made on first use; is an admin."""

    async def identify(self, platform: str, account_id: str, name: str) -> Person:
        """The person behind a platform account, made on first contact."""

    async def by_name(self, name: str) -> Person:
        """The person with this name, made if there is none (for `keys create --person`)."""

    async def add_key(self, prefix: str, secret_hash: str, person: Person, is_admin: bool) -> ApiKey: ...

    async def find_key(self, prefix: str) -> tuple[ApiKey, str] | None:
        """The key and its secret's SHA-256 hex; revoked ones are not found."""

    async def keys(self) -> list[ApiKey]: ...

    async def revoke_key(self, prefix: str) -> ApiKey:
        """Raises: NotFound."""

    async def has_keys(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class Usage:
    used: float
    reserved: float


class Ledger(Protocol):
    async def usage(self, person_id: str, day: str) -> Usage:
        """`day` is an ISO date, UTC."""

    async def problems(self) -> list[str]:
        """Sentences about every imbalance found; empty when reserve = capture + refund + open, always."""


# ---------------------------------------------------------------- storage: media, outbox, what was learned


@dataclass(frozen=True)
class Swept:
    files: int
    megabytes: float


class MediaStore(Protocol):
    async def add(
        self,
        owner: str,
        media: Media,
        *,
        width: int,
        height: int,
        parameters: Mapping[str, Any] | None,
    ) -> Picture:
        """Keep an upload: file written and fsynced, then its rows. Raises: StorageFull."""

    async def write(self, media: Media) -> str:
        """Write and fsync the file only; returns its id. The rows come with `JobStore.render`; until then the sweep
        spares it for an hour."""

    async def picture(self, media_id: str, owner: str) -> Picture:
        """Raises: MediaNotFound (also when it belongs to others)."""

    async def read(self, media_id: str, owner: str | None) -> Media:
        """The bytes. Owner None: for the house's own use. Raises: MediaNotFound."""

    async def sweep(self, *, unused_s: float, keep_days: int, max_gb: float) -> Swept:
        """Forget pictures no job uses after `unused_s`, and the oldest beyond `keep_days` (0: for ever) and
        `max_gb` (0: no limit); delete files without owner rows."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One outbox row that is due. `message_ref` is where the placeholder stands, if it was placed."""

    id: int
    job: Job
    kind: str
    """"placeholder" or "result"."""
    tries: int
    message_ref: str | None

    @property
    def nonce(self) -> str:
        """Stable over retries and restarts, at most 25 characters."""
        return f"{self.job.id}{self.kind[0]}"


class Outbox(Protocol):
    async def due(self, limit: int = 50) -> list[Delivery]:
        """Pending rows whose time has come, oldest first; a result waits until its placeholder is sent or given up."""

    async def sent(self, delivery: Delivery, message_ref: str) -> None:
        """The platform confirmed. For a result the job becomes delivered in the same transaction."""

    async def retry(self, delivery: Delivery, *, delay_s: float, reason: str) -> None: ...

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        """Undeliverable: the job stays rendered and is found in history."""

    async def next_due_s(self) -> float | None: ...


class Learned(Protocol):
    """What the children measured and described, kept over restarts."""

    async def record(self, measured: "Measured") -> None:
        """A running mean per (device, model, dtype, shape, rows, what); later samples weigh at least 1/20."""

    async def rates(self) -> list["Measured"]: ...

    async def record_form(self, model: str, form: Mapping[str, Any]) -> None: ...

    async def forms(self) -> Mapping[str, Mapping[str, Any]]: ...


# ---------------------------------------------------------------- pool


@dataclass(frozen=True)
class TaskImage:
    role: str
    media: Media


@dataclass(frozen=True, kw_only=True)
class Task:
    """One job as a device sees it; no person, no platform, no token.

    Attributes:
        options: every option filled in, with INTERFACES' names (`steps`, `guidance_scale`, `seed`, ...).
        share: jobs with the same key may share a forward pass; opaque to the pool.
        watched: somebody looks at its progress, so previews are worth making.
    """

    id: str
    command: str
    task: str
    model: ModelSpec
    options: Mapping[str, Any]
    images: tuple[TaskImage, ...] = ()
    share: str = ""
    watched: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`step` of `steps`; for text, tokens. `preview` is a small JPEG or None."""

    step: int
    steps: int
    preview: bytes | None = None
    note: str = ""
    """"loading" while the model loads."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`seconds` of one `what`: "step" (diffusion step), "token", "job" (a job beside its steps), "load".

    `shape` is "WIDTHxHEIGHT" or "" for text; `rows` how many shared the forward pass.
    """

    device: str
    model: str
    dtype: str
    shape: str
    rows: int
    what: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Described:
    """A loaded model's form: `{"samplers": [...], "options": [...], "revision": "...", "dtype": "..."}`."""

    model: str
    form: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """One finished picture, encoded, with its metadata inside. `parameters` is the A1111 text."""

    media: Media
    width: int
    height: int
    parameters: str


@dataclass(frozen=True, kw_only=True)
class Done:
    """The end of a task. `seconds` is device time used."""

    pictures: tuple[Rendered, ...] = ()
    text: str | None = None
    revision: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeviceStatus:
    """What `/readyz`, `/metrics` and `doctor` say of a device. `state`: starting, ready, restarting, stopped."""

    device: str
    state: str
    warm: tuple[str, ...] = ()
    running: int = 0
    restarts: int = 0
    memory_mb: int = 0


class Pool(Protocol):
    def offers(self) -> list[Offer]:
        """One for each device that can take a task now."""

    def run(self, task: Task) -> AsyncIterator[Progress | Measured | Described | Done]:
        """Run a task on a device that offered its model; ends after `Done`. Closing the iterator cancels the task.

        Raises: JobCancelled (after `cancel`), Interrupted (draining), ModelUnavailable, OutOfMemory, EngineTimeout,
        WorkerLost, InvalidOption (the model itself refused a value), EngineError.
        """

    def cancel(self, task_id: str) -> None:
        """Stop at the next step; a task that does not run is ignored."""

    def watch(self, task_id: str, watched: bool) -> None:
        """Make previews for it, or no longer."""

    async def wait_for_change(self) -> None:
        """Returns when offers may have changed since the last call."""

    def statuses(self) -> list[DeviceStatus]: ...

    async def drain(self, deadline_s: float) -> None:
        """Offer nothing more; let running tasks finish until the deadline, then interrupt them."""


# ---------------------------------------------------------------- pictures


@dataclass(frozen=True, kw_only=True)
class CleanPicture:
    """An upload made safe: first frame, upright, RGB(A) 8 bit, metadata stripped, PNG or JPEG."""

    media: Media
    width: int
    height: int
    parameters: Mapping[str, Any] | None


class Pictures(Protocol):
    """Decoding and encoding of pictures, in a child process with memory and time limits."""

    async def clean(self, data: bytes) -> CleanPicture:
        """Raises: UnsupportedMedia, TooLarge."""


# ---------------------------------------------------------------- platforms


class Platform(Protocol):
    """One way to reach people. `reply.py` of each adapter turns jobs into messages."""

    name: str

    async def place(self, delivery: Delivery) -> str:
        """Post the placeholder; returns its message ref. Raises: PlatformError."""

    async def progress(self, job: Job, message_ref: str, progress: Progress) -> None:
        """Best effort; never raises PlatformError that matters."""

    async def edit(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """Turn the placeholder into the result; "not modified" is success. Raises: MessageGone, PlatformError."""

    async def send(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """The fallback: a new message with `delivery.nonce`. Raises: Undeliverable, PlatformError."""


@dataclass(frozen=True, kw_only=True)
class Healthy:
    """One line of `doctor` and `/readyz`."""

    name: str
    is_ok: bool
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)


class Maintenance(Protocol):
    """The database's own housekeeping."""

    async def backup(self, path: Path) -> None:
        """An online copy, consistent, while writers go on. Raises: StorageFull."""

    async def check(self) -> list[str]:
        """Sentences about what is wrong; empty when all is well."""

    def free_mb(self) -> int:
        """Free disk space where the data lies."""


class Adapter(Protocol):
    """A platform as the composition root sees it (`adapters.PLATFORMS`). Chat platforms are a `Platform` too."""

    name: str

    async def run(self) -> None:
        """Serve until cancelled. Raises: StartupError (port taken, token refused), with a sentence."""
