"""Requests that come through other programs' APIs, whose clients repeat a call that got no answer without saying which.

A call that is repeated after its answer was lost has the same body: it gets the jobs of the first call.
"""

import asyncio
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from bot.jobs import Job, JobState
from bot.ports import JobStore, Person
from bot.usecases.jobs import JobUseCases
from bot.usecases.requests import Request, Ticket, body_hash

REPEATED_WITHIN = timedelta(minutes=10)
"""The time limit of the clients, after which they try again. Source: openai, `DEFAULT_TIMEOUT`."""
CONTINUED_WITHIN = timedelta(days=1)
_USELESS = (JobState.CANCELLED, JobState.FAILED, JobState.DEAD)


@dataclass(frozen=True)
class ClientRequests:
    jobs: JobUseCases
    store: JobStore
    _submitting: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    async def submit(self, person: Person, request: Request, *, caller: str, is_retry: bool = False) -> list[Ticket]:
        """The request's jobs: of a retry, by what the client says, those of the latest equal request of `caller` in the
        last ten minutes, unless they were cancelled or failed.

        Raises: like `JobUseCases.submit`.
        """
        prefix = f"call:{caller}:"
        key = f"{prefix}{secrets.token_hex(8)}"
        async with self._submitting.setdefault(f"{prefix}{body_hash(request)}", asyncio.Lock()):
            # A connection may be lost, and the call repeated, before its job is accepted.
            if is_retry and (found := await self._find_earlier(prefix, request)) is not None:
                return found
            return await self.jobs.submit(person, request, key=key)

    async def find_answered(self, request: Request, *, caller: str) -> Job | None:
        """The job of the latest equal request of `caller` in the last day, if it has a result: what a client that sends
        the whole conversation each time continues."""
        since = datetime.now(UTC) - CONTINUED_WITHIN
        jobs = await self.store.find_recent_request(f"call:{caller}:", body_hash(request), since)
        return jobs[0] if len(jobs) == 1 and jobs[0].result is not None else None

    async def _find_earlier(self, prefix: str, request: Request) -> list[Ticket] | None:
        since = datetime.now(UTC) - REPEATED_WITHIN
        jobs = await self.store.find_recent_request(prefix, body_hash(request), since)
        if not jobs or any(job.cancel_requested or job.state in _USELESS for job in jobs):
            return None
        return [await self.jobs.ticket_for(job) for job in jobs]
