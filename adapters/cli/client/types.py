"""The clients' interfaces and the values that they exchange."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bot.jobs import ImageRef

if TYPE_CHECKING:
    from adapters.cli.views import JobBody


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """One request. `options` are validated."""

    command: str
    options: Mapping[str, Any]
    images: tuple[ImageRef, ...] = ()


@dataclass(frozen=True)
class PriceQuote:
    """The price of several jobs. `token` confirms them."""

    jobs: int
    eta_s: float | None
    token: str


class JobClient(Protocol):
    """Submits and follows jobs as the local person. Every method raises only EaselError."""

    async def upload_image(self, data: bytes) -> str:
        """Store an image and return its id."""

    async def quote_price(self, request: JobRequest) -> PriceQuote: ...

    async def submit_jobs(self, request: JobRequest, quote_token: str | None = None) -> list[str]:
        """The ids of the accepted jobs."""

    def follow_job(self, job_id: str) -> "AsyncIterator[JobBody]":
        """The job now and after each change, until it is finished."""

    async def read_job(self, job_id: str) -> "JobBody": ...

    async def read_batch(self, batch_id: str) -> dict[str, Any]:
        """The body of `GET /batches/{id}`."""

    async def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        """Cancel its unfinished jobs. The body of `GET /batches/{id}`."""

    async def read_image(self, media_id: str) -> bytes: ...

    async def cancel_job(self, job_id: str) -> None: ...

    async def correct_job(self, job_id: str, text: str, *, consent: bool) -> dict[str, Any]:
        """The body of `POST /jobs/{id}/correction`."""

    async def delete_correction(self, job_id: str) -> list[str]:
        """The names of adapters that learned from it, and are switched off."""

    async def list_jobs(
        self, q: str, *, before: str | None, limit: int, by_meaning: bool = False
    ) -> "tuple[list[JobBody], str | None, bool]":
        """The local person's jobs, newest first, or best first `by_meaning`; the `before` of the next page; and
        whether, by meaning, all pictures were looked for."""

    def export_images(self, jobs: Sequence[str] | None, pictures: Sequence[tuple[str, int]]) -> AsyncIterator[bytes]:
        """The body of `POST /export`, in chunks."""


class AdminClient(Protocol):
    """API keys and people, as JSON bodies, and backups. Every method raises only EaselError."""

    async def create_key(self, person: str | None, *, is_admin: bool) -> dict[str, Any]:
        """`key` is the complete key, which is shown only once."""

    async def list_keys(self) -> list[dict[str, Any]]: ...

    async def revoke_key(self, prefix: str) -> dict[str, Any]: ...

    async def list_people(self, q: str) -> list[dict[str, Any]]:
        """Those whose name contains `q`, or whose id or account it is; 100 at most."""

    async def set_blocked(self, person_id: str, *, is_blocked: bool) -> dict[str, Any]:
        """`cancelled`: the ids of the jobs that were cancelled."""

    async def unlock(self) -> dict[str, Any]:
        """`locked` stays true while there are `active_keys`."""

    async def backup_database(self, path: Path) -> None: ...
