"""Pictures on disk, the outbox, what was measured, and the database's housekeeping."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bot.jobs import Job, Media, Picture
from bot.ports.pool import Measured


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

    async def share(self, media_id: str, person_id: str) -> Picture:
        """Make somebody's picture this person's too; nothing is copied. Raises: MediaNotFound (nobody has it)."""

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
    async def due(self, limit: int = 50, *, besides: Collection[str] = ()) -> list[Delivery]:
        """Pending rows whose time has come, oldest first, but for the jobs in `besides`; a result waits until its
        placeholder is sent or given up."""

    async def sent(self, delivery: Delivery, message_ref: str) -> None:
        """The platform confirmed. For a result the job becomes delivered in the same transaction."""

    async def retry(self, delivery: Delivery, *, delay_s: float, reason: str, is_try: bool = True) -> None:
        """Not before `delay_s`. A wait that is nobody's failure is no try."""

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        """Undeliverable: the job stays rendered and is found in history."""

    async def is_owed(self, delivery: Delivery) -> bool:
        """Whether it is still pending: its job may have been erased since it was found due."""

    async def next_due_s(self) -> float | None: ...

    async def note(self, job_id: str, platform: str, message_ref: str) -> None:
        """A further message of the job (an original, an album's picture): replies to it are about the job. Whatever
        `sent` names is noted by itself."""

    async def job_of(self, platform: str, message_ref: str) -> Job | None:
        """The job that any of its messages belongs to, however old."""

    async def messages_of(self, job_id: str, platform: str) -> list[str]:
        """Where all its messages stand: what `sent` and `note` were told."""

    async def followed(self) -> list[Delivery]:
        """Placeholders that were sent and whose job is still open: somebody waits for its progress."""


class Learned(Protocol):
    """What the children measured and described, kept over restarts."""

    async def record(self, measured: Measured) -> None:
        """A running mean per (device, model, dtype, shape, rows, what); later samples weigh at least 1/20."""

    async def rates(self) -> list[Measured]: ...

    async def record_form(self, model: str, form: Mapping[str, Any]) -> None: ...

    async def forms(self) -> Mapping[str, Mapping[str, Any]]: ...


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
