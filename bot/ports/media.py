"""Image files, the outbox, measurements, and database maintenance."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from bot.jobs import Job, Media, StoredImage
from bot.ports.pool import Measurement


@dataclass(frozen=True)
class SweepResult:
    files: int
    megabytes: float


@dataclass(frozen=True, kw_only=True)
class UploadUsage:
    """Bytes of stored images.

    Attributes:
        used: of one person's uploads in a period, without results and without what others uploaded first.
        spare: what all uploads together may still use (`storage.min_free_mb` is kept free).
        oldest_at: when the first of these uploads was stored.
    """

    used: int
    spare: int
    oldest_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class MediaStream:
    """A stored file that is read while it is sent. `size` is in bytes."""

    media_type: str
    size: int
    chunks: AsyncIterator[bytes]


class MediaStore(Protocol):
    async def add_upload(
        self,
        owner: str,
        media: Media,
        *,
        width: int,
        height: int,
        parameters: Mapping[str, Any] | None,
        source: str | None = None,
    ) -> StoredImage:
        """Store an upload: write and fsync the file, then insert its rows. `source`: the platform that it came
        through; an owner who has the image already keeps the first. Raises: StorageFull."""

    async def list_parameters(self, owner: str, since: datetime) -> list[Mapping[str, Any]]:
        """What the latest images of the owner since then said about themselves, newest first."""

    async def upload_usage(self, owner: str, since: datetime) -> UploadUsage:
        """What the owner's uploads since then use. Raises: StorageFull: nothing is left for uploads."""

    async def write_file(self, media: Media) -> str:
        """Write and fsync the file only; returns its id. `JobStore.save_result` inserts the rows; until then the sweep
        leaves the file alone for an hour."""

    async def get_image(self, media_id: str, owner: str) -> StoredImage:
        """Raises: MediaNotFound, also if it belongs to somebody else."""

    async def stream_media(self, media_id: str, owner: str) -> MediaStream:
        """The image in chunks. Raises: MediaNotFound, also if it belongs to somebody else or its file is lost."""

    async def read_media(self, media_id: str, owner: str | None) -> Media:
        """The bytes. Owner None: for internal use, without an ownership check. Raises: MediaNotFound."""

    async def stream_thumbnail(self, media_id: str, owner: str, width: int) -> MediaStream | None:
        """A thumbnail that was saved; None: none was. Raises: MediaNotFound, also if it belongs to somebody else."""

    async def save_thumbnail(self, media_id: str, width: int, thumbnail: Media) -> None:
        """Keep a WebP beside the image, with which it goes; it counts for `retention.max_gb`.

        Raises: StorageFull; MediaNotFound: the image was deleted meanwhile.
        """

    async def share(self, media_id: str, person_id: str, *, source: str | None = None) -> StoredImage:
        """Make this person a further owner of the image, who got it through the platform `source`; nothing is copied.
        Raises: MediaNotFound: nobody owns it."""

    async def read_sheet(self, job_id: str) -> Media | None:
        """The picture that the job's pictures were composed to; None: none is kept."""

    async def save_sheet(self, job_id: str, composed: Sequence[str], sheet: Media, *, width: int, height: int) -> None:
        """Keep it with the job, unless one of the images composed, by their ids, was deleted meanwhile."""

    async def sweep(self, *, unused_s: float, keep_days: int, max_gb: float) -> SweepResult:
        """Delete images that no job has used for `unused_s`, images older than `keep_days` (0: unlimited), the oldest
        beyond `max_gb` (0: unlimited), and files without owner rows."""


WEBHOOK = "webhook"
"""`Delivery.kind`, and in place of a platform, of an event that is sent to a webhook."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One outbox row that is due. `message_ref` refers to the message that it edits: the placeholder, if it was posted,
    or the result itself."""

    id: int
    job: Job
    kind: str
    """"placeholder", "result", "retract" or "webhook"."""
    tries: int
    message_ref: str | None
    is_update: bool = False
    """The message was sent before, and shows what was deleted since."""
    target: str = ""
    """Of a `retract`: the platform of the messages; of a `webhook`: its name."""
    refs: tuple[str, ...] = ()
    """Of a `retract`: the messages to delete; their job is erased, so it is empty."""

    @property
    def platform(self) -> str:
        return WEBHOOK if self.kind == WEBHOOK else self.target or self.job.origin.platform

    @property
    def chat_id(self) -> str:
        """The chat, or the webhook, that it concerns, for taking turns."""
        if self.kind == WEBHOOK:
            return self.target
        return self.refs[0].partition(":")[0] if self.refs else self.job.origin.chat_id

    @property
    def nonce(self) -> str:
        """Stable across retries and restarts; at most 25 characters."""
        return f"{self.job.id}{self.kind[0]}"


