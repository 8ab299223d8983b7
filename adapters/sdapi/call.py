"""One call of the API: who calls, its fields, and the jobs that it waits for."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.sdapi.failures import failure_response
from adapters.sdapi.fields import SdFields, to_json_safe
from adapters.sdapi.running import RunningCalls
from adapters.web.auth import get_caller, require_admin
from adapters.web.client_calls import ClientCall, succeeded
from adapters.web.context import WebContext
from bot import usecases
from bot.errors import EaselError, ShuttingDown
from bot.jobs import Job, JobState, StoredImage
from bot.usecases import Ticket
from bot.usecases.media import Adjustment

CLIENT = "sdapi"
"""Where jobs and images of this API come from."""


@dataclass(frozen=True, kw_only=True)
class SdCall(ClientCall):
    """`body`: empty for calls without one."""

    client: str = CLIENT
    body: dict[str, Any] = field(default_factory=dict)
    fields: SdFields
    running: RunningCalls

    async def run(self, requests: Sequence[usecases.Request]) -> list[Job]:
        """The finished jobs of all requests, without those that were skipped or interrupted. Images in the body are
        dropped first: calls may wait for long.

        Raises: like `submit` and `wait`; JobFailed: all were cancelled.
        """
        safe = to_json_safe(self.body)
        self.body.clear()
        self.body.update(safe)
        tickets = await self._submit_all(requests)
        with self.running.track(self.caller.key, [ticket.job.id for ticket in tickets]):
            try:
                jobs = await self.wait(tickets, may_be_cancelled=True, wants_previews=True)
            except ShuttingDown:  # the client is told to try again, and cannot ask for these
                await self._cancel_all(tickets)
                raise
        done = [job for job in jobs if job.state is not JobState.CANCELLED]
        return done or [succeeded(jobs[0])]

    async def _submit_all(self, requests: Sequence[usecases.Request]) -> list[Ticket]:
        """All are accepted, or none is left."""
        tickets: list[Ticket] = []
        try:
            for request in requests:
                tickets += await self.submit(request)
        except EaselError:
            await self._cancel_all(tickets)
            raise
        return tickets

    async def _cancel_all(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            with suppress(EaselError):  # it has ended
                await self.cancel(ticket.job.id)

    async def cancel(self, job_id: str) -> None:
        """Raises: NotCancellable, JobNotFound."""
        await self.context.usecases.jobs.cancel_job(self.caller.person, job_id)

    async def store_adjusted(self, data: bytes, adjustment: Adjustment | None) -> StoredImage:
        """Raises: like `MediaUseCases.upload`."""
        person = self.caller.person
        async with self.context.uploads.decoding(person.id):
            media = self.context.usecases.media
            return await media.upload(person, data, source=self.client, adjustment=adjustment)


Handler = Callable[[SdCall], Awaitable[Any]]
"""Returns what the answer's JSON holds."""


@dataclass
class Endpoints:
    """Builds the routes of one server."""

    context: WebContext
    running: RunningCalls = field(default_factory=RunningCalls)

    def get(self, path: str, handler: Handler) -> Route:
        return Route(path, self._answer_with(handler), methods=["GET"])

    def post(self, path: str, handler: Handler, *, images: int | None = 0, needs_admin: bool = False) -> Route:
        """`images`: how many the body may have; None: there is no body, or it does not matter."""
        endpoint = self._answer_with(handler, images=images, needs_admin=needs_admin)
        return Route(path, endpoint, methods=["POST"])

    def _answer_with(
        self, handler: Handler, *, images: int | None = None, needs_admin: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                call = await self._read_call(request, images)
                if needs_admin:
                    require_admin(call.caller)
                content = await handler(call)
                return _JsonResponse(await asyncio.to_thread(_to_json, content))
            except ClientDisconnect:
                raise
            except Exception as error:  # the outermost handler of this API: its clients read errors of this form only
                return failure_response(error, request)

        return answer

    async def _read_call(self, request: Request, images: int | None) -> SdCall:
        caller = await get_caller(request, self.context)
        call = SdCall(request=request, context=self.context, caller=caller, running=self.running, fields=SdFields({}))
        if images is None:
            return call
        body = await call.read_json(images=images)
        return SdCall(
            request=request, context=self.context, caller=caller, running=self.running, body=body, fields=SdFields(body)
        )


class _JsonResponse(Response):
    media_type = "application/json"

    def __init__(self, content: bytes) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store"})


def _to_json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
