"""How many requests per second are accepted, durably, for 32 people who ask at once.

Ours is `JobUseCases.submit` on `synchronous=FULL`: idempotency key, limits, quota, ledger, fair share, job, the
placeholder owed and the answer with its place in the queue. The peer is what a bot usually starts with: an async
SQLAlchemy session for each request on the same SQLite with `synchronous=FULL`, which checks the key, adds one row and
commits. It does much less for each request: one row where ours writes eight. Where processor time is scarce that
decides, and its rate is the higher one; where the disk is slow, our shared commits win. Its slowest answers are slower.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import String, event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks import queues
from benchmarks.queues import percentile
from bot.jobs import Origin
from bot.models import TASKS, Models, ModelSpec
from bot.ports import DeviceStatus, Person
from bot.queue.pricing import Rates
from bot.queue.progress import Events
from bot.safety import SafetySettings
from bot.settings.core import QueueSettings, QuotaSettings
from bot.usecases import JobUseCases, Moderation, Request
from inference.safety.checker import ClassifierFiles
from storage import Storage

CLIENTS = 32
REQUESTS = 640
PACE_PER_S = 50
PACED_S = 8
Ask = Callable[[int, str], Awaitable[None]]


def run(repeats: int = 3) -> dict[str, Any]:
    """Both sides, in turns; the median of each figure."""
    ours, peer, paced = [], [], []
    for _ in range(repeats):
        ours.append(asyncio.run(_ours(_measured)))
        peer.append(asyncio.run(_peer()))
        paced.append(asyncio.run(_ours(_paced)))
    figures: dict[str, Any] = {"clients": CLIENTS, "requests": REQUESTS, "repeats": repeats}
    for name, runs in (("ours", ours), ("peer", peer)):
        for figure in runs[0]:
            figures[f"{name}_{figure}"] = round(statistics.median(one[figure] for one in runs), 1)
    figures["paced_per_second"] = PACE_PER_S
    for figure in ("p50_ms", "p99_ms"):
        figures[f"paced_{figure}"] = round(statistics.median(one[figure] for one in paced), 1)
    figures["ratio_per_second"] = round(figures["ours_per_second"] / figures["peer_per_second"], 2)
    figures["ratio_p99"] = round(figures["peer_p99_ms"] / figures["ours_p99_ms"], 2)
    return figures


def sentence(figures: dict[str, Any]) -> str:
    return (
        f"{figures['ours_per_second']:.0f} accepts/s, p50 {figures['ours_p50_ms']:.0f} ms, "
        f"p99 {figures['ours_p99_ms']:.0f} ms; a session for each request: {figures['peer_per_second']:.0f}/s, "
        f"p99 {figures['peer_p99_ms']:.0f} ms, {figures['peer_errors']:.0f} refused as locked: "
        f"{figures['ratio_per_second']} times the rate, p99 {figures['ratio_p99']} times better. At a steady "
        f"{PACE_PER_S}/s ours answers within {figures['paced_p50_ms']:.0f} ms (p50) and "
        f"{figures['paced_p99_ms']:.0f} ms (p99)"
    )


async def _measured(ask: Ask) -> dict[str, float]:
    """Each client asks again as soon as it has its answer."""
    taken: list[float] = []
    errors = 0

    async def client(number: int) -> None:
        nonlocal errors
        for index in range(REQUESTS // CLIENTS):
            began = time.perf_counter()
            try:
                await ask(number, f"bench:{number}:{index}")
            except OperationalError:
                errors += 1
            taken.append(1000 * (time.perf_counter() - began))

    began = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    seconds = time.perf_counter() - began
    return {
        "per_second": (len(taken) - errors) / seconds,
        "p50_ms": percentile(taken, 0.5),
        "p99_ms": percentile(taken, 0.99),
        "errors": float(errors),
    }


async def _paced(ask: Ask) -> dict[str, float]:
    """Requests come at their own pace, whether or not the earlier ones were answered."""
    taken: list[float] = []
    start = time.perf_counter()

    async def one(index: int) -> None:
        due = start + index / PACE_PER_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await ask(index % CLIENTS, f"paced:{index}")
        taken.append(1000 * (time.perf_counter() - due))

    await asyncio.gather(*(one(index) for index in range(PACE_PER_S * PACED_S)))
    return {"p50_ms": percentile(taken, 0.5), "p99_ms": percentile(taken, 0.99)}


# ---------------------------------------------------------------- ours


async def _ours(measure: Callable[[Ask], Awaitable[dict[str, float]]]) -> dict[str, float]:
    async with queues.opened() as storage:
        persons = await queues.people(storage, CLIENTS)
        jobs = _usecases(storage)

        async def ask(number: int, key: str) -> None:
            await jobs.submit(persons[number], _request(persons[number]), key=key)

        return await measure(ask)


def _usecases(storage: Storage) -> JobUseCases:
    spec = ModelSpec(name="bench", tasks=TASKS, repo=".", samplers=("euler",))
    return JobUseCases(
        store=storage.jobs,
        history=storage.history,
        media=storage.media,
        people=storage.people,
        models=Models({"bench": spec}),
        rates=Rates(),
        events=Events(),
        moderation=Moderation(
            spaces=storage.spaces,
            people=storage.people,
            classifier=ClassifierFiles(spec),
            settings=SafetySettings(),
        ),
        queue=QueueSettings(max_outstanding=10**6, max_queued=10**6),
        quota=QuotaSettings(daily_device_seconds=1e9),
        wake=lambda ids: None,
        interrupt=lambda job_id: None,
        devices=lambda: [DeviceStatus(device="cpu", state="ready")],
        secret=b"bench",
    )


def _request(person: Person) -> Request:
    origin = Origin(platform="bench", space_id="space", account_id=person.name, is_admin=True)
    return Request(origin=origin, command="imagine", options={"prompt": "a fox in the snow"}, wants_delivery=True)


# ---------------------------------------------------------------- the peer


class Base(DeclarativeBase):
    pass


class PeerJob(Base):
    __tablename__ = "job"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(64), unique=True)
    person: Mapped[int]
    prompt: Mapped[str]
    state: Mapped[str]


async def _peer() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        engine = create_async_engine(f"sqlite+aiosqlite:///{Path(folder) / 'peer.db'}", connect_args={"timeout": 30})
        event.listen(engine.sync_engine, "connect", _in_full)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        sessions = async_sessionmaker(engine)

        async def ask(number: int, key: str) -> None:
            async with sessions() as session:
                await _add(session, number, key)

        try:
            return await _measured(ask)
        finally:
            await engine.dispose()


def _in_full(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


async def _add(session: AsyncSession, number: int, key: str) -> None:
    if await session.scalar(select(PeerJob.id).where(PeerJob.key == key)) is None:
        session.add(PeerJob(key=key, person=number, prompt="a fox in the snow", state="queued"))
        await session.commit()


if __name__ == "__main__":
    print(sentence(run()))
