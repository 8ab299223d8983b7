"""Two ways to the house with the same face: through the server that holds the lock, or by holding it ourselves."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from adapters.cli.output import note
from adapters.cli.ports import Composition, Loaded
from bot.errors import StartupError
from bot.runtime.lock import Holder, read_holder

if TYPE_CHECKING:
    from adapters.cli.views import JobBody

START_WAIT_S = 30.0
"""How long a server that is just starting is waited for."""
_LOOK_EVERY_S = 0.2

Opened = TypeVar("Opened")


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


@asynccontextmanager
async def open_caller(composition: Composition, loaded: Loaded) -> AsyncIterator[Caller]:
    """Raises: StartupError."""
    from adapters.cli.client.http import open_remote
    from adapters.cli.client.local import open_local_caller

    def locally() -> AbstractAsyncContextManager[Caller]:
        return open_local_caller(composition, loaded)

    async with open_through(loaded.data_dir, lambda holder: open_remote(loaded.data_dir, holder), locally) as caller:
        yield caller


@asynccontextmanager
async def open_keeper(composition: Composition, loaded: Loaded) -> AsyncIterator[Keeper]:
    """Raises: StartupError."""
    from adapters.cli.client.http import open_remote
    from adapters.cli.client.local import open_local_keeper

    def locally() -> AbstractAsyncContextManager[Keeper]:
        return open_local_keeper(composition, loaded)

    async with open_through(loaded.data_dir, lambda holder: open_remote(loaded.data_dir, holder), locally) as keeper:
        yield keeper


@asynccontextmanager
async def open_through(
    data_dir: Path,
    remotely: Callable[[Holder], AbstractAsyncContextManager[Opened]],
    locally: Callable[[], AbstractAsyncContextManager[Opened]],
) -> AsyncIterator[Opened]:
    """Through the server if there is one. Whoever takes the lock between our look and our try is asked instead."""
    deadline = time.monotonic() + START_WAIT_S
    async with AsyncExitStack() as stack:
        while True:
            holder = await find_server(data_dir, deadline)
            try:
                opened = await stack.enter_async_context(locally() if holder is None else remotely(holder))
                break
            except StartupError:
                if holder is not None or read_holder(data_dir) is None or time.monotonic() > deadline:
                    raise
        yield opened


async def find_server(data_dir: Path, deadline: float | None = None) -> Holder | None:
    """The server that holds the lock, waited for while it starts; None when nobody holds it. Raises: StartupError."""
    deadline = deadline if deadline is not None else time.monotonic() + START_WAIT_S
    told = False
    while True:
        holder = await asyncio.to_thread(read_holder, data_dir)
        if holder is None or holder.url:
            return holder
        if not told:
            note(f"Another Easel{_who(holder)} is just starting or busy with {data_dir}: waiting for it ...")
            told = True
        if time.monotonic() > deadline:
            raise StartupError(
                f"Another Easel{_who(holder)} works on {data_dir} and does not say where it listens. "
                "Wait for it or stop it, or set another EASEL_DATA_DIR."
            )
        await asyncio.sleep(_LOOK_EVERY_S)


def _who(holder: Holder) -> str:
    return f" (process {holder.pid})" if holder.pid else ""
