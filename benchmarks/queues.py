"""A real storage in a temporary folder, and jobs to fill it, for the queue benchmarks."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.jobs import Job, JobState, Origin, new_job_id
from bot.ports import Limits, NewJob, Offer, Person
from storage import Storage, StorageSettings, open_storage

OFFER = Offer(device="cpu", models=frozenset({"bench"}), loaded=frozenset({"bench"}))
LIMITS = Limits(daily_s=1e9, outstanding=10**9, total_queued=10**9)
JOBS_PER_CALL = 500


@asynccontextmanager
async def open_bench_storage(**settings: Any) -> AsyncIterator[Storage]:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        async with open_storage(StorageSettings(min_free_mb=0, **settings), Path(folder)) as storage:
            yield storage


async def create_people(storage: Storage, count: int) -> list[Person]:
    return [await storage.people.identify_account("bench", str(index), f"person {index}") for index in range(count)]


def make_job(person: Person, *, space: str = "space") -> NewJob:
    return NewJob(
        id=new_job_id(),
        owner=person.id,
        origin=Origin(platform="bench", space_id=space, account_id=person.name),
        command="imagine",
        options={"prompt": "a fox in the snow", "seed": 7, "steps": 20, "width": 512, "height": 512},
        images=(),
        task="text-to-image",
        model="bench",
        cost=2.0,
        estimate_s=2.0,
    )


async def add_jobs(storage: Storage, person: Person, count: int, *, space: str = "space") -> None:
    for start in range(0, count, JOBS_PER_CALL):
        size = min(JOBS_PER_CALL, count - start)
        await storage.jobs.accept_jobs([make_job(person, space=space) for _ in range(size)], key=None, limits=LIMITS)


async def claim_job(storage: Storage, max_running: int = 2) -> Job | None:
    return await storage.jobs.claim_job(OFFER, max_running=max_running, lease_s=60, swap_wait_s=20)


async def fail_job(storage: Storage, job: Job) -> None:
    await storage.jobs.end_job(job.id, job.attempt, JobState.FAILED, None, used_s=2.0)
