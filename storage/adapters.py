"""Adapters that were trained here, and what they learned from: `bot.ports.AdapterStore` on the database."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select, update

from bot.ports import AdapterRecord, TrainedExample
from storage.consents import drop_stale_consents
from storage.database import Database
from storage.learning_tables import adapter, adapter_example, consent

_HAS_CONSENT = exists().where(consent.c.correction == adapter_example.c.correction, consent.c.withdrawn_at.is_(None))


class SqlAdapters:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_adapter(self, record: AdapterRecord, examples: Sequence[TrainedExample]) -> None:
        await self._database.run_write(lambda tx: _save(tx, record, examples))

    async def list_adapters(self) -> list[AdapterRecord]:
        return await self._database.run_read(_list)

    async def delete_adapter(self, name: str) -> bool:
        return await self._database.run_deletion(lambda tx: _delete(tx, name))

    async def retire_adapters(self, corrections: Collection[str]) -> list[AdapterRecord]:
        return await self._database.run_deletion(lambda tx: retire_adapters(tx, corrections))


def _save(tx: Connection, record: AdapterRecord, examples: Sequence[TrainedExample]) -> None:
    _delete(tx, record.name)
    tx.execute(insert(adapter), {**vars(record), "report": dict(record.report)})
    rows = [{"adapter": record.name, "position": at, **vars(one)} for at, one in enumerate(examples)]
    if rows:
        tx.execute(insert(adapter_example), rows)
    withdrawn = select(adapter_example.c.correction).where(
        adapter_example.c.adapter == record.name, adapter_example.c.correction.is_not(None), ~_HAS_CONSENT
    )
    retire_adapters(tx, tx.scalars(withdrawn).all())


def _list(tx: Connection) -> list[AdapterRecord]:
    return [_to_record(row) for row in tx.execute(select(adapter).order_by(adapter.c.name))]


def _delete(tx: Connection, name: str) -> bool:
    tx.execute(delete(adapter_example).where(adapter_example.c.adapter == name))
    drop_stale_consents(tx)
    return tx.execute(delete(adapter).where(adapter.c.name == name)).rowcount > 0


def retire_adapters(tx: Connection, corrections: Collection[str]) -> list[AdapterRecord]:
    """Retire those that learned from these corrections or were tested with them; their report cards keep no words, and
    name no pictures, which go with the files."""
    names: set[str] = set()
    for correction in corrections:
        used = select(adapter_example.c.adapter).where(adapter_example.c.correction == correction)
        names.update(tx.scalars(used))
    retired = []
    for row in tx.execute(select(adapter).where(adapter.c.name.in_(sorted(names))).order_by(adapter.c.name)).all():
        report = {name: value for name, value in row.report.items() if name not in ("examples", "samples")}
        changed = {"state": "retired", "report": report}
        tx.execute(update(adapter).where(adapter.c.name == row.name).values(changed))
        retired.append(_to_record(row, **changed))
    return retired


def _to_record(row: Row[Any], **changed: Any) -> AdapterRecord:
    return AdapterRecord(**{**row._mapping, **changed})
