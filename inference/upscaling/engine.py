"""The upscaling engine: enlarges images tile by tile; tiles of several people share a pass.

A step is one pass. An image with transparency takes twice the tiles: its transparency is enlarged by itself.
"""

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from bot.commands.upscale import PRICED_SCALE
from bot.errors import EngineError
from bot.models import ModelSpec
from bot.ports import Measurement, Task, step_of
from inference.checkpoints.resolve import model_path, model_revision
from inference.engine.base import CostSample, EngineEvent, ImageReady, StepDone, TaskDone, TaskFailed
from inference.engine.pass_counts import PassCounts
from inference.ipc.messages import RawImage, TaskResult
from inference.memory.precision import dtype_name
from inference.upscaling.loader import LoadedUpscaler, load_upscaler
from inference.upscaling.tiles import TiledPlane, TilePlan, plan_tiles

MAX_TASKS = 16
"""Tasks in flight at the same time."""
TILES_PER_STEP = 4
"""Tiles in one pass, which bounds how long a new task waits."""
TILE_SIDE, SMALL_TILE_SIDE, SMALLEST_TILE_SIDE = 256, 128, 64
"""Pixels of a tile; that of a heavy network on a processor; and the fallback when memory is short."""


@dataclass
class _Job:
    """A task with its planes: the colours, then the transparency, if there is any."""

    task: Task
    planes: list[TiledPlane]
    alpha: int = 255
    """Of an image without a second plane."""
    seconds: float = 0.0

    @property
    def next_plane(self) -> TiledPlane | None:
        """The plane whose next tile is to be taken; None: all are taken."""
        return next((plane for plane in self.planes if plane.taken < len(plane.tiles)), None)

    @property
    def progress(self) -> tuple[int, int]:
        """Tiles that are done, and all of them."""
        return sum(plane.done for plane in self.planes), sum(len(plane.tiles) for plane in self.planes)


