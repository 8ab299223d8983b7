"""A real storage in a folder of its own, and jobs to fill it with, for the benchmarks of the queue."""

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.jobs import Job, JobState, Origin, new_job_id
from bot.ports import Limits, NewJob, Offer, Person
from storage import Storage, StorageSettings, open_storage

OFFER = Offer(device="cpu", models=frozenset({"bench"}), warm=frozenset({"bench"}))
LIMITS = Limits(daily_s=1e9, outstanding=10**9, house_queued=10**9)
AT_A_TIME = 500


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Storage]:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        async with open_storage(StorageSettings(min_free_mb=0, **settings), Path(folder)) as storage:
            yield storage


async def people(storage: Storage, number: int) -> list[Person]:
    return [await storage.people.identify("bench", str(index), f"person {index}") for index in range(number)]


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


async def fill(storage: Storage, person: Person, number: int, *, space: str = "space") -> None:
    for start in range(0, number, AT_A_TIME):
        size = min(AT_A_TIME, number - start)
        await storage.jobs.accept([make_job(person, space=space) for _ in range(size)], key=None, limits=LIMITS)


async def claim(storage: Storage, max_running: int = 2) -> Job | None:
    return await storage.jobs.claim(OFFER, max_running=max_running, lease_s=60, swap_wait_s=20)


async def finish(storage: Storage, job: Job) -> None:
    await storage.jobs.end(job.id, job.attempt, JobState.FAILED, None, used_s=2.0)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
