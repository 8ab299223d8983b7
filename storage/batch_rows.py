"""Rows of batches and of their sheets, as transactions that store or delete jobs and pictures change them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from bot.ports.batches import GRID, NewBatch
from storage.picture_tables import batch, batch_sheet
from storage.schema import job


def add_batches(tx: Connection, owner: str, batches: Sequence[NewBatch]) -> None:
    rows = [
        {"id": one.id, "owner": owner, "kind": one.kind, "spec": dict(one.spec), "is_due": one.kind == GRID}
        for one in batches
    ]
    tx.execute(insert(batch), rows)


def drop_sheets(tx: Connection, batch_ids: Collection[str], *, is_due: bool) -> list[str]:
    """The batches' sheets show what is deleted in the transaction: returns the ids of their images, which are the
    caller's to disown. `is_due`: new ones are composed of what is left."""
    if not batch_ids:
        return []
    dropped = list(
        tx.scalars(delete(batch_sheet).where(batch_sheet.c.batch.in_(batch_ids)).returning(batch_sheet.c.media))
    )
    if is_due:
        tx.execute(update(batch).where(batch.c.id.in_(batch_ids), batch.c.kind == GRID).values(is_due=True))
    return dropped


def leave_batch(tx: Connection, batch_id: str) -> list[str]:
    """A job of the batch was erased: the batch goes with its last one, and a grid forgets values that no cell has any
    more. Returns like `drop_sheets`."""
    dropped = drop_sheets(tx, [batch_id], is_due=True)
    left = set(tx.scalars(select(job.c.id).where(job.c.batch == batch_id)))
    row = tx.execute(select(batch).where(batch.c.id == batch_id)).one_or_none()
    if row is not None and not left:
        tx.execute(delete(batch).where(batch.c.id == batch_id))
    elif row is not None and row.kind == GRID:
        spec = _forget_values(row.spec, left)
        tx.execute(update(batch).where(batch.c.id == batch_id).values(spec=spec))
    return dropped


def _forget_values(spec: Mapping[str, Any], left: Collection[str]) -> dict[str, Any]:
    """The spec without values whose cells are all erased: they may be words of a prompt."""
    axes, stride = [], 1
    for axis in spec["axes"]:
        count = len(axis["values"])
        used = {index // stride % count for index, one in enumerate(spec["cells"]) if one in left}
        values = [value if place in used else None for place, value in enumerate(axis["values"])]
        axes.append({**axis, "values": values})
        stride *= count
    return {**spec, "axes": axes}


def list_batches(tx: Connection, jobs: Collection[str]) -> list[str]:
    """Ids of the batches of these jobs."""
    named = select(job.c.batch).where(job.c.id.in_(jobs), job.c.batch.is_not(None)).distinct()
    return list(tx.scalars(named))
