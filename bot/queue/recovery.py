"""What is put right at start, before anything works: jobs that a stop or a change of the config left behind."""

import asyncio

import structlog

from bot import error_texts
from bot.errors import ModelRemoved
from bot.jobs import Job, JobError
from bot.models import Models
from bot.ports import JobStore

log = structlog.get_logger(__name__)

AT_ONCE = 500
"""Jobs that are told of a missing model at a time."""


async def recover(store: JobStore, models: Models, *, max_interruptions: int) -> None:
    """Requeue what was running; fail and refund what waits for a model that is no longer in the config.

    The data directory's lock must be held.
    """
    await store.recover(max_interruptions=max_interruptions)
    await fail_stranded(store, models)


async def fail_stranded(store: JobStore, models: Models) -> None:
    """Fail and refund what waits for a model that is not there and not on its way."""
    names = [model.name for model in models]
    while stranded := await store.stranded(names, AT_ONCE):
        failed = await asyncio.gather(*(store.fail_queued(job.id, _reason(job)) for job in stranded))
        log.warning(
            "queued jobs have no model any more",
            action="jobs_stranded",
            models=sorted({job.model for job in stranded}),
            count=len(failed),
        )


def _reason(job: Job) -> JobError:
    error = ModelRemoved(job.model)
    return JobError(code=error.code, message=error_texts.explain(error, locale=job.origin.locale))
