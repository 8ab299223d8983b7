"""Requests that are refused before they are accepted: those of blocked persons, and by the rules, which are listed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from bot.errors import Blocked, NotFound, StorageBusy
from bot.ports import Person, Refusals
from bot.usecases.requests import Request

log = structlog.get_logger()

KEPT_FOR = timedelta(days=30)
MAX_PER_PERSON = 100
"""Older ones are deleted."""


def refuse_blocked(person: Person) -> None:
    """Raises: Blocked: an admin has blocked them."""
    if person.is_blocked:
        raise Blocked("person")


@dataclass(frozen=True)
class RefusedRequests:
    """Who was refused when, where and by which rule, without words and images. `store` None: nothing is kept."""

    store: Refusals | None = None

    @asynccontextmanager
    async def recorded(self, person: Person, request: Request) -> AsyncIterator[None]:
        """Around what may raise Blocked for a request."""
        try:
            yield
        except Blocked as refused:
            await self._record(person, request, refused.reason)
            raise

    async def _record(self, person: Person, request: Request, reason: str) -> None:
        platform, command = request.origin.platform, request.command[:64]
        log.info("a request was blocked", action="request_blocked", person=person.id, platform=platform, reason=reason)
        if self.store is None:
            return
        keep_since = datetime.now(UTC) - KEPT_FOR
        with suppress(StorageBusy, NotFound):  # the answer does not depend on it
            await self.store.add_refusal(
                person.id,
                platform=platform,
                command=command,
                reason=reason,
                keep=MAX_PER_PERSON,
                keep_since=keep_since,
            )
