"""Search by meaning among 100,000 pictures of one person: `python -m benchmarks meaning-search`.

Ours is the store's search: the mean vectors of all pictures in memory, then all vectors of the best 500 from disk. The
peer compares all vectors of all pictures, in memory. Measured are the time of a search, on the clock and of the
processor, the lag of the event loop meanwhile and its own work between two ticks, which load on the machine does not
change, the share of the peer's ten best that ours finds among its ten best, and memory. Vectors are random, in
clusters: of a picture's subject, of each query of the model, of the picture, and of nothing; texts are near to one
vector of a picture. Sizes are those of BLIP-2 (32 vectors of 256 numbers) and of starter-match (8 of 96).
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, insert, literal, select, true

from benchmarks import queues
from benchmarks.figures import compare, percentile, record, run_cli, summarize_rows
from bot.ports import Embedding, EmbeddingSpace, Person
from storage import Storage
from storage.columns import UtcDateTime
from storage.learning_tables import embedding
from storage.mean_vectors import mean_of
from storage.schema import job, job_media, media, media_owner, utcnow

PICTURES, QUICK_PICTURES = 100_000, 5_000
SHAPES = {"blip2": (32, 256), "starter": (8, 96)}
SUBJECTS = 2_000
SEARCHES = 60
COMPARED = 12
"""Searches that the peer makes as well: each takes seconds."""
CHUNK = 1_000
CANDIDATES = 500
BEST = 10
TICK_S = 0.005
GOAL_MS, GOAL_RECALL, GOAL_LAG_MS = 100.0, 0.95, 10.0
SPACE = EmbeddingSpace(model="bench", revision="1")
IDLE_TICKS = 200

Vectors = NDArray[np.float16]


@dataclass(frozen=True)
class Measured:
    """Milliseconds of searches and of the peer's, of the loop's lag; MiB; the share of the peer's best that we find."""

    search_ms: list[float]
    own_ms: list[float]
    peer_ms: list[float]
    lag_ms: list[float]
    own_lag_ms: list[float]
    idle_lag_ms: list[float]
    first_ms: float
    memory_mb: float
    disk_mb: float
    recall: float


def summarize(figures: Mapping[str, Any]) -> str:
    lines = [
        f"  {name}: the first search after a start {figures[f'{name}_first_ms']:g} ms, "
        f"{figures[f'{name}_memory_mb']:g} MiB "
        f"of mean vectors in memory, {figures[f'{name}_disk_mb']:g} MiB on disk"
        for name in SHAPES
    ]
    return "\n".join([summarize_rows(figures), *lines])


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    count = QUICK_PICTURES if quick else PICTURES
    measured = {name: asyncio.run(_measure(count, *shape)) for name, shape in SHAPES.items()}
    rows = [row for name, one in measured.items() for row in _compare(name, one)]
    figures = {
        f"{name}_{figure}": round(float(value), 2)
        for name, one in measured.items()
        for figure, value in (("first_ms", one.first_ms), ("memory_mb", one.memory_mb), ("disk_mb", one.disk_mb))
    }
    return record(rows, pictures=count, searches=SEARCHES, **figures)


def _compare(name: str, one: Measured) -> list[Any]:
    p95, median, own = percentile(one.search_ms, 0.95), percentile(one.search_ms, 0.5), percentile(one.own_ms, 0.95)
    exact, lag = percentile(one.peer_ms, 0.5), percentile(one.lag_ms, 0.99)
    return [
        compare(f"{name}: p95 of a search against the goal, ms", p95, GOAL_MS, "the goal", goal=1.0),
        compare(f"{name}: p95 of its processor time, ms", own, GOAL_MS, "the goal", goal=1.0),
        compare(f"{name}: a search, ms", median, exact, "all vectors in memory"),
        compare(f"{name}: recall at {BEST}", one.recall, GOAL_RECALL, "the goal", goal=1.0, more_is_better=True),
        compare(f"{name}: p99 of the loop's lag, ms", lag, GOAL_LAG_MS, "the goal", goal=1.0),
        compare(f"{name}: the same, ms", lag, percentile(one.idle_lag_ms, 0.99), "the loop before the searches"),
        compare(
            f"{name}: p99 of its own work, ms", percentile(one.own_lag_ms, 0.99), GOAL_LAG_MS, "the goal", goal=1.0
        ),
    ]


async def _measure(count: int, queries: int, width: int) -> Measured:
    rng = np.random.default_rng(20)
    vectors = np.concatenate(list(_make_vectors(rng, count, queries, width)))
    texts = [_text_near(rng, vectors) for _ in range(SEARCHES)]
    async with queues.open_bench_storage() as storage:
        [person] = await queues.create_people(storage, 1)
        await _fill(storage, person, vectors)
        started = time.perf_counter()
        await _search(storage, person, texts[0])
        first_ms = 1000 * (time.perf_counter() - started)
        idle: list[tuple[float, float]] = []
        await _tick(idle, IDLE_TICKS)
        search_ms, own_ms, lags, found = await _search_all(storage, person, texts)
        [means] = storage.embeddings._cached.values()
        disk_mb = storage.embeddings._database.dialect.size_bytes() / 2**20
    peer_ms, hits = [], 0
    for text, ours in list(zip(texts, found, strict=True))[:COMPARED]:
        started = time.perf_counter()
        exact = _find_exactly(vectors, text)
        peer_ms.append(1000 * (time.perf_counter() - started))
        hits += len(set(exact) & set(ours))
    lag_ms, own_lag_ms = zip(*lags, strict=True)
    return Measured(
        search_ms,
        own_ms,
        peer_ms,
        list(lag_ms),
        list(own_lag_ms),
        [lag_ms for lag_ms, _ in idle],
        first_ms,
        means.nbytes / 2**20,
        disk_mb,
        hits / (BEST * len(peer_ms)),
    )


