"""The cost of claiming a job with 10 and with 100,000 queued jobs, of one person and of 1,000.

Ours is the store's claim, the fairest job by virtual time; measured are the time in the writer's thread, and the
duration of the call including its commit to disk. The peer is one plain query: the oldest job of the person with the
least usage, over a table indexed by state and owner. Its cost grows with the queue.
"""

import asyncio
import sqlite3
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from benchmarks import queues
from bot.ports import Person
from storage import Storage
from storage.claim import ClaimJob

FEW, MANY = 10, 100_000
CLAIMS = 150
PEER_CLAIMS = 15


@dataclass
class QueueCase:
    """A queue of constant size: each claimed job is replaced."""

    name: str
    storage: Storage
    persons: list[Person]
    claim_ms: list[float] = field(default_factory=list)
    call_ms: list[float] = field(default_factory=list)

    async def claim_once(self) -> None:
        claim = ClaimJob(queues.OFFER, max_running=2, lease_s=60, swap_wait_s=20, only=None)

        def timed(tx: Connection) -> Any:
            started = time.perf_counter()
            job = claim(tx)
            self.claim_ms.append(1000 * (time.perf_counter() - started))
            return job

        started = time.perf_counter()
        job = await self.storage.jobs._database.run_write(timed)
        self.call_ms.append(1000 * (time.perf_counter() - started))
        await queues.fail_job(self.storage, job)
        owner = next(person for person in self.persons if person.id == job.owner)
        await queues.add_jobs(self.storage, owner, 1)


def run_benchmark(many: int = MANY) -> dict[str, Any]:
    return asyncio.run(_run(many))


def summarize(figures: dict[str, Any]) -> str:
    return (
        f"one person: {figures['claim_ms_1_person_few']} ms with {FEW} queued, "
        f"{figures['claim_ms_1_person_many']} ms with {figures['many']:,} (ratio {figures['ratio_1_person']}); "
        f"1,000 persons: {figures['claim_ms_1000_persons_many']} ms (ratio {figures['ratio_1000_persons']}); "
        f"one plain query: {figures['peer_ms_few']} ms and {figures['peer_ms_many']} ms (ratio {figures['peer_ratio']})"
    )


async def _run(many: int) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        cases = [
            await stack.enter_async_context(_open_case(name, persons, jobs))
            for name, persons, jobs in (
                ("1_person_few", 1, FEW),
                ("1_person_many", 1, many),
                ("1000_persons_few", FEW, FEW),
                ("1000_persons_many", 1000, many),
            )
        ]
        for _ in range(CLAIMS):
            for case in cases:  # alternately, so load on the machine affects all of them
                await case.claim_once()
    figures: dict[str, Any] = {"few": FEW, "many": many, "claims": CLAIMS}
    for case in cases:
        figures[f"claim_ms_{case.name}"] = round(statistics.median(case.claim_ms), 2)
        figures[f"call_ms_{case.name}"] = round(statistics.median(case.call_ms), 2)
    for persons in ("1_person", "1000_persons"):
        for what, name in (("claim", "ratio"), ("call", "call_ratio")):
            more, less = (figures[f"{what}_ms_{persons}_{size}"] for size in ("many", "few"))
            figures[f"{name}_{persons}"] = round(more / less, 2)
    return figures | _run_peer(many)


@asynccontextmanager
async def _open_case(name: str, persons: int, jobs: int) -> AsyncIterator[QueueCase]:
    async with queues.open_bench_storage() as storage:
        owners = await queues.create_people(storage, persons)
        for owner in owners:
            await queues.add_jobs(storage, owner, jobs // persons)
        yield QueueCase(name, storage, owners)


# ---------------------------------------------------------------- the peer

_FAIREST = """
SELECT MIN(job.id), job.owner FROM job JOIN share ON share.owner = job.owner
WHERE job.state = 'queued' GROUP BY job.owner ORDER BY share.used LIMIT 1
"""


def _run_peer(many: int) -> dict[str, float]:
    few_ms, many_ms = (_peer_ms(min(1000, jobs), jobs) for jobs in (FEW, many))
    return {"peer_ms_few": few_ms, "peer_ms_many": many_ms, "peer_ratio": round(many_ms / few_ms, 1)}


def _peer_ms(persons: int, jobs: int) -> float:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, owner INTEGER, state TEXT, prompt TEXT)")
        database.execute("CREATE TABLE share (owner INTEGER PRIMARY KEY, used REAL)")
        rows = ((index % persons, "queued", "a fox in the snow") for index in range(jobs))
        database.executemany("INSERT INTO job (owner, state, prompt) VALUES (?, ?, ?)", rows)
        database.executemany("INSERT INTO share VALUES (?, 0)", ((index,) for index in range(persons)))
        database.execute("CREATE INDEX line ON job (state, owner, id)")
        return round(statistics.median(_ms(lambda: _peer_claim(database)) for _ in range(PEER_CLAIMS)), 3)


def _peer_claim(database: sqlite3.Connection) -> None:
    job, owner = database.execute(_FAIREST).fetchone()
    database.execute("UPDATE job SET state = 'running' WHERE id = ?", (job,))
    database.execute("UPDATE share SET used = used + 2 WHERE owner = ?", (owner,))
    database.execute("INSERT INTO job (owner, state, prompt) VALUES (?, 'queued', 'a fox')", (owner,))


def _ms(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    print(summarize(run_benchmark()))
