"""Figures of each minute: what they count, and that the loop keeps to the minutes, goes on, and ends."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from bot.errors import StorageBusy
from bot.jobs import JobState, Result, StoredImage
from bot.ports import DeviceStatus
from bot.queue.sampler import MAX_WAITS, MetricSampler
from tests.fakes import make_job

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


class Samples:
    def __init__(self):
        self.saved = []
        self.fails = 0

    async def save_samples(self, minute, values, *, keep_h):
        if self.fails:
            self.fails -= 1
            raise StorageBusy
        self.saved.append((minute, dict(values), keep_h))


class Administration:
    async def count_open(self):
        return 3, 1


class Clock:
    """Time passes only while the sampler sleeps; at the end it waits for ever."""

    def __init__(self, minutes):
        self.now_s = NOON.timestamp() + 17.5
        self.left = minutes
        self.is_over = asyncio.Event()

    def now(self):
        return self.now_s

    async def sleep(self, seconds):
        if not self.left:
            self.is_over.set()
            await asyncio.Event().wait()
        self.left -= 1
        self.now_s += seconds


def make_sampler(clock, samples):
    devices = [DeviceStatus(device="cuda:0", state="ready", memory_mb=512)]
    return MetricSampler(
        samples=samples,
        administration=cast(Any, Administration()),
        devices=lambda: devices,
        now=clock.now,
        sleep=clock.sleep,
    )


async def run(sampler, clock):
    running = asyncio.create_task(sampler.run_forever())
    await asyncio.wait_for(clock.is_over.wait(), 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def ended(wait_s=0.0, images=0, state=JobState.DELIVERED):
    made = tuple(StoredImage(id=str(n), media_type="image/png", width=8, height=8) for n in range(images))
    result = Result(media=made) if state is JobState.DELIVERED else None
    job = make_job(state=state, result=result)
    return replace(job, created_at=NOON, started_at=NOON + timedelta(seconds=wait_s))


async def test_each_minute_has_the_figures_of_what_ended_in_it():
    clock, samples = Clock(minutes=2), Samples()
    sampler = make_sampler(clock, samples)
    for wait_s in range(100):
        sampler.observe(ended(wait_s, images=2))
    sampler.observe(ended(state=JobState.FAILED))
    sampler.observe(replace(ended(state=JobState.CANCELLED), started_at=None))
    await run(sampler, clock)

    (first, figures, keep_h), (second, quiet, _) = samples.saved
    assert (first, second, keep_h) == (NOON, NOON + timedelta(minutes=1), 48)
    assert (figures["jobs"], figures["images"], figures["errors"]) == (100, 200, 1)
    assert (figures["wait_p50_s"], figures["wait_p95_s"]) == (49, 94)
    assert (figures["queued"], figures["running"], figures["memory_mb.cuda:0"]) == (3, 1, 512)
    assert quiet["jobs"] == quiet["errors"] == 0
    assert "wait_p50_s" not in quiet


async def test_a_minute_that_cannot_be_stored_is_lost_alone():
    clock, samples = Clock(minutes=3), Samples()
    samples.fails = 1
    await run(make_sampler(clock, samples), clock)

    assert [minute for minute, _, _ in samples.saved] == [NOON + timedelta(minutes=n) for n in (1, 2)]


async def test_a_flood_of_jobs_is_remembered_in_bounded_memory():
    sampler = make_sampler(Clock(minutes=0), Samples())
    job = ended(1.0)
    for _ in range(MAX_WAITS + 50):
        sampler.observe(job)

    assert len(sampler._minute.waits) == MAX_WAITS
    assert sampler._minute.jobs == MAX_WAITS + 50
