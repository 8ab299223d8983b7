"""Easel as a contender: the pool with its real child processes, used as by the server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from benchmarks.shapes import ModelShape
from benchmarks.stream import Output
from benchmarks.workload import ImageRequest
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import ModelCapabilities, Progress, Task, TaskOutput
from inference.images.service import ImageService
from inference.pool.pool import DevicePool, PoolSettings

NAME = "Easel"
JOB_TIMEOUT_S = 3600.0


class PoolContender:
    """The pool. Requests without a free slot wait here, first come, first served.

    `capabilities`: of its model, once it is loaded.
    """

    def __init__(self, pool: DevicePool, model: ModelSpec, name: str = NAME) -> None:
        self.name = name
        self.capabilities: Mapping[str, Any] = {}
        self._pool = pool
        self._model = model
        self._submit_lock = asyncio.Lock()
        self._task_count = 0

    async def generate(self, request: ImageRequest) -> AsyncIterator[Output]:
        events: asyncio.Queue[Progress | TaskOutput | None] = asyncio.Queue()
        async with self._submit_lock:
            while not any(self._model.name in offer.models for offer in self._pool.list_offers()):
                await self._pool.wait_for_change()
            running = asyncio.create_task(self._run_task(self._make_task(request), events))
            await asyncio.sleep(0)  # the task takes its slot now, so that the next request sees the remaining ones
        while (event := await events.get()) is not None:
            if isinstance(event, TaskOutput):
                yield Output(event.images[0].media.data, is_final=True)
            elif event.preview:
                yield Output(event.preview, is_final=False)
        await running

    async def _run_task(self, task: Task, events: "asyncio.Queue[Progress | TaskOutput | None]") -> None:
        try:
            async for event in self._pool.run_task(task):
                if isinstance(event, Progress | TaskOutput):
                    events.put_nowait(event)
                elif isinstance(event, ModelCapabilities):
                    self.capabilities = event.capabilities
        finally:
            events.put_nowait(None)

    def _make_task(self, request: ImageRequest) -> Task:
        self._task_count += 1
        options = {
            "prompt": request.prompt,
            "negative_prompt": "",
            "seed": request.seed,
            "count": 1,
            "steps": request.steps,
            "guidance_scale": request.guidance,
            "width": request.width,
            "height": request.height,
            "sampler": request.sampler,
        }
        return Task(
            id=f"job{self._task_count}",
            command="imagine",
            task=TEXT_TO_IMAGE,
            model=self._model,
            options=options,
            fairness_key=request.person,
            wants_previews=request.wants_previews,
        )


def model_of(
    shape: ModelShape, *, backend: Literal["torch", "openvino", "onnx"] = "torch", dtype: str = "float32"
) -> ModelSpec:
    """The shape as a model, in the peers' dtype unless another is asked for."""
    return ModelSpec(
        name=shape.name,
        tasks=(TEXT_TO_IMAGE,),
        repo=str(shape.folder),
        dtype=dtype,
        backend=backend,
        width=shape.size,
        height=shape.size,
    )


@asynccontextmanager
async def start_pool(
    shape: ModelShape, threads: int, *, model: ModelSpec | None = None, name: str = NAME
) -> AsyncIterator[PoolContender]:
    """With the nice value of the peers. `model`: `model_of(shape)` unless another is given."""
    model = model or model_of(shape)
    settings = PoolSettings(
        warm_up=True, nice=0, threads=threads, job_timeout_s=JOB_TIMEOUT_S, step_timeout_s=JOB_TIMEOUT_S
    )
    async with ImageService() as images, DevicePool(settings, ["cpu"], [model], images) as pool:
        yield PoolContender(pool, model, name)
