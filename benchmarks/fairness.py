"""How long light users wait behind a heavy one: claims until 5 jobs each of 10 people have started behind 2,000 of one.

Ours is the real queue; the peer is first come, first served.
"""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

from benchmarks import queues
from storage import Storage

HEAVY, LIGHT_PEOPLE, LIGHT_JOBS = 2_000, 10, 5
LIGHT = LIGHT_PEOPLE * LIGHT_JOBS


def run_benchmark() -> dict[str, Any]:
    together = asyncio.run(_run_ours(apart=False))
    apart = asyncio.run(_run_ours(apart=True))
    peer = _run_first_come()
    return {
        "heavy_jobs": HEAVY,
        "light_jobs": LIGHT,
        "claims_one_space": together,
        "claims_each_its_own_space": apart,
        "claims_first_come": peer,
        "ratio": round(peer / together, 1),
        "best_possible": LIGHT,
    }


def summarize(figures: dict[str, Any]) -> str:
    return (
        f"all {figures['light_jobs']} light jobs had started by claim {figures['claims_one_space']} "
        f"({figures['claims_each_its_own_space']} when each has a space); first come, first served: "
        f"claim {figures['claims_first_come']:,}, {figures['ratio']} times as many"
    )


async def _run_ours(*, apart: bool) -> int:
    """`apart`: each user in their own space; otherwise all in the same."""
    async with queues.open_bench_storage() as storage:
        heavy, *light = await queues.create_people(storage, 1 + LIGHT_PEOPLE)
        await queues.add_jobs(storage, heavy, HEAVY, space=_space(heavy.name, apart))
        await _finish_jobs(storage, 2)
        for _ in range(LIGHT_JOBS):
            for person in light:
                await queues.add_jobs(storage, person, 1, space=_space(person.name, apart))
        return await _claims_until_started(storage, {person.id for person in light})


def _space(name: str, apart: bool) -> str:
    return name if apart else "space"


async def _finish_jobs(storage: Storage, jobs: int) -> None:
    """Claim and end some of the heavy user's jobs before the others arrive."""
    for _ in range(jobs):
        job = await queues.claim_job(storage)
        assert job is not None
        await queues.fail_job(storage, job)


async def _claims_until_started(storage: Storage, light: set[str]) -> int:
    claims = started = 0
    while started < LIGHT:
        job = await queues.claim_job(storage)
        assert job is not None
        claims += 1
        started += job.owner in light
        await queues.fail_job(storage, job)
    return claims


def _run_first_come() -> int:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, is_light INTEGER)")
        rows = [(0,)] * (HEAVY - 2) + [(1,)] * LIGHT
        database.executemany("INSERT INTO job (is_light) VALUES (?)", rows)
        claims = started = 0
        while started < LIGHT:
            job, is_light = database.execute("SELECT id, is_light FROM job ORDER BY id LIMIT 1").fetchone()
            database.execute("DELETE FROM job WHERE id = ?", (job,))
            claims += 1
            started += is_light
        return claims


if __name__ == "__main__":
    print(summarize(run_benchmark()))
