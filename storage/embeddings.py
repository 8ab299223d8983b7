"""Embeddings of people's pictures: `bot.ports.EmbeddingStore` on the database, with mean vectors in memory.

Searches follow each other, so at most one reader is busy with them; work with many rows is done in several steps. numpy
is imported in a thread when the first embedding is saved or compared.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select

from bot.ports import Embedding, EmbeddingSpace, NearPicture
from storage.database import Database
from storage.learning_tables import embedding
from storage.schema import job, job_media, media

if TYPE_CHECKING:
    from storage.mean_vectors import MeanVectors

MAX_CACHED_MB = 96
"""MiB of mean vectors in memory, of the persons who searched last; those of one person may be more."""
SHOWN_ROLES = ("output", "init", "reference")
"""Roles of pictures that are found: not masks, maps and composed sheets."""
STEP = 2000
"""Jobs whose vectors are read in one step."""
MAX_REMEMBERED = 20_000
"""Saved embeddings that are remembered; whoever missed more reads all of theirs again."""


@dataclass
class _Saved:
    """The ids of the latest images whose embeddings were saved by this process, and how many were before them."""

    ids: list[str] = field(default_factory=list)
    before: int = 0

    @property
    def total(self) -> int:
        return self.before + len(self.ids)

    def append(self, media_id: str) -> None:
        self.ids.append(media_id)
        if len(self.ids) > 2 * MAX_REMEMBERED:
            self.before += MAX_REMEMBERED
            del self.ids[:MAX_REMEMBERED]


_Key = tuple[str, EmbeddingSpace]


class SqlEmbeddings:
    def __init__(self, database: Database, *, max_cached_mb: float = MAX_CACHED_MB) -> None:
        self._database = database
        self._max_cached = int(max_cached_mb * 2**20)
        self._cached: OrderedDict[_Key, MeanVectors] = OrderedDict()
        self._saved = _Saved()
        self._searching = asyncio.Lock()

    # ------------------------------------------------------------ rows

    async def list_unembedded(
        self, space: EmbeddingSpace, *, before: int | None, limit: int
    ) -> tuple[list[str], int | None]:
        return await self._database.run_read(lambda tx: _list_unembedded(tx, space, before, limit))

    async def save_embedding(self, media_id: str, embedding: Embedding) -> bool:
        mean = await asyncio.to_thread(_mean_of, embedding)
        is_saved = await self._database.run_write(lambda tx: _save(tx, media_id, embedding, mean))
        if is_saved and embedding.count:
            self._saved.append(media_id)
        return is_saved

    async def get_embedding(self, space: EmbeddingSpace, media_id: str) -> Embedding | None:
        return await self._database.run_read(lambda tx: _get(tx, space, media_id))

    async def keep_models(self, models: Collection[str]) -> int:
        deleted = 0
        while count := await self._database.run_write(lambda tx: _delete_others(tx, models)):
            deleted += count
        self._cached = OrderedDict((key, one) for key, one in self._cached.items() if key[1].model in models)
        return deleted

    def drop_cached(self, owners: Collection[str]) -> None:
        self._cached = OrderedDict((key, one) for key, one in self._cached.items() if key[0] not in owners)

    # ------------------------------------------------------------ search

    async def find_nearest(
        self, owner: str, space: EmbeddingSpace, text: Embedding, *, limit: int, among: Collection[str] | None = None
    ) -> list[NearPicture]:
        async with self._searching:
            means = await self._read_means(owner, space, text.width)
            return await self._database.run_read(lambda tx: _find(tx, owner, means, space, text, limit, among))

    async def _read_means(self, owner: str, space: EmbeddingSpace, width: int) -> "MeanVectors":
        """The owner's mean vectors as they are now."""
        key = (owner, space)
        means = self._cached.pop(key, None)
        if means is None or means.width != width or means.is_sparse or means.saved < self._saved.before:
            means = await asyncio.to_thread(_no_means, width, self._saved.total)
        while await self._database.run_read(lambda tx: _follow_jobs(tx, owner, space, means)):
            pass
        while means.saved < self._saved.total:
            start = means.saved - self._saved.before
            new = self._saved.ids[start : start + STEP]
            await self._database.run_read(partial(_add_saved, owner=owner, space=space, means=means, ids=new))
            means.saved += len(new)
        self._cached[key] = means
        self._drop_beyond_limit()
        return means

    def _drop_beyond_limit(self) -> None:
        while len(self._cached) > 1 and sum(one.nbytes for one in self._cached.values()) > self._max_cached:
            self._cached.popitem(last=False)


def _is_in(space: EmbeddingSpace) -> ColumnElement[bool]:
    return (embedding.c.model == space.model) & (embedding.c.revision == space.revision)


def _shown(space: EmbeddingSpace) -> ColumnElement[bool]:
    """Uses of pictures that the model of the space knows."""
    if space.makers is None:
        return job_media.c.role.in_(SHOWN_ROLES)
    return (job_media.c.role == "output") & job.c.model.in_(space.makers)


