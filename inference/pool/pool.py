"""Runs tasks on the worker processes of the devices; implements `bot.ports.Pool`.

The pool has no queue: a device accepts a task only if it has a free slot, and waiting jobs stay in the job table. This
process never imports torch.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, Self

from bot.errors import EaselError, Interrupted, JobCancelled, WorkerLost
from bot.jobs import Media
from bot.models import ModelSpec
from bot.ports import (
    DeviceStatus,
    Measurement,
    Offer,
    PoolEvent,
    Progress,
    RenderedImage,
    Task,
    TaskOutput,
    UnloadResult,
    WorkerPlugins,
)
from inference.images.metadata import generation_metadata
from inference.ipc.messages import RawImage, TaskResult
from inference.pool.early_worker import EarlyWorker
from inference.pool.signal import ChangeSignal
from inference.pool.supervisor import WorkerSupervisor
from inference.pool.watchdog import TaskHandle
from inference.settings import PoolSettings as PoolSettings

_PLACEMENT_TIMEOUT_S = 60.0
CLASSIFIER_FACTORY = "inference.safety.nsfw_classifier:NsfwClassifier"
DeviceNames = Sequence[str] | Callable[[], Awaitable[Sequence[str]]]
"""Device names, or a function that finds them while the server already answers."""


class ResultEncoder(Protocol):
    async def encode_image(self, pixels: bytes, width: int, height: int, *, parameters: str, easel: str) -> Media:
        """Encode RGB pixels as an image file with its metadata. Raises: EngineError."""

    async def encode_derived(
        self, pixels: bytes, width: int, height: int, *, source: Media, postprocess: str = ""
    ) -> RenderedImage:
        """Encode RGB or RGBA pixels with the metadata of their source. Raises: EngineError."""


class DevicePool:
    """Use as an async context manager; on exit, running tasks are interrupted."""

    def __init__(
        self,
        settings: PoolSettings,
        devices: DeviceNames,
        models: Sequence[ModelSpec],
        encoder: ResultEncoder,
        *,
        engine_factory: str = "inference.engine.base:build_engine",
        classifiers: Sequence[ModelSpec] = (),
        classifier_factory: str = CLASSIFIER_FACTORY,
        early: EarlyWorker | None = None,
        measurements: Iterable[Measurement] = (),
        plugins: WorkerPlugins | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """
        Args:
            early: the first process of a device, if it was started before.
            measurements: earlier ones, of any device.
            plugins: what the workers load; None: nothing.
            clock: seconds, for every time limit.
            sleep: waits before a crashed worker is restarted.
        """
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._device_names = devices
        self._models = tuple(models)
        self._encoder = encoder
        self._engine_factory = engine_factory
        self._classifiers = tuple(classifiers)
        self._classifier_factory = classifier_factory
        self._early = early
        self._measurements = tuple(measurements)
        self._plugins = plugins
        self._devices: list[WorkerSupervisor] = []
        self._is_cancelled: dict[str, bool] = {}
        self._unplaced: dict[str, Task] = {}
        self._changes = ChangeSignal()
        self._is_draining = False
        self._main_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not callable(self._device_names):
            self._devices = [self._supervisor(name) for name in self._device_names]
        self._main_task = asyncio.create_task(self._run_devices(), name="pool")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_draining = True
        for device in self._devices:
            for task_id in self._is_cancelled:
                device.cancel_task(task_id, Interrupted())
        if self._main_task is not None:
            self._main_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._main_task

    async def _run_devices(self) -> None:
        if callable(self._device_names):
            self._devices = [self._supervisor(name) for name in await self._device_names()]
        async with asyncio.TaskGroup() as group:
            for device in self._devices:
                group.create_task(device.run_forever(), name=f"device {device.name}")

    def _supervisor(self, name: str) -> WorkerSupervisor:
        return WorkerSupervisor(
            name,
            self._settings,
            self._models,
            self._engine_factory,
            self._changes.notify,
            classifiers=self._classifiers,
            classifier_factory=self._classifier_factory,
            early=self._early,
            measurements=self._measurements,
            plugins=self._plugins,
            clock=self._clock,
            sleep=self._sleep,
        )

    # ------------------------------------------------------------ bot.ports.Pool

    def set_models(self, models: Sequence[ModelSpec]) -> None:
        self._models = tuple(model_to_wire(model) for model in models)
        for device in self._devices:
            device.set_models(self._models)
        self._changes.notify()

    def refresh_plugins(self) -> None:
        """Other plugins are enabled, or their settings have changed: tasks that start from now on get these."""
        for device in self._devices:
            device.refresh_plugins()

    def list_offers(self, reserved: Mapping[str, Sequence[str]] | None = None) -> list[Offer]:
        unplaced = [task.model.name for task in self._unplaced.values() if not task.is_safety_check]
        if self._is_draining or any(task.is_urgent or task.is_exclusive for task in self._unplaced.values()):
            return []
        reserved = reserved or {}
        offers = (device.offer([*reserved.get(device.name, ()), *unplaced]) for device in self._devices)
        return [offer for offer in offers if offer is not None]

    def device_statuses(self) -> list[DeviceStatus]:
        return [device.status() for device in self._devices]

    def cancel_task(self, task_id: str) -> None:
        if task_id in self._is_cancelled:
            self._is_cancelled[task_id] = True
        for device in self._devices:
            device.cancel_task(task_id)
        self._changes.notify()  # it may wait for a free slot

    def keep_rows(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        for device in self._devices:
            device.keep_rows(task_id, step, kept)

    def set_previews(self, task_id: str, wanted: bool) -> None:
        for device in self._devices:
            device.set_previews(task_id, wanted)

    async def unload_idle_models(self) -> UnloadResult:
        results = await asyncio.gather(*(device.unload_idle_models() for device in self._devices))
        return UnloadResult(
            models=tuple(dict.fromkeys(name for result in results for name in result.models)),
            busy=tuple(dict.fromkeys(name for result in results for name in result.busy)),
            freed_mb=sum(result.freed_mb for result in results),
        )

    async def wait_for_change(self) -> None:
        await self._changes.wait_for_change()

    async def run_task(self, task: Task) -> AsyncGenerator[PoolEvent, None]:
        self._is_cancelled[task.id] = False
        try:
            device, handle = await self._place_task(to_wire(task))
            try:
                async with contextlib.aclosing(self._stream_events(handle)) as events:
                    async for event in events:
                        yield event
            finally:
                if not handle.is_finished:
                    device.cancel_task(task.id, JobCancelled())
        finally:
            self._is_cancelled.pop(task.id, None)
            self._changes.notify()

    async def drain(self, deadline_s: float) -> None:
        self._is_draining = True
        self._changes.notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._changes.wait_until(lambda: not self._is_cancelled)
        for device in self._devices:
            for task_id in list(self._is_cancelled):
                device.cancel_task(task_id, Interrupted())

    # ------------------------------------------------------------ one task

    async def _stream_events(self, handle: TaskHandle) -> AsyncGenerator[PoolEvent, None]:
        images: dict[int, RenderedImage] = {}  # a retried task generates its first images again
        while True:
            match await handle.events.get():
                case EaselError() as error:
                    raise error
                case RawImage() as image:
                    if image.index not in images:
                        images[image.index] = await self._encode_image(handle.task, image)
                case TaskResult() as result:
                    yield TaskOutput(
                        images=tuple(images[index] for index in sorted(images)),
                        text=result.text,
                        usage=result.usage,
                        scores=result.scores,
                        matches=result.matches,
                        embeddings=result.embeddings,
                        revision=result.revision,
                        seconds=handle.used_s,
                        notes=result.notes,
                    )
                    return
                case Progress() as progress:
                    yield replace(progress, used_s=handle.used_s)
                case event:
                    yield event

    async def _encode_image(self, task: Task, image: RawImage) -> RenderedImage:
        size = (image.width, image.height)
        if not image.is_generated:
            source = task.images[0].media
            derived = await self._encoder.encode_derived(
                image.pixels, *size, source=source, postprocess=image.postprocess
            )
            return replace(derived, nsfw=image.nsfw)
        parameters, easel = generation_metadata(task, image)
        media = await self._encoder.encode_image(image.pixels, *size, parameters=parameters, easel=easel)
        return RenderedImage(
            media=media,
            width=image.width,
            height=image.height,
            parameters=parameters,
            nsfw=image.nsfw,
            index=image.index,
            seed=image.seed,
        )

    async def _place_task(self, task: Task) -> tuple[WorkerSupervisor, TaskHandle]:
        """Start the task on a device: one that has its model loaded, otherwise the least busy one."""
        self._unplaced[task.id] = task
        try:
            may_wait_long = task.is_urgent or task.is_part
            async with asyncio.timeout(self._settings.job_timeout_s if may_wait_long else _PLACEMENT_TIMEOUT_S):
                await self._changes.wait_until(lambda: self._must_stop(task) or bool(self._devices_with_room_for(task)))
        except TimeoutError:
            raise WorkerLost(was_alone=False, detail="no device had a free slot") from None
        finally:
            del self._unplaced[task.id]
            if task.is_urgent or task.is_exclusive:
                self._changes.notify()
        if self._must_stop(task):
            raise Interrupted if self._is_draining else JobCancelled
        model = task.model.name
        device = min(
            self._devices_with_room_for(task), key=lambda device: (not device.has_loaded(model), device.task_count)
        )
        return device, device.start_task(task)

    def _devices_with_room_for(self, task: Task) -> list[WorkerSupervisor]:
        return [device for device in self._devices if device.can_run(task)]

    def _must_stop(self, task: Task) -> bool:
        return self._is_draining or self._is_cancelled[task.id]


def to_wire(task: Task) -> Task:
    """The task with plain dicts, the only mappings that can be sent to a child."""
    return replace(task, options=dict(task.options), model=model_to_wire(task.model))


def model_to_wire(model: ModelSpec) -> ModelSpec:
    return replace(model, capabilities=dict(model.capabilities))
