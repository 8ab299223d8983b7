"""What the tools need of Easel, for one person: of this process, or of the server that `easel mcp` calls."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from bot.jobs import ImageRef, Media

Body = dict[str, Any]
"""A JSON body of REST."""
CLIENT = "mcp"
"""Where jobs and images of the tools come from, in their origin."""


@dataclass(frozen=True, kw_only=True)
class ToolJobRequest:
    """One call of a command's tool. `quote` confirms several combinations of a prompt."""

    command: str
    options: Mapping[str, Any]
    images: tuple[ImageRef, ...] = ()
    parent: str | None = None
    quote: str | None = None


class ToolBackend(Protocol):
    """Every method raises EaselError only."""

    async def list_commands(self) -> list[Body]: ...

    async def list_models(self) -> list[Body]: ...

    async def get_quota(self) -> Body: ...

    async def upload_image(self, data: bytes) -> str:
        """Store an image and return its id."""

    async def quote_price(self, request: ToolJobRequest) -> Body: ...

    async def submit_jobs(self, request: ToolJobRequest) -> list[str]:
        """The ids of the accepted jobs."""

    def follow_job(self, job_id: str) -> AsyncIterator[Body]:
        """The job now and after each change, until it is finished."""

    async def read_job(self, job_id: str) -> Body: ...

    async def cancel_job(self, job_id: str) -> None: ...

    async def read_batch(self, batch_id: str) -> Body: ...

    async def cancel_batch(self, batch_id: str) -> None: ...

    async def list_jobs(self, q: str, *, before: str | None, limit: int) -> tuple[list[Body], str | None]:
        """The person's jobs, newest first, and the `before` of the next page."""

    async def read_image(
        self, media_id: str, *, max_bytes: int | None = None, width: int | None = None
    ) -> Media | None:
        """An image of the person's, or a WebP that is at most so wide; None: it is larger than `max_bytes`."""


OpenBackend = Callable[[], AbstractAsyncContextManager[ToolBackend]]
"""Opens a backend for as long as a call takes."""
