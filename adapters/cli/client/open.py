"""Two ways to the house with the same face: through the server that holds the lock, or by holding it ourselves."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from adapters.cli.client.types import Caller, Keeper
from adapters.cli.output import note
from adapters.cli.ports import Composition, Loaded
from bot.errors import StartupError
from bot.runtime.lock import Holder, read_holder

START_WAIT_S = 30.0
"""How long a server that is just starting is waited for."""
_LOOK_EVERY_S = 0.2

Opened = TypeVar("Opened")


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
