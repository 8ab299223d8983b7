"""The tools' backend over the use cases of this process."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import cast

from adapters.mcp.tool_backend import CLIENT, Body, ToolJobRequest
from adapters.web.batch_views import batch_json
from adapters.web.views import command_json, job_json, model_json, quota_json, quote_json
from bot.commands import COMMANDS
from bot.jobs import Media, Origin
from bot.ports import Person
from bot.usecases import Request, UseCases

Identify = Callable[[], Awaitable[tuple[Person, bool]]]
"""Returns who calls the tools, and whether they are an admin."""


@dataclass(frozen=True)
class UseCaseBackend:
    """`hold_decoding`: waits until an image of the person, by id, may be decoded."""

    usecases: UseCases
    identify: Identify
    hold_decoding: Callable[[str], AbstractAsyncContextManager[None]] = lambda _person: nullcontext()

    async def list_commands(self) -> list[Body]:
        return [command_json(one, self.usecases.models, self.usecases.styles) for one in COMMANDS.values()]

    async def list_models(self) -> list[Body]:
        registry, adapters = self.usecases.models, self.usecases.adapters
        loaded = frozenset(name for status in self.usecases.operations.devices() for name in status.loaded)
        await adapters.refresh()
        return [model_json(spec, registry, loaded, adapters.usable_names(spec)) for spec in registry]

    async def get_quota(self) -> Body:
        person = await self._person()
        limit = self.usecases.jobs.daily_allowance_s(person)
        return quota_json(await self.usecases.people.get_quota(person, limit))

    async def upload_image(self, data: bytes) -> str:
        person = await self._person()
        await self.usecases.media.check_allowance(person)
        async with self.hold_decoding(person.id):
            return (await self.usecases.media.upload(person, data, source=CLIENT)).id

    async def quote_price(self, request: ToolJobRequest) -> Body:
        person, is_admin = await self.identify()
        return quote_json(await self.usecases.jobs.quote(person, _to_request(request, person, is_admin)))

    async def submit_jobs(self, request: ToolJobRequest) -> list[str]:
        person, is_admin = await self.identify()
        submitted = _to_request(request, person, is_admin)
        tickets = await self.usecases.jobs.submit(person, submitted, quote=request.quote)
        return [ticket.job.id for ticket in tickets]

    async def follow_job(self, job_id: str) -> AsyncIterator[Body]:
        person = await self._person()
        async for event in self.usecases.jobs.follow_job(person, job_id, wants_previews=False):
            yield job_json(event.ticket)

    async def read_job(self, job_id: str) -> Body:
        return job_json(await self.usecases.jobs.get_ticket(await self._person(), job_id))

    async def cancel_job(self, job_id: str) -> None:
        await self.usecases.jobs.cancel_job(await self._person(), job_id)

    async def read_batch(self, batch_id: str) -> Body:
        return batch_json(await self.usecases.grids.get_batch((await self._person()).id, batch_id))

    async def cancel_batch(self, batch_id: str) -> None:
        await self.usecases.grids.cancel_batch(await self._person(), batch_id)

    async def list_jobs(self, q: str, *, before: str | None, limit: int) -> tuple[list[Body], str | None]:
        person = await self._person()
        tickets, following = await self.usecases.jobs.list_tickets(person, q=q, before=before, limit=limit)
        return [job_json(ticket) for ticket in tickets], following

    async def read_image(
        self, media_id: str, *, max_bytes: int | None = None, width: int | None = None
    ) -> Media | None:
        person = await self._person()
        if width is None:
            stream = await self.usecases.media.stream_media(person, media_id)
        else:
            image = await self.usecases.media.get_image(person, media_id)
            stream = await self.usecases.thumbnails.stream(person, image, width)
        parts: list[bytes] = []
        async with aclosing(cast("AsyncGenerator[bytes, None]", stream.chunks)) as chunks:
            async for chunk in chunks:  # what is too large is begun, too: that closes its file
                if max_bytes is not None and stream.size > max_bytes:
                    return None
                parts.append(chunk)
        return Media(b"".join(parts), stream.media_type)

    async def _person(self) -> Person:
        return (await self.identify())[0]


def _to_request(request: ToolJobRequest, person: Person, is_admin: bool) -> Request:
    origin = Origin(platform="web", space_id="web", account_id=person.id, is_admin=is_admin, extra={"client": CLIENT})
    return Request(
        origin=origin,
        command=request.command,
        options=request.options,
        images=request.images,
        parent=request.parent,
        requires_own_parent=True,
    )
