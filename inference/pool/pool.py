"""Runs tasks on the devices' child processes; implements `bot.ports.Pool`.

There is no queue here: a task is taken only by a device that has room for it, and waiting is the job
table's work. This process never imports torch.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, Self

from bot.errors import EaselError, Interrupted, JobCancelled, WorkerLost
from bot.jobs import Media
from bot.models import ModelSpec
from bot.ports import Described, DeviceStatus, Done, Freed, Measured, Offer, Progress, Rendered, Task
from inference.images.metadata import about
from inference.ipc.messages import Finished, RawPicture
from inference.pool.signal import Changes
from inference.pool.supervisor import Device, plain, plain_model
from inference.pool.watchdog import Running
from inference.settings import PoolSettings as PoolSettings

_PLACE_WAIT_S = 60.0
CHECKER = "inference.safety.nsfw_classifier:NsfwClassifier"
Devices = Sequence[str] | Callable[[], Awaitable[Sequence[str]]]
"""Device names, or how to find them out; the latter happens while the server already answers."""


class Encoder(Protocol):
    async def encode(self, pixels: bytes, width: int, height: int, *, parameters: str, easel: str) -> Media:
        """RGB to a picture file with its metadata. Raises: EngineError."""


class DevicePool:
    """Use as an async context manager; on leaving, tasks that still run are interrupted."""

    def __init__(
        self,
        settings: PoolSettings,
        devices: Devices,
        models: Sequence[ModelSpec],
        pictures: Encoder,
        *,
        engines: str = "inference.engine.base:build",
        classifier: ModelSpec | None = None,
        checker: str = CHECKER,
        rates: Iterable[Measured] = (),
    ) -> None:
        """`rates`: what was measured before, on whatever device."""
        self._settings = settings
        self._names = devices
        self._models = tuple(models)
        self._pictures = pictures
        self._engines = engines
        self._classifier = classifier
        self._checker = checker
        self._rates = tuple(rates)
        self._devices: list[Device] = []
        self._open: dict[str, bool] = {}
        self._placing: dict[str, Task] = {}
        self._changes = Changes()
        self._is_draining = False
        self._main: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not callable(self._names):
            self._devices = [self._device(name) for name in self._names]
        self._main = asyncio.create_task(self._serve(), name="pool")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_draining = True
        for device in self._devices:
            for task_id in self._open:
                device.cancel(task_id, Interrupted())
        if self._main is not None:
            self._main.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._main

    async def _serve(self) -> None:
        if callable(self._names):
            self._devices = [self._device(name) for name in await self._names()]
        async with asyncio.TaskGroup() as group:
            for device in self._devices:
                group.create_task(device.serve(), name=f"device {device.name}")

    def _device(self, name: str) -> Device:
        return Device(
            name,
            self._settings,
            self._models,
            self._engines,
            self._changes.note,
            classifier=self._classifier,
            checker=self._checker,
            rates=self._rates,
        )

    # ------------------------------------------------------------ bot.ports.Pool

    def know(self, models: Sequence[ModelSpec]) -> None:
        self._models = tuple(plain_model(model) for model in models)
        for device in self._devices:
            device.know(self._models)
        self._changes.note()

    def offers(self, promised: Mapping[str, Sequence[str]] | None = None) -> list[Offer]:
        placing = [task.model.name for task in self._placing.values()]
        if self._is_draining or any(task.urgent or task.alone for task in self._placing.values()):
            return []
        named = promised or {}
        offers = (device.offer([*named.get(device.name, ()), *placing]) for device in self._devices)
        return [offer for offer in offers if offer is not None]

    def statuses(self) -> list[DeviceStatus]:
        return [device.status() for device in self._devices]

    def cancel(self, task_id: str) -> None:
        if task_id in self._open:
            self._open[task_id] = True
        for device in self._devices:
            device.cancel(task_id)

    def watch(self, task_id: str, watched: bool) -> None:
        for device in self._devices:
            device.watch(task_id, watched)

    async def release(self) -> Freed:
        every = await asyncio.gather(*(device.release() for device in self._devices))
        return Freed(
            models=tuple(dict.fromkeys(name for one in every for name in one.models)),
            busy=tuple(dict.fromkeys(name for one in every for name in one.busy)),
            freed_mb=sum(one.freed_mb for one in every),
        )

    async def wait_for_change(self) -> None:
        await self._changes.news()

    async def run(self, task: Task) -> AsyncGenerator[Progress | Measured | Described | Done, None]:
        self._open[task.id] = False
        try:
            device, running = await self._place(plain(task))
            try:
                async with contextlib.aclosing(self._follow(running)) as events:
                    async for event in events:
                        yield event
            finally:
                if not running.is_over:
                    device.cancel(task.id, JobCancelled())
        finally:
            self._open.pop(task.id, None)
            self._changes.note()

    async def drain(self, deadline_s: float) -> None:
        self._is_draining = True
        self._changes.note()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._changes.until(lambda: not self._open)
        for device in self._devices:
            for task_id in list(self._open):
                device.cancel(task_id, Interrupted())

    # ------------------------------------------------------------ one task

    async def _follow(self, running: Running) -> AsyncGenerator[Progress | Measured | Described | Done, None]:
        pictures: dict[int, Rendered] = {}  # a task that began again makes its first pictures again
        while True:
            match await running.events.get():
                case EaselError() as error:
                    raise error
                case RawPicture() as picture:
                    if picture.index not in pictures:
                        pictures[picture.index] = await self._encode(running.task, picture)
                case Finished() as end:
                    yield Done(
                        pictures=tuple(pictures[index] for index in sorted(pictures)),
                        text=end.text,
                        revision=end.revision,
                        seconds=running.used_s,
                        notes=end.notes,
                    )
                    return
                case Progress() as progress:
                    yield replace(progress, used_s=running.used_s)
                case event:
                    yield event

    async def _encode(self, task: Task, picture: RawPicture) -> Rendered:
        parameters, easel = about(task, picture)
        media = await self._pictures.encode(
            picture.pixels, picture.width, picture.height, parameters=parameters, easel=easel
        )
        return Rendered(
            media=media, width=picture.width, height=picture.height, parameters=parameters, nsfw=picture.nsfw
        )

    async def _place(self, task: Task) -> tuple[Device, Running]:
        """Put the task on a device: one with its model warm, else the one that has least to do."""
        self._placing[task.id] = task
        try:
            async with asyncio.timeout(self._settings.job_timeout_s if task.urgent else _PLACE_WAIT_S):
                await self._changes.until(lambda: self._must_stop(task) or bool(self._devices_for(task)))
        except TimeoutError:
            raise WorkerLost(alone=False, detail="no device had room for it") from None
        finally:
            del self._placing[task.id]
            if task.urgent or task.alone:
                self._changes.note()
        if self._must_stop(task):
            raise Interrupted if self._is_draining else JobCancelled
        model = task.model.name
        device = min(self._devices_for(task), key=lambda device: (not device.has_warm(model), device.load))
        return device, device.run(task)

    def _devices_for(self, task: Task) -> list[Device]:
        return [device for device in self._devices if device.has_room_for(task)]

    def _must_stop(self, task: Task) -> bool:
        return self._is_draining or self._open[task.id]
