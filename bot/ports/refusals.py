"""What the rules blocked, for admins."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bot.jobs import Job
from bot.ports.administration import ListPage
from bot.ports.people import Person


@dataclass(frozen=True, kw_only=True)
class BlockedRequest:
    """`job`: it was accepted, and blocked while it ran; else `reason` says why it was not accepted, as in `Blocked`."""

    person: Person
    platform: str
    command: str
    at: datetime
    reason: str = ""
    job: Job | None = None


class Refusals(Protocol):
    """Requests that were refused before they were accepted are stored without their words and images."""

    async def add_refusal(
        self, person_id: str, *, platform: str, command: str, reason: str, keep: int, keep_since: datetime
    ) -> None:
        """Of the person's refusals, the `keep` newest stay; of everybody's, those since `keep_since`.

        Raises: NotFound: the person was forgotten.
        """

    async def list_blocked(self, *, before: str | None, limit: int) -> ListPage[BlockedRequest]:
        """With the jobs that were blocked while they ran, newest first."""
