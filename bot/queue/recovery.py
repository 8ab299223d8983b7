"""Startup recovery: requeues interrupted jobs and fails jobs whose model was removed from the config."""

import asyncio

import structlog

from bot import error_texts
from bot.errors import ModelRemoved
from bot.jobs import Job, JobError
from bot.models import ModelRegistry
from bot.ports import NO_METRICS, JobStore, WorkMetrics

log = structlog.get_logger(__name__)

BATCH_SIZE = 500
"""Number of orphaned jobs that are failed at a time."""


async def recover_jobs(
    store: JobStore, models: ModelRegistry, *, max_interruptions: int, metrics: WorkMetrics = NO_METRICS
) -> None:
    """Requeue running jobs; fail and refund queued jobs whose model is no longer in the config.

    The data directory's lock must be held.
    """
    metrics.count_requeued("restart", await store.requeue_interrupted(max_interruptions=max_interruptions))
    await fail_orphaned_jobs(store, models)


async def fail_orphaned_jobs(store: JobStore, models: ModelRegistry) -> None:
    """Fail and refund queued jobs whose model is neither installed nor being installed."""
    names = [model.name for model in models]
    while orphaned := await store.orphaned(names, BATCH_SIZE):
        failed = await asyncio.gather(*(store.fail_queued(job.id, _reason(job)) for job in orphaned))
        log.warning(
            "queued jobs without a model failed",
            action="jobs_stranded",
            models=sorted({job.model for job in orphaned}),
            count=len(failed),
        )


def _reason(job: Job) -> JobError:
    error = ModelRemoved(job.model)
    return JobError(code=error.code, message=error_texts.explain(error, locale=job.origin.locale))
