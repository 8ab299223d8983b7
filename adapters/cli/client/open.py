"""Opens a client: over HTTP if a server holds the data lock, otherwise in this process, which then takes the lock."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from adapters.cli.client.types import AdminClient, JobClient
from adapters.cli.output import print_note
from adapters.cli.ports import CompositionRoot, LoadedConfig
from bot.errors import StartupError
from bot.runtime.lock import LockHolder, changed_sentence, read_holder
from bot.runtime.lock_requests import LockRequest

if TYPE_CHECKING:
    from adapters.cli.client.http import HttpClient
    from bot.usecases import UseCases

START_WAIT_S = 30.0
"""How long to wait for a server that is starting."""
_POLL_INTERVAL_S = 0.2
_MAX_UNREADABLE = 5
"""Reads of the lock's file, half a second each: its holder writes it in the moment in which it acquires the lock."""

Client = TypeVar("Client")


@asynccontextmanager
async def open_job_client(composition: CompositionRoot, loaded: LoadedConfig) -> AsyncIterator[JobClient]:
    """Raises: StartupError."""
    from adapters.cli.client.http import open_http_client
    from adapters.cli.client.local import open_local_job_client

    def open_local() -> AbstractAsyncContextManager[JobClient]:
        return open_local_job_client(composition, loaded)

    async with open_client(
        loaded.data_dir, lambda holder: open_http_client(loaded.data_dir, holder), open_local
    ) as client:
        yield client


@asynccontextmanager
async def open_admin_client(composition: CompositionRoot, loaded: LoadedConfig) -> AsyncIterator[AdminClient]:
    """Raises: StartupError."""
    from adapters.cli.client.http import open_http_client
    from adapters.cli.client.local import open_local_admin_client

    def open_local() -> AbstractAsyncContextManager[AdminClient]:
        return open_local_admin_client(composition, loaded)

    async with open_client(
        loaded.data_dir, lambda holder: open_http_client(loaded.data_dir, holder), open_local
    ) as client:
        yield client


@asynccontextmanager
async def open_service_client(
    composition: CompositionRoot,
    loaded: LoadedConfig,
    make_local: "Callable[[UseCases], Client]",
    make_remote: "Callable[[HttpClient], Client]",
) -> AsyncIterator[Client]:
    """Over the server's REST API, or over the use cases of this process. Raises: StartupError."""
    from adapters.cli.client.http import open_http_client

    @asynccontextmanager
    async def open_local() -> AsyncIterator[Client]:
        async with composition.open_application(loaded, only_submitted=True) as usecases:
            yield make_local(usecases)

    @asynccontextmanager
    async def open_remote(holder: LockHolder) -> AsyncIterator[Client]:
        async with open_http_client(loaded.data_dir, holder) as http_client:
            yield make_remote(http_client)

    async with open_client(loaded.data_dir, open_remote, open_local) as client:
        yield client


@asynccontextmanager
async def open_client(
    data_dir: Path,
    open_remote: Callable[[LockHolder], AbstractAsyncContextManager[Client]],
    open_local: Callable[[], AbstractAsyncContextManager[Client]],
) -> AsyncIterator[Client]:
    """Use the server if there is one; also if another process takes the lock between the check and the attempt."""
    deadline = time.monotonic() + START_WAIT_S
    async with AsyncExitStack() as stack:
        while True:
            holder = await find_server(data_dir, deadline)
            try:
                opened = await stack.enter_async_context(open_local() if holder is None else open_remote(holder))
                break
            except StartupError:
                if holder is not None or read_holder(data_dir) is None or time.monotonic() > deadline:
                    raise
        yield opened


async def find_server(data_dir: Path, deadline: float | None = None) -> LockHolder | None:
    """The server that holds the lock, after waiting for it to start; None if the lock is free. Raises: StartupError."""
    deadline = deadline if deadline is not None else time.monotonic() + START_WAIT_S
    with LockRequest(data_dir) as request:
        return await _find_server(data_dir, deadline, request)


async def _find_server(data_dir: Path, deadline: float, request: LockRequest) -> LockHolder | None:
    is_announced, unreadable = False, 0
    while True:
        holder = await asyncio.to_thread(read_holder, data_dir)
        if holder is None or holder.url:
            return holder
        request.acquire()
        unreadable = 0 if holder.pid else unreadable + 1
        if unreadable > _MAX_UNREADABLE:
            raise StartupError(changed_sentence(data_dir))
        if not is_announced:
            print_note(f"Another Easel{_process_hint(holder)} is starting or using {data_dir}; waiting for it ...")
            is_announced = True
        if time.monotonic() > deadline:
            raise StartupError(
                f"Another Easel{_process_hint(holder)} uses {data_dir} and has not published its address. "
                "Wait for it, stop it, or set another EASEL_DATA_DIR."
            )
        await asyncio.sleep(_POLL_INTERVAL_S)


def _process_hint(holder: LockHolder) -> str:
    return f" (process {holder.pid})" if holder.pid else ""
