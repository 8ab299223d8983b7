"""What the clients offer, whether they call a running server or work in this process."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from adapters.cli.views import JobBody


@dataclass(frozen=True, kw_only=True)
class Order:
    """One request; `options` are checked values, `images` are ids of uploads and their roles; "": the command's own."""

    command: str
    options: Mapping[str, Any]
    images: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Quoted:
    """What several jobs would take. `quote` confirms them."""

    jobs: int
    eta_s: float | None
    quote: str


class Caller(Protocol):
    """Asks for jobs as the local person. Every method raises EaselError alone."""

    async def upload(self, data: bytes) -> str:
        """Keep a picture; its id."""

    async def quote(self, order: Order) -> Quoted: ...

    async def submit(self, order: Order, quote: str | None = None) -> list[str]:
        """The ids of the accepted jobs."""

    def follow(self, job_id: str) -> "AsyncIterator[JobBody]":
        """The job now and after each change, up to its final state."""

    async def job(self, job_id: str) -> "JobBody": ...

    async def picture(self, media_id: str) -> bytes: ...

    async def cancel(self, job_id: str) -> None: ...


class Keeper(Protocol):
    """The owner's chores: keys, as JSON bodies, and backups. Every method raises EaselError alone."""

    async def create_key(self, person: str | None, *, is_admin: bool) -> dict[str, Any]:
        """`key` holds the whole text, which is shown this once."""

    async def keys(self) -> list[dict[str, Any]]: ...

    async def revoke_key(self, prefix: str) -> dict[str, Any]: ...

    async def backup(self, path: Path) -> None: ...
