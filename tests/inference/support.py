import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bot.jobs import Media
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Measurement, Progress, RenderedImage, Task, TaskOutput
from inference.pool.pool import DevicePool, PoolSettings

if TYPE_CHECKING:
    from PIL import Image

TEST_ENGINES = "tests.inference.engines:build"


class PassthroughEncoder:
    """Returns raw pixels: encoding has its own tests."""

    async def encode_image(self, pixels: bytes, width: int, height: int, *, parameters: str, easel: str) -> Media:
        return Media(pixels, "image/x-raw")

    async def encode_derived(
        self, pixels: bytes, width: int, height: int, *, source: Media, postprocess: str = ""
    ) -> RenderedImage:
        return RenderedImage(media=Media(pixels, "image/x-raw"), width=width, height=height, parameters=postprocess)


def make_model(name: str = "test", **overrides: Any) -> ModelSpec:
    return ModelSpec(**({"name": name, "tasks": (TEXT_TO_IMAGE,), "repo": "."} | overrides))


def make_task(prompt: str = "a fox", *, id: str = "job", **overrides: Any) -> Task:
    """`options` are merged over small defaults."""
    options = {"prompt": prompt, "seed": 7, "count": 1, "steps": 3, "width": 8, "height": 8}
    options |= overrides.pop("options", {})
    fields: dict[str, Any] = {"command": "imagine", "task": TEXT_TO_IMAGE, "model": make_model()}
    return Task(id=id, options=options, **(fields | overrides))


@asynccontextmanager
async def open_pool(
    models: list[ModelSpec] | None = None,
    *,
    engine_factory: str = TEST_ENGINES,
    devices: Any = ("cpu",),
    encoder: Any = None,
    classifier: ModelSpec | None = None,
    classifier_factory: str = "",
    measurements: Sequence[Measurement] = (),
    early: Any = None,
    plugins: Any = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    **settings: Any,
) -> AsyncIterator[DevicePool]:
    """A pool with test engines in real children, ready to run."""
    quick = {"restart_backoff_s": 0.01, "warm_up": False, "nice": 0} | settings
    pool = DevicePool(
        PoolSettings(**quick),
        devices,
        models or [make_model()],
        encoder or PassthroughEncoder(),
        engine_factory=engine_factory,
        classifiers=(classifier,) if classifier is not None else (),
        classifier_factory=classifier_factory,
        measurements=measurements,
        early=early,
        plugins=plugins,
        clock=clock,
        sleep=sleep,
    )
    async with pool:
        await wait_until(pool.list_offers, within_s=240)  # the child may import torch on a busy machine
        yield pool


async def wait_until_idle(pool: DevicePool) -> None:
    """Every device is ready and runs nothing."""
    await wait_until(lambda: all(s.state == "ready" and not s.running for s in pool.device_statuses()))


async def collect(pool: DevicePool, task: Task, at: Mapping[int, Callable[[], object]] | None = None) -> list[Any]:
    """All events of the task; at step N, `at[N]` is called. Step 0: its model is loading."""
    events = []
    async for event in pool.run_task(task):
        events.append(event)
        if isinstance(event, Progress) and at and event.step in at:
            at[event.step]()
    return events


async def finish(pool: DevicePool, task: Task) -> TaskOutput:
    output = (await collect(pool, task))[-1]
    assert isinstance(output, TaskOutput)
    return output


async def wait_until(is_true: Callable[[], Any], within_s: float = 50.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


def child_pid(pool: DevicePool, index: int = 0) -> int:
    """The process id of a device's child."""
    pid = pool._devices[index].pid
    assert pid is not None
    return pid


def is_alive(pid: int) -> bool:
    """A zombie is not alive."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def seconds_until_exit(pid: int, within_s: float = 30.0) -> float:
    started_at = time.monotonic()
    while is_alive(pid):
        if time.monotonic() - started_at > within_s:
            os.kill(pid, 9)
            pytest.fail(f"process {pid} is still alive after {within_s} s")
        time.sleep(0.01)
    return time.monotonic() - started_at


class ManualClock:
    """A pool's clock that stands still until a test advances it: a busy machine cannot exceed a time limit."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def advance(self, pool: DevicePool, seconds: float, index: int = 0) -> None:
        """Advance, and wait until the device's watchdog has checked its child at the new time, or restarts it."""
        self.now += seconds
        device = pool._devices[index]
        watchdog, now = device._watchdog, self.now
        await wait_until(lambda: watchdog._checked_at >= now or device._watchdog is not watchdog)

    async def advance_with_heartbeat(self, pool: DevicePool, seconds: float, index: int = 0) -> None:
        """Advance, and wait until the child has sent a message at the new time, or is restarted."""
        device = pool._devices[index]
        watchdog = device._watchdog
        await self.advance(pool, seconds, index)
        await wait_until(lambda: watchdog._last_message_at >= self.now or device._watchdog is not watchdog)

    async def advance_until(self, pool: DevicePool, seconds: float, is_true: Callable[[], Any]) -> None:
        """Advance repeatedly: messages that the child sent before it hung can still arrive."""
        async with asyncio.timeout(30):
            while not is_true():
                await self.advance(pool, seconds)


def png(image: "Image.Image") -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
