"""Figures of each minute: `bot.ports.MetricSamples` on the database."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from storage.database import Database
from storage.picture_tables import metric_sample

_s = metric_sample.c


class SqlMetricSamples:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def save_samples(self, minute: datetime, values: Mapping[str, float], *, keep_h: float) -> None:
        rows = [{"minute": minute, "name": name, "value": value} for name, value in values.items()]

        def save(tx: Connection) -> None:
            tx.execute(delete(metric_sample).where(_s.minute < minute - timedelta(hours=keep_h)))
            tx.execute(delete(metric_sample).where(_s.minute == minute))
            if rows:
                tx.execute(insert(metric_sample), rows)

        await self._database.run_write(save)

    async def list_samples(self, since: datetime) -> Mapping[datetime, Mapping[str, float]]:
        newer = select(metric_sample).where(_s.minute >= since).order_by(_s.minute)

        def read(tx: Connection) -> dict[datetime, dict[str, float]]:
            samples: dict[datetime, dict[str, float]] = {}
            for row in tx.execute(newer):
                samples.setdefault(row.minute, {})[row.name] = row.value
            return samples

        return await self._database.run_read(read)