async def _search_all(
    storage: Storage, person: Person, texts: list[NDArray[np.float32]]
) -> tuple[list[float], list[float], list[tuple[float, float]], list[list[int]]]:
    """Milliseconds of the searches, on the clock and of the processor; of the loop's lag and its own work; and the
    numbers of the best pictures."""
    lags: list[tuple[float, float]] = []
    ticking = asyncio.create_task(_tick(lags))
    durations, own, found = [], [], []
    for text in texts:
        started, used = time.perf_counter(), time.process_time()
        found.append(await _search(storage, person, text))
        durations.append(1000 * (time.perf_counter() - started))
        own.append(1000 * (time.process_time() - used))
        await asyncio.sleep(TICK_S)
    ticking.cancel()
    return durations, own, lags, found


async def _tick(lags: list[tuple[float, float]], most: int = 10**6) -> None:
    while len(lags) < most:
        started, used = time.perf_counter(), time.thread_time()
        await asyncio.sleep(TICK_S)
        lag_ms = 1000 * (time.perf_counter() - started - TICK_S)
        lags.append((lag_ms, 1000 * (time.thread_time() - used)))


async def _search(storage: Storage, person: Person, text: NDArray[np.float32]) -> list[int]:
    vector = Embedding(model="bench", revision="1", count=1, width=len(text), vectors=text.astype("<f2").tobytes())
    near = await storage.embeddings.find_nearest(person.id, SPACE, vector, limit=CANDIDATES)
    return [int(one.media, 16) for one in near[:BEST]]


# ---------------------------------------------------------------- vectors


def _make_vectors(rng: np.random.Generator, count: int, queries: int, width: int) -> Iterator[Vectors]:
    """Chunks of (pictures, queries, width), each vector of length 1."""
    subjects, of_query = _directions(rng, SUBJECTS, width), _directions(rng, queries, width)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        shared = subjects[rng.integers(SUBJECTS, size=size)] + 0.8 * _directions(rng, size, width)
        own = 0.8 * _directions(rng, size * queries, width).reshape(size, queries, width)
        yield _unit(shared[:, None] + 0.5 * of_query + own).astype(np.float16)


def _text_near(rng: np.random.Generator, vectors: Vectors) -> NDArray[np.float32]:
    near = vectors[rng.integers(len(vectors)), rng.integers(vectors.shape[1])].astype(np.float32)
    text: NDArray[np.float32] = _unit(near + _directions(rng, 1, len(near))[0])
    return text


def _directions(rng: np.random.Generator, count: int, width: int) -> NDArray[np.float32]:
    return _unit(rng.standard_normal((count, width), np.float32))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / lengths


def _find_exactly(vectors: Vectors, text: NDArray[np.float32]) -> list[int]:
    chunks = (vectors[start : start + CHUNK].astype(np.float32) for start in range(0, len(vectors), CHUNK))
    nearest = np.concatenate([np.vecdot(chunk, text).max(axis=1) for chunk in chunks])
    return [int(one) for one in np.argsort(-nearest)[:BEST]]


# ---------------------------------------------------------------- rows


async def _fill(storage: Storage, person: Person, vectors: Vectors) -> None:
    """A job for each picture, whose id is its number."""
    await queues.add_jobs(storage, person, 1)
    database = storage.embeddings._database
    for start in range(0, len(vectors), CHUNK):
        await database.run_write(partial(_add_pictures, start=start, vectors=vectors[start : start + CHUNK]))
    await database.run_write(partial(_add_jobs, owner=person.id))


def _add_pictures(tx: Connection, start: int, vectors: Vectors) -> None:
    ids = [f"{n:064x}" for n in range(start, start + len(vectors))]
    shape = {"media_type": "image/png", "width": 8, "height": 8, "size": 8}
    tx.execute(insert(media), [{"id": one} | shape for one in ids])
    tx.execute(insert(embedding), [_row(one, rows) for one, rows in zip(ids, vectors, strict=True)])


def _add_jobs(tx: Connection, owner: str) -> None:
    """Copies of the only job, one for each picture."""
    name, number = func.substr(media.c.id, 49), func.row_number().over(order_by=media.c.id)
    replaced = {"id": name, "seq": job.c.seq + number, "changed": job.c.changed + number}
    copies = select(*(replaced.get(column.name, column) for column in job.c)).where(job.c.owner == owner)
    tx.execute(insert(job).from_select([column.name for column in job.c], copies.join_from(job, media, true())))
    owned = select(media.c.id, literal(owner), literal(""), literal(utcnow(), UtcDateTime))
    tx.execute(insert(media_owner).from_select(["media", "owner", "alt", "kept_since"], owned))
    uses = select(name, literal("output"), literal(0), media.c.id, literal(owner))
    tx.execute(insert(job_media).from_select(["job", "role", "position", "media", "owner"], uses))


def _row(media_id: str, rows: Vectors) -> dict[str, Any]:
    count, width = rows.shape
    data = rows.tobytes()
    space = {"model": SPACE.model, "revision": SPACE.revision, "count": count, "width": width}
    return {"media": media_id, "mean": mean_of(data, count), "vectors": data} | space


if __name__ == "__main__":
    run_cli(run_benchmark, summarize)
