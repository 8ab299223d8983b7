"""Runs Easel in this process, when no server is running."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.cli.client.types import JobRequest, PriceQuote
from adapters.cli.ports import CompositionRoot, DatabaseAdmin, LoadedConfig
from adapters.cli.views import JobBody, batch_body, job_body, key_body, person_body, saved_correction_body
from bot.jobs import Origin
from bot.ports import Person
from bot.usecases import Request, UseCases

LOAD_S = 120.0
"""How long a search by meaning may take, with starting a process and loading the model."""


@asynccontextmanager
async def open_local_job_client(composition: CompositionRoot, loaded: LoadedConfig) -> AsyncIterator["LocalJobClient"]:
    async with composition.open_application(loaded, only_submitted=True) as usecases:
        yield LocalJobClient(usecases, await usecases.people.local_person())


@asynccontextmanager
async def open_local_admin_client(
    composition: CompositionRoot, loaded: LoadedConfig
) -> AsyncIterator["LocalAdminClient"]:
    async with composition.open_storage_only(loaded) as database:
        yield LocalAdminClient(database)


@dataclass(frozen=True)
class LocalJobClient:
    usecases: UseCases
    person: Person

    async def upload_image(self, data: bytes) -> str:
        return (await self.usecases.media.upload(self.person, data, source="cli")).id

    async def quote_price(self, request: JobRequest) -> PriceQuote:
        quote = await self.usecases.jobs.quote(self.person, self._to_request(request))
        return PriceQuote(quote.jobs, quote.eta_s, quote.quote)

    async def submit_jobs(self, request: JobRequest, quote_token: str | None = None) -> list[str]:
        tickets = await self.usecases.jobs.submit(self.person, self._to_request(request), quote=quote_token)
        return [ticket.job.id for ticket in tickets]

    def _to_request(self, request: JobRequest) -> Request:
        return Request(
            origin=self._origin,
            command=request.command,
            options=request.options,
            images=request.images,
        )

    async def follow_job(self, job_id: str) -> AsyncIterator[JobBody]:
        async for event in self.usecases.jobs.follow_job(self.person, job_id):
            yield job_body(event.ticket)

    async def read_job(self, job_id: str) -> JobBody:
        return job_body(await self.usecases.jobs.get_ticket(self.person, job_id))

    async def read_batch(self, batch_id: str) -> dict[str, Any]:
        return batch_body(await self.usecases.grids.get_batch(self.person.id, batch_id))

    async def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        return batch_body(await self.usecases.grids.cancel_batch(self.person, batch_id))

    async def read_image(self, media_id: str) -> bytes:
        return (await self.usecases.media.read_media(self.person, media_id)).data

    async def cancel_job(self, job_id: str) -> None:
        await self.usecases.jobs.cancel_job(self.person, job_id)

    async def correct_job(self, job_id: str, text: str, *, consent: bool) -> dict[str, Any]:
        saved, retired = await self.usecases.corrections.correct(self.person, job_id, text, consent=consent)
        return saved_correction_body(saved, retired)

    async def delete_correction(self, job_id: str) -> list[str]:
        return [one.name for one in await self.usecases.corrections.delete(self.person, job_id)]

    async def list_jobs(
        self, q: str, *, before: str | None, limit: int, by_meaning: bool = False
    ) -> tuple[list[JobBody], str | None, bool]:
        if by_meaning and q.strip():
            found = await self.usecases.search.search(
                self.person, q, before=before, limit=limit, is_refined=True, wait_s=LOAD_S
            )
            return [job_body(ticket) for ticket in found.tickets], found.next, found.is_refined
        tickets, following = await self.usecases.jobs.list_tickets(self.person, q=q, before=before, limit=limit)
        return [job_body(ticket) for ticket in tickets], following, True

    async def export_images(
        self, jobs: Sequence[str] | None, pictures: Sequence[tuple[str, int]]
    ) -> AsyncIterator[bytes]:
        async for chunk in await self.usecases.exports.export_images(self.person, self._origin, jobs, pictures):
            yield chunk

    @property
    def _origin(self) -> Origin:
        return Origin(platform="cli", space_id="cli", account_id=self.person.id, is_admin=True)


@dataclass(frozen=True)
class LocalAdminClient:
    database: DatabaseAdmin

    async def create_key(self, person: str | None, *, is_admin: bool) -> dict[str, Any]:
        key, text = await self.database.people.create_key(person, is_admin=is_admin)
        return {"key": text, **key_body(key)}

    async def list_keys(self) -> list[dict[str, Any]]:
        return [key_body(key) for key in await self.database.people.list_keys()]

    async def revoke_key(self, prefix: str) -> dict[str, Any]:
        return key_body(await self.database.people.revoke_key(prefix))

    async def list_people(self, q: str) -> list[dict[str, Any]]:
        day = datetime.now(UTC).date().isoformat()
        page = await self.database.blocking.administration.list_people(day, q=q.strip(), before=None, limit=100)
        return [person_body(one) for one in page.items]

    async def set_blocked(self, person_id: str, *, is_blocked: bool) -> dict[str, Any]:
        person, cancelled = await self.database.blocking.set_blocked("local", person_id, is_blocked=is_blocked)
        return {"id": person.id, "name": person.name, "blocked": person.is_blocked, "cancelled": list(cancelled)}

    async def unlock(self) -> dict[str, Any]:
        active = await self.database.people.unlock()
        return {"locked": active > 0, "active_keys": active}

    async def backup_database(self, path: Path) -> None:
        await self.database.maintenance.backup(path)
