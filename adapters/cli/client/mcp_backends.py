"""The backends of `easel mcp`: the running server's REST API, or the use cases of this process."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from adapters.cli.client.http import HttpClient, image_body
from adapters.cli.client.open import open_service_client
from adapters.cli.ports import CompositionRoot, LoadedConfig
from adapters.mcp.tool_backend import CLIENT, Body, ToolBackend, ToolJobRequest
from adapters.mcp.usecase_backend import UseCaseBackend
from adapters.web.authorization import CLIENT_HEADER
from bot.errors import EaselError, JobNotFound, ShuttingDown
from bot.jobs import Media
from bot.ports import Person
from bot.runtime.lock_requests import LockOffer
from bot.usecases import UseCases

IDLE_S = 60.0
"""How long a backend stays open after its last call. In this process it holds the data directory meanwhile, unless
another process asks for that."""
_POLL_S = 0.5


class RestBackend:
    """The server that is running."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def is_current(self) -> bool:
        """Whether the server that it calls is still running."""
        return await self._client.is_current()

    async def list_commands(self) -> list[Body]:
        commands: list[Body] = (await self._get("/api/v1/commands"))["commands"]
        return [command for command in commands if "plugin" not in command]  # their answers may be no jobs

    async def list_models(self) -> list[Body]:
        models: list[Body] = (await self._get("/api/v1/models"))["models"]
        return models

    async def get_quota(self) -> Body:
        return await self._get("/api/v1/quota")

    async def upload_image(self, data: bytes) -> str:
        file = {"file": ("image", data, "application/octet-stream")}
        return str((await self._post("/api/v1/media", files=file))["id"])

    async def quote_price(self, request: ToolJobRequest) -> Body:
        return await self._post("/api/v1/quotes", json=_request_body(request))

    async def submit_jobs(self, request: ToolJobRequest) -> list[str]:
        content = _request_body(request) | ({"quote": request.quote} if request.quote is not None else {})
        key = {"Idempotency-Key": str(uuid.uuid4())}  # a repetition finds the jobs of the first request
        body = await self._post("/api/v1/jobs", headers=key, is_safe=True, json=content)
        return [str(job["id"]) for job in body.get("jobs") or [body]]

    def follow_job(self, job_id: str) -> AsyncIterator[Body]:
        return self._client.follow_job(job_id, wants_previews=False)

    async def read_job(self, job_id: str) -> Body:
        return await self._client.read_job(job_id)

    async def cancel_job(self, job_id: str) -> None:
        await self._client.cancel_job(job_id)

    async def read_batch(self, batch_id: str) -> Body:
        return await self._client.read_batch(batch_id)

    async def cancel_batch(self, batch_id: str) -> None:
        await self._client.cancel_batch(batch_id)

    async def list_jobs(self, q: str, *, before: str | None, limit: int) -> tuple[list[Body], str | None]:
        jobs, following, _ = await self._client.list_jobs(q, before=before, limit=limit)
        return jobs, following

    async def read_image(
        self, media_id: str, *, max_bytes: int | None = None, width: int | None = None
    ) -> Media | None:
        url = f"/api/v1/media/{quote(media_id, safe='')}"
        params = {} if width is None else {"w": str(width)}
        response = await self._client.send_request("GET", url, params=params, is_safe=True)
        if max_bytes is not None and len(response.content) > max_bytes:
            return None
        return Media(response.content, response.headers.get("content-type", "").partition(";")[0])

    async def _get(self, path: str) -> Body:
        body: Body = (await self._client.send_request("GET", path, is_safe=True)).json()
        return body

    async def _post(self, path: str, *, headers: Mapping[str, str] = {}, **more: Any) -> Body:
        headers = {CLIENT_HEADER: CLIENT, **headers}
        body: Body = (await self._client.send_request("POST", path, headers=headers, **more)).json()
        return body


def _request_body(request: ToolJobRequest) -> Body:
    body = {
        "command": request.command,
        "options": dict(request.options),
        "images": [image_body(image) for image in request.images],
    }
    return body | ({"parent": request.parent} if request.parent is not None else {})