def _list_unembedded(
    tx: Connection, space: EmbeddingSpace, before: int | None, limit: int
) -> tuple[list[str], int | None]:
    kept = [job.c.erased.is_(False)] + ([job.c.seq < before] if before is not None else [])
    numbers = list(tx.scalars(select(job.c.seq).where(*kept).order_by(job.c.seq.desc()).limit(limit)))
    has_one = exists().where(embedding.c.media == job_media.c.media, _is_in(space))
    query = select(job_media.c.media).join(job, job.c.id == job_media.c.job)
    query = query.where(job.c.seq.in_(numbers), _shown(space), ~has_one)
    found = tx.scalars(query.order_by(job.c.seq.desc(), job_media.c.role.desc(), job_media.c.position))
    return list(dict.fromkeys(found)), numbers[-1] if len(numbers) == limit else None


def _no_means(width: int, saved: int) -> "MeanVectors":
    from storage.mean_vectors import MeanVectors

    return MeanVectors(width, saved=saved)


def _mean_of(one: Embedding) -> bytes:
    from storage.mean_vectors import mean_of

    return mean_of(one.vectors, one.count) if one.count else b""


def _save(tx: Connection, media_id: str, one: Embedding, mean: bytes) -> bool:
    if tx.scalar(select(media.c.id).where(media.c.id == media_id)) is None:
        return False
    tx.execute(delete(embedding).where(embedding.c.media == media_id, embedding.c.model == one.model))
    tx.execute(insert(embedding), {"media": media_id, "mean": mean, **vars(one)})
    return True


def _get(tx: Connection, space: EmbeddingSpace, media_id: str) -> Embedding | None:
    c = embedding.c
    columns = (c.model, c.revision, c.count, c.width, c.vectors)
    found = tx.execute(select(*columns).where(c.media == media_id, c.count > 0, _is_in(space))).one_or_none()
    return None if found is None else Embedding(**found._mapping)


def _delete_others(tx: Connection, models: Collection[str]) -> int:
    others = select(embedding.c.media).where(embedding.c.model.not_in(models)).limit(STEP)
    gone = delete(embedding).where(embedding.c.media.in_(others), embedding.c.model.not_in(models))
    return tx.execute(gone).rowcount


# ---------------------------------------------------------------- keeping mean vectors current


def _follow_jobs(tx: Connection, owner: str, space: EmbeddingSpace, means: "MeanVectors") -> bool:
    """Take over the owner's next changed jobs; whether there may be more."""
    changes = select(job.c.id, job.c.changed).where(job.c.owner == owner, job.c.changed > means.changed)
    changed = tx.execute(changes.order_by(job.c.changed).limit(STEP)).all()
    if not changed:
        return False
    last = changed[-1].changed
    if len(changed) == STEP:  # jobs may share a number
        changed = tx.execute(changes.where(job.c.changed <= last)).all()
    ids = [row.id for row in changed]
    if means.changed >= 0:
        means.remove_jobs(ids)
    means.add(_read_rows(tx, space, job_media.c.job.in_(ids) & job.c.erased.is_(False)))
    means.changed = last
    return len(changed) >= STEP


def _add_saved(tx: Connection, owner: str, space: EmbeddingSpace, means: "MeanVectors", ids: Sequence[str]) -> None:
    """Embeddings that were saved since: the jobs that have them are read again."""
    used = select(job_media.c.job).where(job_media.c.media.in_(ids), job_media.c.owner == owner)
    jobs = list(tx.scalars(used.distinct()))
    if jobs:
        means.remove_jobs(jobs)
        means.add(_read_rows(tx, space, job_media.c.job.in_(jobs) & job.c.erased.is_(False)))


def _read_rows(tx: Connection, space: EmbeddingSpace, uses: ColumnElement[bool]) -> list[tuple[str, str, bytes]]:
    query = select(job_media.c.job, job_media.c.media, embedding.c.mean).distinct()
    query = query.join(job, job.c.id == job_media.c.job).join(embedding, embedding.c.media == job_media.c.media)
    return [(row.job, row.media, row.mean) for row in tx.execute(query.where(uses, _shown(space), _is_in(space)))]


def _find(
    tx: Connection,
    owner: str,
    means: "MeanVectors",
    space: EmbeddingSpace,
    text: Embedding,
    limit: int,
    among: Collection[str] | None,
) -> list[NearPicture]:
    from storage.mean_vectors import first_vector, largest_similarities

    query = first_vector(text.vectors, text.width)
    rows = means.find_rows(query, limit, among)
    jobs, pictures = means.jobs_of(rows), means.media_of(rows)
    wanted = select(embedding.c.media, embedding.c.vectors).where(embedding.c.media.in_(set(pictures)), _is_in(space))
    vectors = {row.media: row.vectors for row in tx.execute(wanted)}
    similarities = dict(zip(vectors, largest_similarities(list(vectors.values()), query), strict=True))
    held = _held(tx, owner, jobs)
    found = [
        NearPicture(job=of_job, media=picture, similarity=similarities[picture])
        for of_job, picture in zip(jobs, pictures, strict=True)
        if picture in similarities and (of_job, picture) in held
    ]
    return sorted(found, key=lambda one: -one.similarity)


def _held(tx: Connection, owner: str, jobs: Collection[str]) -> set[tuple[str, str]]:
    """The owner's jobs and their images, as they are now: an image that a job has lost may still be somebody else's."""
    use = job_media.c
    held = select(use.job, use.media).where(use.job.in_(set(jobs)), use.owner == owner)
    return {(row.job, row.media) for row in tx.execute(held)}
