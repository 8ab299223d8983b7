"""Measurements of devices and capabilities of models."""

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from bot.ports import Measurement
from storage.database import Database
from storage.schema import measurement, model_form

LEAST_WEIGHT = 1 / 20
OUTLIER_FACTOR = 20.0
"""A mean of more than this many times a new sample is forgotten: the machine was suspended, or what is measured has
changed."""
_KEY = {
    "device": "device",
    "model": "model",
    "dtype": "dtype",
    "shape": "shape",
    "rows": "batch_size",
    "what": "what",
    "backend": "backend",
}
"""The key columns of `measurement`, each with the `Measurement` field it holds."""


class SqlMeasurementStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record_measurement(self, measurement: Measurement) -> None:
        """Submitted with the writer's next transaction without waiting: every step of every job is measured.

        Ignores impossible figures.
        """
        if math.isfinite(measurement.seconds) and measurement.seconds >= 0:
            self._database.submit(lambda tx: _record(tx, measurement))

    async def load_measurements(self) -> list[Measurement]:
        columns = [measurement.c[column].label(name) for column, name in (_KEY | {"seconds": "seconds"}).items()]
        # Through the writer, which has committed everything recorded before.
        rows = await self._database.run_write(lambda tx: tx.execute(select(*columns)).all())
        return [Measurement(**row._mapping) for row in rows if math.isfinite(row.seconds)]

    async def record_capabilities(self, model: str, capabilities: Mapping[str, Any]) -> None:
        await self._database.run_write(lambda tx: _record_form(tx, model, dict(capabilities)))

    async def load_capabilities(self) -> Mapping[str, Mapping[str, Any]]:
        rows = await self._database.run_read(lambda tx: tx.execute(select(model_form)).all())
        return {row.model: row.form for row in rows}


def _record(tx: Connection, measured: Measurement) -> None:
    key = {column: getattr(measured, name) for column, name in _KEY.items()}
    has_key = [measurement.c[column] == value for column, value in key.items()]
    known = tx.execute(select(measurement.c.seconds, measurement.c.samples).where(*has_key)).one_or_none()
    if known is None:
        tx.execute(insert(measurement), {**key, "seconds": measured.seconds, "samples": 1})
        return
    samples = 1 if known.seconds > OUTLIER_FACTOR * measured.seconds > 0 else known.samples + 1
    weight = max(1 / samples, LEAST_WEIGHT)
    mean = measured.seconds if samples == 1 else known.seconds + weight * (measured.seconds - known.seconds)
    tx.execute(update(measurement).where(*has_key).values(seconds=mean, samples=samples))


def _record_form(tx: Connection, model: str, form: dict[str, Any]) -> None:
    if not tx.execute(update(model_form).where(model_form.c.model == model).values(form=form)).rowcount:
        tx.execute(insert(model_form), {"model": model, "form": form})
