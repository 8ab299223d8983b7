"""Our side of the comparisons: the pool with its real child processes, as the server drives it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.shapes import Shape
from benchmarks.stream import Seen, Side
from benchmarks.workload import Wish
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Done, Progress, Task
from inference.images.service import PictureService
from inference.pool.pool import DevicePool, PoolSettings

NAME = "Easel"
JOB_TIMEOUT_S = 3600.0


class _Pool:
    """The pool as one side. Wishes that find no room wait here, first come, first served."""

    name = NAME

    def __init__(self, pool: DevicePool, model: ModelSpec) -> None:
        self._pool = pool
        self._model = model
        self._turn = asyncio.Lock()
        self._made = 0

    async def make(self, wish: Wish) -> AsyncIterator[Seen]:
        said: asyncio.Queue[Progress | Done | None] = asyncio.Queue()
        async with self._turn:
            while not any(self._model.name in offer.models for offer in self._pool.offers()):
                await self._pool.wait_for_change()
            running = asyncio.create_task(self._run(self._task(wish), said))
            await asyncio.sleep(0)  # it takes its place now, so that the next one sees what is left
        while (event := await said.get()) is not None:
            if isinstance(event, Done):
                yield Seen(event.pictures[0].media.data, is_picture=True)
            elif event.preview:
                yield Seen(event.preview, is_picture=False)
        await running

    async def _run(self, task: Task, said: "asyncio.Queue[Progress | Done | None]") -> None:
        try:
            async for event in self._pool.run(task):
                if isinstance(event, Progress | Done):
                    said.put_nowait(event)
        finally:
            said.put_nowait(None)

    def _task(self, wish: Wish) -> Task:
        self._made += 1
        options = {
            "prompt": wish.prompt,
            "negative_prompt": "",
            "seed": wish.seed,
            "count": 1,
            "steps": wish.steps,
            "guidance_scale": wish.guidance,
            "width": wish.width,
            "height": wish.height,
            "sampler": wish.sampler,
        }
        return Task(
            id=f"job{self._made}",
            command="imagine",
            task=TEXT_TO_IMAGE,
            model=self._model,
            options=options,
            share=wish.person,
            watched=wish.is_watched,
        )


@asynccontextmanager
async def running(shape: Shape, threads: int) -> AsyncIterator[Side]:
    """As nice as the peers are, and in their number format."""
    model = ModelSpec(name=shape.name, tasks=(TEXT_TO_IMAGE,), repo=str(shape.folder), dtype="float32")
    settings = PoolSettings(
        warm_up=True, niceness=0, threads=threads, job_timeout_s=JOB_TIMEOUT_S, step_silence_s=JOB_TIMEOUT_S
    )
    async with PictureService() as pictures, DevicePool(settings, ["cpu"], [model], pictures) as pool:
        yield _Pool(pool, model)
