"""Stores figures of each minute, for the plots of the admins' page: waits, throughput, queue, errors, memory."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from bot.jobs import Job, JobState
from bot.ports import Administration, DeviceStatus, MetricSamples

log = structlog.get_logger()

MINUTE_S = 60.0
KEEP_H = 48.0
MAX_WAITS = 10_000
"""Waits of one minute that are remembered; the percentiles are of these."""


@dataclass
class _Minute:
    """What ended in this minute."""

    jobs: int = 0
    images: int = 0
    errors: int = 0
    waits: list[float] = field(default_factory=list)


@dataclass(kw_only=True)
class MetricSampler:
    """`observe` counts in memory; once a minute one transaction of the writer stores the sums. A figure is that of the
    minute that has just ended."""

    samples: MetricSamples
    administration: Administration
    devices: Callable[[], Sequence[DeviceStatus]]
    now: Callable[[], float] = time.time
    sleep: Callable[[float], "asyncio.Future[None]"] = field(default=asyncio.sleep)  # type: ignore[assignment]
    _minute: _Minute = field(default_factory=_Minute)

    def observe(self, job: Job) -> None:
        """A job has ended."""
        minute = self._minute
        if job.state in (JobState.FAILED, JobState.DEAD):
            minute.errors += 1
        if job.result is not None:
            minute.jobs += 1
            minute.images += len(job.result.media)
        if job.started_at is not None and len(minute.waits) < MAX_WAITS:
            minute.waits.append(max(0.0, (job.started_at - job.created_at).total_seconds()))

    async def run_forever(self) -> None:
        """Until cancelled."""
        while True:
            now = self.now()
            ended = now // MINUTE_S * MINUTE_S + MINUTE_S
            await self.sleep(ended - now)
            try:
                await self.sample_once(datetime.fromtimestamp(ended - MINUTE_S, UTC))
            except Exception as error:  # the loop must not end
                log.warning("figures were not stored", action="sample_failed", exc_info=error)

    async def sample_once(self, minute: datetime) -> None:
        """Store what was observed since the last call, as the figures of this minute."""
        counted, self._minute = self._minute, _Minute()
        queued, running = await self.administration.count_open()
        values = {**_figures_of(counted), "queued": float(queued), "running": float(running)}
        for status in self.devices():
            values[f"memory_mb.{status.device}"] = float(status.memory_mb)
        await self.samples.save_samples(minute, values, keep_h=KEEP_H)


def _figures_of(minute: _Minute) -> Mapping[str, float]:
    values = {"jobs": float(minute.jobs), "images": float(minute.images), "errors": float(minute.errors)}
    if minute.waits:
        waits = sorted(minute.waits)
        values |= {"wait_p50_s": _percentile(waits, 0.5), "wait_p95_s": _percentile(waits, 0.95)}
    return values


def _percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank of sorted values."""
    return round(values[min(len(values) - 1, int(share * len(values)))], 3)