@dataclass
class UpscaleEngine:
    _model: ModelSpec
    _capabilities: dict[str, Any] = field(default_factory=dict)
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _usage: dict[str, float] = field(default_factory=dict)
    _costs: dict[str, float] = field(default_factory=dict)
    _tiles_per_step: int = TILES_PER_STEP
    pass_counts: PassCounts = field(default_factory=PassCounts)

    @property
    def free_slots(self) -> int:
        return max(0, MAX_TASKS - len(self._jobs))

    @property
    def capabilities(self) -> Mapping[str, Any]:
        return self._capabilities

    def load_model(self, device: str) -> None:
        path = model_path(self._model)
        self._upscaler = load_upscaler(self._model, path, device)
        is_slow = self._upscaler.is_heavy and device == "cpu"
        self._plan = self._plan_of(SMALL_TILE_SIDE if is_slow else TILE_SIDE)
        self._capabilities = {
            "samplers": [],
            "options": ["scale"],
            "revision": model_revision(self._model, path),
            "dtype": dtype_name(self._upscaler.dtype),
            "rows": MAX_TASKS,
            "scale": self._upscaler.scale,
        }

    def _plan_of(self, side: int) -> TilePlan:
        return plan_tiles(side, self._upscaler.radius, self._upscaler.multiple)

    def add_task(self, task: Task) -> None:
        if not task.images:
            raise EngineError(detail="an upscaling task without an image")
        started = time.monotonic()
        self._jobs[task.id] = self._read_job(task, self._upscaler)
        self._usage[task.id] = time.monotonic() - started

    def _read_job(self, task: Task, upscaler: LoadedUpscaler) -> _Job:
        image: Image.Image = Image.open(io.BytesIO(task.images[0].media.data))
        is_transparent = "A" in image.mode or "transparency" in image.info
        pixels = np.asarray(image.convert("RGBA" if is_transparent else "RGB"))
        job = _Job(task, [TiledPlane(pixels[..., :3], upscaler.scale, self._plan)])
        if is_transparent:
            alpha = pixels[..., 3:]
            job.alpha = int(alpha.min())
            if alpha.min() != alpha.max():
                job.planes.append(TiledPlane(alpha.repeat(3, axis=2), upscaler.scale, self._plan))
        return job

    @torch.inference_mode()
    def step(self) -> Sequence[EngineEvent]:
        batch = self._take_tiles()
        if not batch:
            return []
        started = time.monotonic()
        tiles = torch.from_numpy(np.stack([tile for _, _, tile in batch])).permute(0, 3, 1, 2)
        enlarged = self._upscaler.enlarge(tiles.float() / 255)
        is_finite = torch.isfinite(enlarged).flatten(1).all(dim=1).tolist()
        results = enlarged.mul(255).permute(0, 2, 3, 1).numpy()
        for (_, plane, _), result, is_good in zip(batch, results, is_finite, strict=True):
            if is_good:
                plane.put_tile(result)
        events: list[EngineEvent] = []
        share_s = (time.monotonic() - started) / len(batch)
        self.pass_counts.add(len(batch))
        for job in {id(job): job for job, _, _ in batch}.values():
            own = [is_good for (one, _, _), is_good in zip(batch, is_finite, strict=True) if one is job]
            self._count_seconds(job, share_s * len(own))
            events += self._report(job) if all(own) else [self._fail(job)]
        return events

    def _take_tiles(self) -> list[tuple[_Job, TiledPlane, np.ndarray]]:
        """The next tiles of the oldest task and others of the same size: of each task one, in turn."""
        batch: list[tuple[_Job, TiledPlane, np.ndarray]] = []
        shape: tuple[int, int] | None = None
        while True:
            before = len(batch)
            for job in self._jobs.values():
                plane = job.next_plane
                if plane is None or len(batch) == self._tiles_per_step:
                    continue
                shape = shape or plane.tile_shape
                if plane.tile_shape == shape:
                    batch.append((job, plane, plane.take_tile()))
            if len(batch) == before:
                return batch

    def _count_seconds(self, job: _Job, seconds: float) -> None:
        job.seconds += seconds
        self._usage[job.task.id] = self._usage.get(job.task.id, 0.0) + seconds

    def _fail(self, job: _Job) -> TaskFailed:
        del self._jobs[job.task.id]
        return TaskFailed(task_id=job.task.id, error=EngineError(detail="the upscaler's result is not finite"))

    def _report(self, job: _Job) -> list[EngineEvent]:
        task_id, (done, total) = job.task.id, job.progress
        events: list[EngineEvent] = [StepDone(task_id=task_id, step=done, steps=total)]
        if done == total:
            started = time.monotonic()
            image = self._finish_image(job)
            self._count_seconds(job, time.monotonic() - started)
            self._costs[task_id] = job.seconds
            del self._jobs[task_id]
            events.append(ImageReady(task_id=task_id, image=image))
            events.append(TaskDone(task_id=task_id, result=TaskResult(revision=self._capabilities["revision"])))
        return events

    def _finish_image(self, job: _Job) -> RawImage:
        """At the size asked for; the model's own scale, where none was."""
        image = Image.fromarray(job.planes[0].large)
        if len(job.planes) > 1 or job.alpha < 255:
            solid = Image.new("L", image.size, job.alpha)
            image.putalpha(Image.fromarray(job.planes[1].large[..., 1]) if len(job.planes) > 1 else solid)
        options = job.task.options
        size = (int(options.get("width") or image.width), int(options.get("height") or image.height))
        if image.size != size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        factor = size[0] / job.planes[0].width
        return RawImage(
            index=0,
            width=image.width,
            height=image.height,
            pixels=image.tobytes(),
            seed=0,
            revision=self._capabilities["revision"],
            is_generated=False,
            postprocess=f"Postprocess upscale by: {factor:.3g}, Postprocess upscaler: {self._model.name}",
        )

    def cancel_task(self, task_id: str) -> None:
        self._jobs.pop(task_id, None)

    def set_previews(self, task_id: str, is_enabled: bool) -> None:
        """Upscaling has no previews."""

    def take_usage(self) -> Mapping[str, float]:
        """Device-seconds by task since the last call."""
        usage, self._usage = self._usage, {}
        return usage

    def cost_samples(self, task: Task) -> Sequence[CostSample]:
        """All its tiles as one step, at `PRICED_SCALE`."""
        seconds = self._costs.pop(task.id, None)
        if seconds is None:
            return []
        scale = float(task.options.get("scale", PRICED_SCALE))
        return [CostSample(what=step_of(task.options), batch_size=1, seconds=seconds * (scale / PRICED_SCALE) ** 2)]

    def load_costs(self, measurements: Sequence[Measurement]) -> None:
        """Not needed: the number of tiles in a pass is fixed."""

    def reduce_memory(self) -> str | None:
        """First one tile at a time, then smaller tiles. Tasks in flight start again."""
        if self._tiles_per_step > 1:
            self._tiles_per_step = 1
            return "rows"
        side = self._plan.side // 2
        if side < SMALLEST_TILE_SIDE:
            return None
        self._plan = self._plan_of(side)
        return "tiled"

    def unload_model(self) -> None:
        self._jobs.clear()
        del self._upscaler
