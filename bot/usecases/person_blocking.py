"""Blocking a person: nothing new is made for them, and their open jobs are cancelled; what they have stays theirs."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from bot.errors import InvalidOption, JobNotFound, NotCancellable
from bot.ports import Administration, Person

log = structlog.get_logger()


@dataclass(frozen=True)
class PersonBlocking:
    """`cancel` cancels a job of its owner."""

    administration: Administration
    cancel: Callable[[Person, str], Awaitable[object]]

    async def set_blocked(
        self, admin: str, person_id: str, *, is_blocked: bool, caller: str = ""
    ) -> tuple[Person, Sequence[str]]:
        """Idempotent; also returns the ids of the jobs that were cancelled. `caller`: the id of the person who asks.

        Raises: NotFound; InvalidOption: it is the local person, or the caller.
        """
        person = await self.administration.get_person(person_id)
        if is_blocked and (person.is_local or person.id == caller):
            raise InvalidOption("person", "not_blockable", value=person.name)
        person, open_jobs = await self.administration.set_blocked(person_id, is_blocked=is_blocked)
        cancelled = [one for one in open_jobs if await self._try_to_cancel(person, one)] if is_blocked else []
        action = "person_blocked" if is_blocked else "person_unblocked"
        log.info("a person was blocked or unblocked", action=action, admin=admin, person=person_id, jobs=cancelled)
        return person, cancelled

    async def _try_to_cancel(self, owner: Person, job_id: str) -> bool:
        """False: it has ended meanwhile."""
        try:
            await self.cancel(owner, job_id)
        except (JobNotFound, NotCancellable):
            return False
        return True
