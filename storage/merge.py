"""Two persons become one: every row that leads to the one who is emptied is moved, in one transaction.

A column that refers to `person` is moved by itself, also of tables that do not exist yet; tables in which both may have
the same key have a function in `_JOINS`.
"""

from collections.abc import Callable

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, exists, select, update

from storage.carried_usage import carry_usage, join_carried
from storage.changes import announce_change
from storage.dialect import Dialect
from storage.erasure import FORGOTTEN_NAME
from storage.link_tables import carried_usage
from storage.mapping import last_change
from storage.picture_collections import comparable_name
from storage.picture_tables import collection, collection_item, favourite
from storage.schema import (
    job,
    media_owner,
    metadata,
    person,
    person_load,
    person_setting,
    person_share,
    quota_day,
    utcnow,
)
from storage.sources import OWN_SOURCES


def merge_persons(tx: Connection, dialect: Dialect, *, kept: str, emptied: str) -> None:
    """Neither may have open jobs. The emptied person stays without anything, and counts as forgotten: a request that
    began before stores nothing."""
    now = utcnow()
    carried = join_carried(tx, kept, emptied, now)
    dialect.move_texts(tx, kept=kept, emptied=emptied)  # found by the jobs' owner
    for column in person_columns():
        join = _JOINS.get(column.table.name)
        if join is not None:
            join(tx, kept, emptied)
        tx.execute(update(column.table).where(column == emptied).values({column.name: kept}))
    carry_usage(tx, kept, carried, now)
    gone = {"forgotten": True, "name": FORGOTTEN_NAME, "daily_s": None, "merged_into": kept}
    tx.execute(update(person).where(person.c.id == emptied).values(gone))
    tx.execute(update(person).where(person.c.merged_into == emptied).values(merged_into=kept))


def person_columns() -> list[Column[str]]:
    """Every column that refers to a person."""
    return [
        column
        for table in metadata.sorted_tables
        for column in table.c
        if any(key.column is person.c.id for key in column.foreign_keys)
    ]


def _renumber_changes(tx: Connection, kept: str, emptied: str) -> None:
    """The moved jobs are the newest changes, in their own order: who follows the history is told of them."""
    after = last_change(tx, kept)
    tx.execute(update(job).where(job.c.owner == emptied).values(changed=job.c.changed + after))
    announce_change(tx, kept)


def _drop_taken(table: Table, owner: str, tx: Connection, kept: str, emptied: str) -> None:
    """Where both have a row with the same key, that of the one who is kept stays."""
    taken = table.alias("taken")
    same = [taken.c[key.name] == key for key in table.primary_key if key.name != owner]
    is_taken = exists().where(taken.c[owner] == kept, *same)
    tx.execute(delete(table).where(table.c[owner] == emptied, is_taken))


def _join_settings(tx: Connection, kept: str, emptied: str) -> None:
    _drop_taken(person_setting, "person", tx, kept, emptied)


def _join_favourites(tx: Connection, kept: str, emptied: str) -> None:
    _drop_taken(favourite, "person", tx, kept, emptied)


def _join_collections(tx: Connection, kept: str, emptied: str) -> None:
    """Collections with the same name become one."""
    own, theirs = _collections_by_name(tx, kept), _collections_by_name(tx, emptied)
    for name in own.keys() & theirs.keys():
        into, gone = own[name], theirs[name]
        _drop_taken(collection_item, "collection", tx, into, gone)
        of_gone = collection_item.c.collection == gone
        tx.execute(update(collection_item).where(of_gone).values(collection=into))
        tx.execute(delete(collection).where(collection.c.id == gone))


def _collections_by_name(tx: Connection, person_id: str) -> dict[str, str]:
    """Ids, by the name as it is compared."""
    rows = tx.execute(select(collection.c.id, collection.c.name).where(collection.c.person == person_id))
    return {comparable_name(row.name): row.id for row in rows}


def _join_media(tx: Connection, kept: str, emptied: str) -> None:
    """An image that both own keeps the source that excludes it from training, if one of the two does."""
    own, theirs = media_owner.alias("own"), media_owner.alias("theirs")
    both = select(own, theirs.c.source.label("theirs"), theirs.c.kept_since.label("since")).join(
        theirs, own.c.media == theirs.c.media
    )
    for row in tx.execute(both.where(own.c.owner == kept, theirs.c.owner == emptied)).all():
        source = row.source if row.source not in OWN_SOURCES else row.theirs
        values = {"kept_since": max(row.kept_since, row.since), "source": source}
        tx.execute(update(media_owner).where(*_is_row(media_owner, media=row.media, owner=kept)).values(values))
    _drop_taken(media_owner, "owner", tx, kept, emptied)


def _add_quota(tx: Connection, kept: str, emptied: str) -> None:
    _add_numbers(quota_day, ("used", "reserved"), tx, kept, emptied)


def _add_shares(tx: Connection, kept: str, emptied: str) -> None:
    """Virtual time is what has been used in a space, which neither sheds by linking: the larger one counts."""
    _add_numbers(person_share, ("backlog", "running"), tx, kept, emptied, largest="vtime")


def _add_load(tx: Connection, kept: str, emptied: str) -> None:
    _add_numbers(person_load, ("running", "outstanding"), tx, kept, emptied)


def _add_numbers(
    table: Table, numbers: tuple[str, ...], tx: Connection, kept: str, emptied: str, *, largest: str = ""
) -> None:
    """Where both have a row with the same key, the sums are the kept person's."""
    keys = [key.name for key in table.primary_key if key.name != "person"]
    for row in tx.execute(select(table).where(table.c.person == emptied)).mappings().all():
        where = _is_row(table, person=kept, **{key: row[key] for key in keys})
        known = tx.execute(select(table).where(*where)).mappings().one_or_none()
        if known is None:
            continue
        values = {name: known[name] + row[name] for name in numbers}
        if largest:
            values[largest] = max(known[largest], row[largest])
        tx.execute(update(table).where(*where).values(values))
    _drop_taken(table, "person", tx, kept, emptied)


def _is_row(table: Table, **key: object) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key.items()]


def _drop_carried(tx: Connection, kept: str, emptied: str) -> None:
    """`carry_usage` stores what counts for both."""
    tx.execute(delete(carried_usage).where(carried_usage.c.person.in_([kept, emptied])))


_JOINS: dict[str, Callable[[Connection, str, str], None]] = {
    "job": _renumber_changes,
    "person_setting": _join_settings,
    "favourite": _join_favourites,
    "collection": _join_collections,
    "media_owner": _join_media,
    "quota_day": _add_quota,
    "person_share": _add_shares,
    "person_load": _add_load,
    "carried_usage": _drop_carried,
}
"""What is done before a table's rows are moved, by its name."""
