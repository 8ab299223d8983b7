"""What devices measured and models said of themselves."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bot.ports import Measured
from storage.database import Database
from storage.schema import measurement, model_form

LEAST_WEIGHT = 1 / 20
_KEY = ("device", "model", "dtype", "shape", "rows", "what")


class SqlLearned:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, measured: Measured) -> None:
        """Goes with the writer's next transaction. Nobody waits for it: it comes with every step of every job."""
        self._database.submit(lambda tx: _record(tx, measured))

    async def rates(self) -> list[Measured]:
        columns = [measurement.c[name] for name in (*_KEY, "seconds")]
        # Asked of the writer, so that it sees all that was recorded before.
        rows = await self._database.write(lambda tx: tx.execute(select(*columns)).all())
        return [Measured(**row._mapping) for row in rows]

    async def record_form(self, model: str, form: Mapping[str, Any]) -> None:
        await self._database.write(lambda tx: _record_form(tx, model, dict(form)))

    async def forms(self) -> Mapping[str, Mapping[str, Any]]:
        rows = await self._database.read(lambda tx: tx.execute(select(model_form)).all())
        return {row.model: row.form for row in rows}


def _record(tx: Connection, measured: Measured) -> None:
    key = {name: getattr(measured, name) for name in _KEY}
    is_it = [measurement.c[name] == value for name, value in key.items()]
    known = tx.execute(select(measurement.c.seconds, measurement.c.samples).where(*is_it)).one_or_none()
    if known is None:
        tx.execute(insert(measurement), {**key, "seconds": measured.seconds, "samples": 1})
        return
    weight = max(1 / (known.samples + 1), LEAST_WEIGHT)
    mean = known.seconds + weight * (measured.seconds - known.seconds)
    tx.execute(update(measurement).where(*is_it).values(seconds=mean, samples=known.samples + 1))


def _record_form(tx: Connection, model: str, form: dict[str, Any]) -> None:
    if not tx.execute(update(model_form).where(model_form.c.model == model).values(form=form)).rowcount:
        tx.execute(insert(model_form), {"model": model, "form": form})
