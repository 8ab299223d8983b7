"""How many requests per second are accepted durably for 32 concurrent users.

Ours is `JobUseCases.submit` with `synchronous=FULL`: idempotency key, limits, quota, ledger, fair share, job, the
placeholder to deliver and the response with its queue position. The peer is what a bot usually starts with: an async
SQLAlchemy session per request on the same SQLite with `synchronous=FULL`, which checks the key, adds one row and
commits. It does much less per request: one row where ours writes eight. Where CPU time is scarce that decides, and its
rate is higher; where the disk is slow, our shared commits win. Its slowest responses are slower.
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
from benchmarks.figures import percentile
from bot.jobs import Origin
from bot.models import TASKS, ModelRegistry, ModelSpec
from bot.ports import DeviceStatus, Person
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.safety import SafetySettings
from bot.settings.core import QueueSettings, QuotaSettings
from bot.usecases import JobUseCases, Moderation, Request
from inference.safety.availability import ClassifierAvailability
from storage import Storage

CLIENTS = 32
REQUESTS = 640
STEADY_RATE_PER_S = 50
STEADY_S = 8
SendRequest = Callable[[int, str], Awaitable[None]]


def run_benchmark(repeats: int = 3) -> dict[str, Any]:
    """Ours and the peer alternately; the median of each figure."""
    ours, peer, paced = [], [], []
    for _ in range(repeats):
        ours.append(asyncio.run(_run_ours(_measure_closed_loop)))
        peer.append(asyncio.run(_run_peer()))
        paced.append(asyncio.run(_run_ours(_measure_open_loop)))
    figures: dict[str, Any] = {"clients": CLIENTS, "requests": REQUESTS, "repeats": repeats}
    for name, runs in (("ours", ours), ("peer", peer)):
        for figure in runs[0]:
            figures[f"{name}_{figure}"] = round(statistics.median(one[figure] for one in runs), 1)
    figures["paced_per_second"] = STEADY_RATE_PER_S
    for figure in ("p50_ms", "p99_ms"):
        figures[f"paced_{figure}"] = round(statistics.median(one[figure] for one in paced), 1)
    figures["ratio_per_second"] = round(figures["ours_per_second"] / figures["peer_per_second"], 2)
    figures["ratio_p99"] = round(figures["peer_p99_ms"] / figures["ours_p99_ms"], 2)
    return figures


def summarize(figures: dict[str, Any]) -> str:
    return (
        f"{figures['ours_per_second']:.0f} accepts/s, p50 {figures['ours_p50_ms']:.0f} ms, "
        f"p99 {figures['ours_p99_ms']:.0f} ms; a session for each request: {figures['peer_per_second']:.0f}/s, "
        f"p99 {figures['peer_p99_ms']:.0f} ms, {figures['peer_errors']:.0f} refused as locked: "
        f"{figures['ratio_per_second']} times the rate, p99 {figures['ratio_p99']} times better. At a steady "
        f"{STEADY_RATE_PER_S}/s ours responds within {figures['paced_p50_ms']:.0f} ms (p50) and "
        f"{figures['paced_p99_ms']:.0f} ms (p99)"
    )


async def _measure_closed_loop(send_request: SendRequest) -> dict[str, float]:
    """Each client sends its next request as soon as it has a response."""
    taken_ms: list[float] = []
    errors = 0

    async def run_client(number: int) -> None:
        nonlocal errors
        for index in range(REQUESTS // CLIENTS):
            started = time.perf_counter()
            try:
                await send_request(number, f"bench:{number}:{index}")
            except OperationalError:
                errors += 1
            taken_ms.append(1000 * (time.perf_counter() - started))

    started = time.perf_counter()
    await asyncio.gather(*(run_client(number) for number in range(CLIENTS)))
    seconds = time.perf_counter() - started
    return {
        "per_second": (len(taken_ms) - errors) / seconds,
        "p50_ms": percentile(taken_ms, 0.5),
        "p99_ms": percentile(taken_ms, 0.99),
        "errors": float(errors),
    }


async def _measure_open_loop(send_request: SendRequest) -> dict[str, float]:
    """Requests arrive at a fixed rate, whether or not earlier ones have a response."""
    taken_ms: list[float] = []
    start = time.perf_counter()

    async def send_at_due_time(index: int) -> None:
        due = start + index / STEADY_RATE_PER_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await send_request(index % CLIENTS, f"paced:{index}")
        taken_ms.append(1000 * (time.perf_counter() - due))

    await asyncio.gather(*(send_at_due_time(index) for index in range(STEADY_RATE_PER_S * STEADY_S)))
    return {"p50_ms": percentile(taken_ms, 0.5), "p99_ms": percentile(taken_ms, 0.99)}


# ---------------------------------------------------------------- ours


async def _run_ours(measure: Callable[[SendRequest], Awaitable[dict[str, float]]]) -> dict[str, float]:
    async with queues.open_bench_storage() as storage:
        persons = await queues.create_people(storage, CLIENTS)
        jobs = _build_usecases(storage)

        async def send_request(number: int, key: str) -> None:
            await jobs.submit(persons[number], _make_request(persons[number]), key=key)

        return await measure(send_request)


def _build_usecases(storage: Storage) -> JobUseCases:
    spec = ModelSpec(name="bench", tasks=TASKS, repo=".", samplers=("euler",))
    return JobUseCases(
        store=storage.jobs,
        history=storage.history,
        media=storage.media,
        people=storage.people,
        models=ModelRegistry({"bench": spec}),
        rates=Rates(),
        progress_bus=ProgressBus(),
        moderation=Moderation(
            spaces=storage.spaces,
            people=storage.people,
            classifier=ClassifierAvailability([spec]),
            settings=SafetySettings(),
        ),
        queue=QueueSettings(max_outstanding=10**6, max_queued=10**6),
        quota=QuotaSettings(daily_device_seconds=1e9),
        wake=lambda ids: None,
        interrupt=lambda job_id: None,
        devices=lambda: [DeviceStatus(device="cpu", state="ready")],
        secret=b"bench",
    )


def _make_request(person: Person) -> Request:
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


async def _run_peer() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        engine = create_async_engine(f"sqlite+aiosqlite:///{Path(folder) / 'peer.db'}", connect_args={"timeout": 30})
        event.listen(engine.sync_engine, "connect", _set_full_sync)
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        sessions = async_sessionmaker(engine)

        async def send_request(number: int, key: str) -> None:
            async with sessions() as session:
                await _add_job(session, number, key)

        try:
            return await _measure_closed_loop(send_request)
        finally:
            await engine.dispose()


def _set_full_sync(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


async def _add_job(session: AsyncSession, number: int, key: str) -> None:
    if await session.scalar(select(PeerJob.id).where(PeerJob.key == key)) is None:
        session.add(PeerJob(key=key, person=number, prompt="a fox in the snow", state="queued"))
        await session.commit()


if __name__ == "__main__":
    print(summarize(run_benchmark()))
