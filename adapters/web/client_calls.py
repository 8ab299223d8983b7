"""Calls of other programs' APIs as jobs: submitted once however often a client retries, awaited, and cancelled when
nobody waits for them any more.

The APIs of `adapters/openai` and `adapters/sdapi` are built on it, so that quota, moderation,
ownership and history are those of REST.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request
from starlette.requests import ClientDisconnect

from adapters.web.auth import Caller, watch_access
from adapters.web.bodies import parse_json, read_limited
from adapters.web.context import WebContext
from adapters.web.problems import RequestRefused
from adapters.web.streams import iterate_until
from bot import usecases
from bot.errors import ShuttingDown, Unauthorized
from bot.jobs import ImageRef, Job, JobState, Media, Origin, StoredImage
from bot.usecases import JobEvent, Ticket

_JSON_OVERHEAD = 1.4
"""Base64 and JSON make a file larger by this factor."""


class JobFailed(Exception):
    """A job ended without a result. `code` and the sentence are those of its `error`; "cancelled": it has none."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.code = job.error.code if job.error is not None else "cancelled"
        self.sentence = job.error.message if job.error is not None else "The job was cancelled."
        self.incident = job.error.incident if job.error is not None else None
        super().__init__(self.sentence)


@dataclass(frozen=True, kw_only=True)
class ClientCall:
    """One call. `client`: the API, such as "openai": where its jobs and images come from."""

    request: Request
    context: WebContext
    caller: Caller
    client: str

    def to_request(
        self,
        command: str,
        options: Mapping[str, Any],
        images: Iterable[ImageRef] = (),
        *,
        parent: str | None = None,
        extra: Mapping[str, Any] | None = None,
        is_confirmed: bool = False,
        allows_no_image: bool = False,
    ) -> usecases.Request:
        """`is_confirmed`: the client knows how many images `{a|b}` in the prompt makes."""
        person = self.caller.person
        origin = Origin(
            platform="web",
            space_id="web",
            account_id=person.id,
            is_admin=self.caller.is_admin,
            extra={**(extra or {}), "client": self.client},
        )
        return usecases.Request(
            origin=origin,
            command=command,
            options=options,
            images=tuple(images),
            parent=parent,
            requires_own_parent=True,
            is_confirmed=is_confirmed,
            allows_no_image=allows_no_image,
        )

    async def submit(self, request: usecases.Request, *, is_retry: bool = False) -> list[Ticket]:
        """Accept the request. A retry, by what the client says, gets the jobs of the call that it repeats.

        Raises: like `JobUseCases.submit`.
        """
        requests = self.context.usecases.client_requests
        return await requests.submit(self.caller.person, request, caller=self._name, is_retry=is_retry)

    async def find_answered(self, request: usecases.Request) -> Job | None:
        """The job of the latest equal request of this caller; None: there is none, or it has no result yet."""
        return await self.context.usecases.client_requests.find_answered(request, caller=self._name)

    @property
    def _name(self) -> str:
        return f"{self.client}:{self.caller.key}"

    async def wait(
        self, tickets: Sequence[Ticket], *, may_be_cancelled: bool = False, wants_previews: bool = False
    ) -> list[Job]:
        """The jobs, finished. They are cancelled if the client hangs up; the body of its request must have been read.

        `may_be_cancelled`: jobs that were cancelled meanwhile are among them, and no failure. `wants_previews`: other
        calls of the client show them.

        Raises: JobFailed, of the first that has no result; ShuttingDown; Unauthorized: the key was revoked;
        ClientDisconnect: there is nobody to answer.
        """
        ids = [ticket.job.id for ticket in tickets]
        async with self.holding(ids) as ended:
            finished = asyncio.gather(*(self._wait_for(job_id, may_be_cancelled, wants_previews) for job_id in ids))
            gone = asyncio.ensure_future(_wait_for_disconnect(self.request))
            ends = [asyncio.ensure_future(one.wait()) for one in (self.context.closing, ended)]
            reasons: list[asyncio.Future[Any]] = [finished, gone, *ends]
            try:
                await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
                if finished.done():
                    return finished.result()
                if ends[0].done():
                    raise ShuttingDown
                if ends[1].done():
                    raise Unauthorized
                raise ClientDisconnect
            finally:
                for one in reasons:
                    one.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await finished

    async def _wait_for(self, job_id: str, may_be_cancelled: bool, wants_previews: bool) -> Job:
        jobs = self.context.usecases.jobs
        job = await jobs.wait_for_job(self.caller.person, job_id, wants_previews=wants_previews)
        return job if may_be_cancelled and job.state is JobState.CANCELLED else succeeded(job)

    @asynccontextmanager
    async def holding(self, job_ids: Sequence[str]) -> AsyncIterator[asyncio.Event]:
        """For as long as the client waits for the jobs; the event is set when it loses access."""
        async with (
            self.context.waiters.hold(job_ids, self._cancel),
            watch_access(self.request, self.context, self.caller) as ended,
        ):
            yield ended

    async def _cancel(self, job_id: str) -> None:
        await self.context.usecases.jobs.cancel_job(self.caller.person, job_id)

    async def follow(self, job_id: str, *, wants_previews: bool = False) -> AsyncGenerator[JobEvent, None]:
        """The job's events up to `result`, for streams; the job is cancelled if the generator is closed before that.

        Raises: JobFailed, ShuttingDown, Unauthorized.
        """
        jobs = self.context.usecases.jobs
        following = jobs.follow_job(self.caller.person, job_id, wants_previews=wants_previews)
        events = cast("AsyncGenerator[JobEvent, None]", following)
        async with self.holding([job_id]) as ended, aclosing(events):
            async for event in iterate_until((self.context.closing, ended), events):
                if event.kind == "error":
                    raise JobFailed(event.ticket.job)
                yield event
            if self.context.closing.is_set():
                raise ShuttingDown
            if ended.is_set():
                raise Unauthorized

    # ------------------------------------------------------------ images and bodies

    async def store_image(self, data: bytes) -> StoredImage:
        """Sanitize and store an input image. Raises: like `MediaUseCases.upload`."""
        async with self.context.uploads.decoding(self.caller.person.id):
            return await self.context.usecases.media.upload(self.caller.person, data, source=self.client)

    async def read_image(self, image_id: str) -> Media:
        """Raises: MediaNotFound."""
        return await self.context.usecases.media.read_media(self.caller.person, image_id)

    async def read_json(self, *, images: int = 1) -> dict[str, Any]:
        """The JSON object of the body, which may have so many images in base64. Unknown fields are left in it.

        Raises: InvalidOption, RequestRefused.
        """
        limit = int((images * self.context.max_upload_bytes + 2**20) * _JSON_OVERHEAD)
        too_large = RequestRefused("too_large", f"The request body is too large: at most {limit // 2**20} MiB.")
        with self.context.uploads.receiving(self.request, self.caller.person.id):
            raw = b"".join([chunk async for chunk in read_limited(self.request, limit, too_large)])
            return await asyncio.to_thread(parse_json, raw)


def succeeded(job: Job) -> Job:
    """Raises: JobFailed: it has no result."""
    if job.state not in (JobState.RENDERED, JobState.DELIVERED):
        raise JobFailed(job)
    return job


async def _wait_for_disconnect(request: Request) -> None:
    """Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
