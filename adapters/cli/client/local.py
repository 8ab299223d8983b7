"""The house in this very process, for when no server runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.cli.client.types import Order, Quoted
from adapters.cli.ports import Chores, Composition, Loaded
from adapters.cli.views import JobBody, job_body, key_body
from bot.jobs import ImageRef, Origin
from bot.ports import Person
from bot.usecases import Request, UseCases


@asynccontextmanager
async def open_local_caller(composition: Composition, loaded: Loaded) -> AsyncIterator["LocalCaller"]:
    async with composition.open_application(loaded, only_own=True) as usecases:
        yield LocalCaller(usecases, await usecases.people.local())


@asynccontextmanager
async def open_local_keeper(composition: Composition, loaded: Loaded) -> AsyncIterator["LocalKeeper"]:
    async with composition.open_storage_only(loaded) as chores:
        yield LocalKeeper(chores)


@dataclass(frozen=True)
class LocalCaller:
    usecases: UseCases
    person: Person

    async def upload(self, data: bytes) -> str:
        return (await self.usecases.media.upload(self.person, data)).id

    async def quote(self, order: Order) -> Quoted:
        quote = await self.usecases.jobs.quote(self.person, self._request(order))
        return Quoted(quote.jobs, quote.eta_s, quote.quote)

    async def submit(self, order: Order, quote: str | None = None) -> list[str]:
        tickets = await self.usecases.jobs.submit(self.person, self._request(order), quote=quote)
        return [ticket.job.id for ticket in tickets]

    def _request(self, order: Order) -> Request:
        return Request(
            origin=Origin(platform="cli", space_id="cli", account_id=self.person.id, is_admin=True),
            command=order.command,
            options=order.options,
            images=tuple(ImageRef(image, role) if role else ImageRef(image) for image, role in order.images),
        )

    async def follow(self, job_id: str) -> AsyncIterator[JobBody]:
        async for event in self.usecases.jobs.follow(self.person, job_id):
            yield job_body(event.ticket)

    async def job(self, job_id: str) -> JobBody:
        return job_body(await self.usecases.jobs.get(self.person, job_id))

    async def picture(self, media_id: str) -> bytes:
        return (await self.usecases.media.read(self.person, media_id)).data

    async def cancel(self, job_id: str) -> None:
        await self.usecases.jobs.cancel(self.person, job_id)


@dataclass(frozen=True)
class LocalKeeper:
    chores: Chores

    async def create_key(self, person: str | None, *, is_admin: bool) -> dict[str, Any]:
        key, text = await self.chores.people.create_key(person, is_admin=is_admin)
        return {"key": text, **key_body(key)}

    async def keys(self) -> list[dict[str, Any]]:
        return [key_body(key) for key in await self.chores.people.people.keys()]

    async def revoke_key(self, prefix: str) -> dict[str, Any]:
        return key_body(await self.chores.people.people.revoke_key(prefix))

    async def backup(self, path: Path) -> None:
        await self.chores.maintenance.backup(path)
