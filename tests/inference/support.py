import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from bot.jobs import Media
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Done, Measured, Progress, Task
from inference.pool.pool import DevicePool, PoolSettings

if TYPE_CHECKING:
    from PIL import Image

TEST_ENGINES = "tests.inference.engines:build"


class RawPictures:
    """Leaves pixels as they are: encoding has its own tests."""

    async def encode(self, pixels: bytes, width: int, height: int, *, parameters: str, easel: str) -> Media:
        return Media(pixels, "image/x-raw")


def make_model(name: str = "test", **overrides: Any) -> ModelSpec:
    return ModelSpec(**({"name": name, "tasks": (TEXT_TO_IMAGE,), "repo": "."} | overrides))


def make_task(prompt: str = "a fox", *, id: str = "job", **overrides: Any) -> Task:
    """`options` are merged over small ones."""
    options = {"prompt": prompt, "seed": 7, "count": 1, "steps": 3, "width": 8, "height": 8}
    options |= overrides.pop("options", {})
    fields: dict[str, Any] = {"command": "imagine", "task": TEXT_TO_IMAGE, "model": make_model()}
    return Task(id=id, options=options, **(fields | overrides))


@asynccontextmanager
async def open_pool(
    models: list[ModelSpec] | None = None,
    *,
    engines: str = TEST_ENGINES,
    devices: Any = ("cpu",),
    pictures: Any = None,
    classifier: ModelSpec | None = None,
    checker: str = "",
    rates: Sequence[Measured] = (),
    **settings: Any,
) -> AsyncIterator[DevicePool]:
    """A pool with short time limits and test engines in real children, ready to run."""
    quick = {"restart_backoff_s": 0.01, "warm_up": False, "niceness": 0} | settings
    pool = DevicePool(
        PoolSettings(**quick),
        devices,
        models or [make_model()],
        pictures or RawPictures(),
        engines=engines,
        classifier=classifier,
        checker=checker,
        rates=rates,
    )
    async with pool:
        await until(lambda: len(pool.offers()) > 0)
        yield pool


async def collect(pool: DevicePool, task: Task, at: Mapping[int, Callable[[], object]] | None = None) -> list[Any]:
    """Everything that running the task yields; at step N, `at[N]` is called. Step 0: it is loading."""
    events = []
    async for event in pool.run(task):
        events.append(event)
        if isinstance(event, Progress) and at and event.step in at:
            at[event.step]()
    return events


async def finish(pool: DevicePool, task: Task) -> Done:
    done = (await collect(pool, task))[-1]
    assert isinstance(done, Done)
    return done


async def until(is_true: Callable[[], Any], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def child_of(pool: DevicePool, index: int = 0) -> int:
    """The process id of a device's child."""
    pid = pool._devices[index].pid
    assert pid is not None
    return pid


def is_alive(pid: int) -> bool:
    """A zombie does not live."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_death(pid: int, within_s: float = 10.0) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while is_alive(pid):
        if time.monotonic() - began > within_s:
            os.kill(pid, 9)
            pytest.fail(f"process {pid} still lives after {within_s} s")
        time.sleep(0.01)
    return time.monotonic() - began


def png(image: "Image.Image") -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
