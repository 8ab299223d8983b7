"""Webhooks as requests see them: which there are, and what they are told of a job."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bot.errors import InvalidOption
from bot.ports import UNMARKED, JobChanges, JobStore
from bot.usecases.requests import Request, Ticket

MAX_NAME = 64


def check_webhook(request: Request, known: Collection[str]) -> None:
    """Raises: InvalidOption: the config has no webhook of this name."""
    name = request.origin.webhook
    if name and name not in known:
        problem = "choice" if known else "no_webhooks"
        raise InvalidOption("webhook", problem, value=name[:MAX_NAME], allowed=", ".join(sorted(known)))


@dataclass(frozen=True, kw_only=True)
class WebhookEvents:
    """`names`: the configured webhooks; every caller who may submit jobs may name one."""

    store: JobStore
    changes: JobChanges
    names: Sequence[str] = ()

    async def read_ticket(self, job_id: str) -> Ticket:
        """An ended job as its owner sees it. Raises: JobNotFound: it was erased."""
        job = await self.store.get_job(job_id, None)
        marks = await self.changes.list_marks(job.owner, [job.id]) if job.result is not None else {}
        return Ticket(job=job, marks=marks.get(job.id, UNMARKED))