class Outbox(Protocol):
    async def due_deliveries(
        self, limit: int = 50, *, excluded_jobs: Collection[str] = (), excluded_webhooks: Collection[str] = ()
    ) -> list[Delivery]:
        """Pending rows that are due, oldest first, without those of `excluded_jobs` and the events of
        `excluded_webhooks`. A result waits until its placeholder is sent or given up."""

    async def mark_sent(self, delivery: Delivery, message_ref: str) -> None:
        """The platform confirmed the message. For a result, the job becomes delivered in the same transaction."""

    async def schedule_retry(self, delivery: Delivery, *, delay_s: float, reason: str, is_try: bool = True) -> None:
        """Deliver it no earlier than in `delay_s`. `is_try` False: the wait does not count as a failed attempt."""

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        """Mark it undeliverable. The job stays rendered and is listed in the history."""

    async def give_up_events(self, delivery: Delivery, *, before: datetime, reason: str) -> None:
        """All pending events for the webhook of this one whose job ended before."""

    async def settle_retraction(self, delivery: Delivery, settled: Collection[str]) -> None:
        """These messages of a `retract` are gone, or cannot be deleted; the row is deleted with the last of them."""

    async def deliver_again(self, job_id: str) -> None:
        """Deliver the job's result now, even if it was given up, but not again: its chat accepts messages."""

    async def is_pending(self, delivery: Delivery) -> bool:
        """Whether it still has to be sent: its job may have been erased in the meantime."""

    async def next_due_s(self, *, excluded_webhooks: Collection[str] = ()) -> float | None: ...

    async def remember_message(self, job_id: str, platform: str, message_ref: str, *, picture: int = 0) -> None:
        """Register a further message of the job (an original, one picture of several), so that a reply to it refers to
        the job, or to that picture. `mark_sent` registers its message itself."""

    async def find_picture(self, platform: str, message_ref: str) -> int:
        """The number of the picture that this message shows; 0: it shows the whole result, or is unknown."""

    async def find_job(self, platform: str, message_ref: str) -> Job | None:
        """The job that this message belongs to, however old."""

    async def message_refs(self, job_id: str, platform: str, *, picture: int = 0) -> list[str]:
        """All messages of the job, from `mark_sent` and `remember_message`, or those that show only this picture."""

    async def retry_space(self, platform: str, space_id: str) -> int:
        """Make the pending messages of the space due: the bot may write there again. Returns how many."""

    async def watched(self) -> list[Delivery]:
        """Sent placeholders of jobs that are still open: they show progress."""


class MeasurementStore(Protocol):
    """Measurements and model capabilities reported by the workers, kept across restarts."""

    async def record_measurement(self, measurement: Measurement) -> None:
        """Update the running mean per (device, model, dtype, shape, batch size, what, backend); a new sample weighs at
        least 1/20."""

    async def load_measurements(self) -> list[Measurement]: ...

    async def record_capabilities(self, model: str, capabilities: Mapping[str, Any]) -> None: ...

    async def load_capabilities(self) -> Mapping[str, Mapping[str, Any]]: ...


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """One result of `doctor` or `/readyz`. `is_required` False: the server is ready without it."""

    name: str
    is_ok: bool
    sentence: str
    is_required: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)


class Maintenance(Protocol):
    """Backup and integrity of the database."""

    async def backup(self, path: Path) -> None:
        """Write a consistent copy while the database stays in use. Raises: StorageFull."""

    async def check(self) -> list[str]:
        """Problems found, as sentences; empty if there are none."""

    def free_mb(self) -> int:
        """Free space on the disk of the data directory, MiB."""