@dataclass(frozen=True)
class LocalBackend(UseCaseBackend):
    """This process, which runs the jobs that were submitted in it."""

    _submitted: set[str] = field(default_factory=set)

    async def submit_jobs(self, request: ToolJobRequest) -> list[str]:
        ids = await super().submit_jobs(request)
        self._submitted.update(ids)
        return ids

    async def has_unfinished_jobs(self) -> bool:
        person, _ = await self.identify()
        for job_id in list(self._submitted):
            with suppress(JobNotFound):
                if not (await self.usecases.jobs.get_ticket(person, job_id)).job.state.is_final:
                    return True
            self._submitted.discard(job_id)
        return False


def open_backend(composition: CompositionRoot, loaded: LoadedConfig) -> Any:
    """A context manager with a `ToolBackend`. Raises: StartupError."""

    def make_local(usecases: UseCases) -> ToolBackend:
        async def identify() -> tuple[Person, bool]:
            return await usecases.people.local_person(), True

        return LocalBackend(usecases, identify)

    return open_service_client(composition, loaded, make_local, RestBackend)


class BackendOnDemand:
    """Opens a backend at the first call, and closes it when none has needed it for `idle_s`.

    A backend of this process is open for as long as its jobs are unfinished: they run in it. One whose server is gone
    is opened again at the next call. Its context is entered and left in one task, as it has to be.
    """

    def __init__(self, open_one: Any, offer: LockOffer, *, idle_s: float = IDLE_S, poll_s: float = _POLL_S) -> None:
        self._open_one = open_one
        self._offer = offer
        self._idle_s = idle_s
        self._poll_s = poll_s
        self._lock = asyncio.Lock()
        self._current: _OpenBackend | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._keepers: set[asyncio.Task[None]] = set()
        self._users = 0
        self._used_at = 0.0
        self._is_closing = asyncio.Event()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[ToolBackend]:
        """Raises: StartupError."""
        self._users += 1  # also while it is being opened
        try:
            async with self._lock:
                one = self._current
                if one is None or not await one.is_usable():
                    one = await self._open(one)
                one.users += 1
            try:
                yield one.backend
            except EaselError as error:
                one.is_stale |= getattr(error, "code", "") == "server_gone"
                raise
            finally:
                one.users -= 1
        finally:
            self._users -= 1
            self._used_at = time.monotonic()

    async def close(self) -> None:
        """Leaves unfinished jobs to the next server."""
        self._is_closing.set()
        if self._keeper is not None and self._current is None:  # it is being opened
            self._keeper.cancel()
        if self._keepers:
            await asyncio.wait(set(self._keepers))

    async def _open(self, last: "_OpenBackend | None") -> "_OpenBackend":
        if last is not None and isinstance(last.backend, RestBackend):
            last.is_stale = True  # its calls may still be waiting for their server
        elif self._keeper is not None:  # it releases the data directory first
            await asyncio.wait([self._keeper])
        opened: asyncio.Future[_OpenBackend] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep_open(opened))
        self._keepers.add(self._keeper)
        self._keeper.add_done_callback(self._keepers.discard)
        return await asyncio.shield(opened)

    async def _keep_open(self, opened: "asyncio.Future[_OpenBackend]") -> None:
        self._current = None
        async with AsyncExitStack() as stack:
            stack.callback(self._offer.release)  # after the data lock
            try:
                one = _OpenBackend(await stack.enter_async_context(self._open_one()))
            except (Exception, asyncio.CancelledError) as error:
                opened.set_exception(error if isinstance(error, Exception) else ShuttingDown())
                opened.exception()  # the call that asked for it may have been cancelled
                return
            self._current = one
            opened.set_result(one)
            try:
                while not self._is_closing.is_set() and (await self._is_needed(one) or one.users):
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._is_closing.wait(), self._poll_s)
            finally:
                self._current = None if self._current is one else self._current

    async def _is_needed(self, one: "_OpenBackend") -> bool:
        if one.is_stale:
            return False
        if isinstance(one.backend, LocalBackend):
            self._offer.acquire()
        if self._users:
            return True
        if time.monotonic() - self._used_at < self._idle_s and not self._offer.is_asked():
            return True
        return isinstance(one.backend, LocalBackend) and await one.backend.has_unfinished_jobs()


@dataclass
class _OpenBackend:
    """`is_stale`: its server is gone; no further call uses it."""

    backend: ToolBackend
    users: int = 0
    is_stale: bool = False

    async def is_usable(self) -> bool:
        return not self.is_stale and (not isinstance(self.backend, RestBackend) or await self.backend.is_current())
