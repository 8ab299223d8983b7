"""Collections of a person's pictures: `bot.ports.CollectionStore` on the database."""

import unicodedata

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, func, insert, select, update

from bot.errors import ImageGone, InvalidOption, NotFound
from bot.jobs import new_job_id
from bot.ports import MAX_COLLECTIONS, PictureCollection
from storage.columns import utcnow
from storage.database import Database
from storage.people import refuse_forgotten
from storage.picture_tables import collection, collection_item
from storage.pictures import find_place, mark_changed
from storage.schema import job, job_media

_COUNT = (
    select(func.count())
    .select_from(collection_item)
    .where(collection_item.c.collection == collection.c.id)
    .scalar_subquery()
)
_COVER = (
    select(job_media.c.media)
    .join(
        collection_item,
        (job_media.c.job == collection_item.c.job)
        & (job_media.c.position == collection_item.c.picture - 1)
        & (job_media.c.role == "output"),
    )
    .where(collection_item.c.collection == collection.c.id)
    .order_by(collection_item.c.created_at.desc(), collection_item.c.job.desc(), collection_item.c.picture.desc())
    .limit(1)
    .scalar_subquery()
)


class SqlCollections:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, person_id: str, name: str) -> PictureCollection:
        return await self._database.run_write(lambda tx: _create(tx, person_id, name))

    async def list_all(self, person_id: str) -> list[PictureCollection]:
        rows = await self._database.run_read(lambda tx: tx.execute(_of(person_id)).all())
        return sorted(map(_to_collection, rows), key=lambda one: (comparable_name(one.name), one.id))

    async def rename(self, person_id: str, collection_id: str, name: str) -> PictureCollection:
        return await self._database.run_write(lambda tx: _rename(tx, person_id, collection_id, name))

    async def delete(self, person_id: str, collection_id: str) -> None:
        await self._database.run_deletion(lambda tx: _delete(tx, person_id, collection_id))

    async def add_picture(self, person_id: str, collection_id: str, job_id: str, number: int) -> None:
        await self._database.run_write(lambda tx: _add(tx, person_id, collection_id, job_id, number))

    async def remove_picture(self, person_id: str, collection_id: str, job_id: str, number: int) -> None:
        await self._database.run_deletion(lambda tx: _remove(tx, person_id, collection_id, job_id, number))


def is_collected(owner: str, collection_id: str) -> ColumnElement[bool]:
    """Whether a picture of a row of `job` is in this collection of the owner's."""
    collected = job.alias("collected")
    chosen = (
        select(collected.c.seq)
        .join(collection_item, collection_item.c.job == collected.c.id)
        .join(collection, collection.c.id == collection_item.c.collection)
        .where(collection.c.id == collection_id, collection.c.person == owner)
    )
    return job.c.seq.in_(chosen)


def _of(person_id: str) -> Select[tuple[str, ...]]:
    return select(collection, _COUNT.label("count"), _COVER.label("cover")).where(collection.c.person == person_id)


def _to_collection(row: Row[tuple[str, ...]]) -> PictureCollection:
    fields = row._mapping
    return PictureCollection(
        id=fields["id"],
        name=fields["name"],
        created_at=fields["created_at"],
        count=fields["count"],
        cover=fields["cover"],
    )


def comparable_name(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _require_free(tx: Connection, person_id: str, name: str, *, renamed: str = "") -> int:
    """Returns how many collections there are. Raises: InvalidOption: another one has the name."""
    known = tx.execute(select(collection.c.id, collection.c.name).where(collection.c.person == person_id)).all()
    if comparable_name(name) in {comparable_name(row.name) for row in known if row.id != renamed}:
        raise InvalidOption("name", "collection_name", value=name)
    return len(known)


def _create(tx: Connection, person_id: str, name: str) -> PictureCollection:
    refuse_forgotten(tx, person_id)
    if _require_free(tx, person_id, name) >= MAX_COLLECTIONS:
        raise InvalidOption("name", "collections_full", allowed=str(MAX_COLLECTIONS))
    made = PictureCollection(id=new_job_id(), name=name, created_at=utcnow())
    row = {"id": made.id, "person": person_id, "name": name, "created_at": made.created_at}
    tx.execute(insert(collection), row)
    return made


def _rename(tx: Connection, person_id: str, collection_id: str, name: str) -> PictureCollection:
    _require_own(tx, person_id, collection_id)
    _require_free(tx, person_id, name, renamed=collection_id)
    tx.execute(update(collection).where(collection.c.id == collection_id).values(name=name))
    return _to_collection(tx.execute(_of(person_id).where(collection.c.id == collection_id)).one())


def _delete(tx: Connection, person_id: str, collection_id: str) -> None:
    _require_own(tx, person_id, collection_id)
    tx.execute(delete(collection_item).where(collection_item.c.collection == collection_id))
    tx.execute(delete(collection).where(collection.c.id == collection_id))


def _require_own(tx: Connection, person_id: str, collection_id: str) -> None:
    """Raises: NotFound."""
    own = exists().where(collection.c.id == collection_id, collection.c.person == person_id)
    if not tx.scalar(select(own)):
        raise NotFound("collection", collection_id)


def _add(tx: Connection, person_id: str, collection_id: str, job_id: str, number: int) -> None:
    _require_own(tx, person_id, collection_id)
    row, result = find_place(tx, job_id, person_id, number)
    if result.find_picture(number) is None:
        raise ImageGone
    if not tx.scalar(select(exists().where(*_is_item(collection_id, row.id, number)))):
        item = {"collection": collection_id, "job": row.id, "picture": number, "created_at": utcnow()}
        tx.execute(insert(collection_item), item)
        mark_changed(tx, row)


def _remove(tx: Connection, person_id: str, collection_id: str, job_id: str, number: int) -> None:
    _require_own(tx, person_id, collection_id)
    row, _ = find_place(tx, job_id, person_id, number)
    if tx.execute(delete(collection_item).where(*_is_item(collection_id, row.id, number))).rowcount:
        mark_changed(tx, row)


def _is_item(collection_id: str, job_id: str, number: int) -> tuple[ColumnElement[bool], ...]:
    item = collection_item.c
    return item.collection == collection_id, item.job == job_id, item.picture == number
