"""One image model on one device, in this process: Easel's engine, and the stock pipeline that serves one at a time."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy

from benchmarks.engine_events import pixels_of, run_tasks
from benchmarks.workload import ImageRequest
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Task
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.loader import load_pipeline
from inference.diffusion.pipeline_call import generate
from inference.diffusion.samplers import Samplers
from inference.engine import image_levels
from inference.engine.base import ImageReady

Images = Mapping[str, numpy.ndarray]
"""uint8, (height, width, 3), by task."""


@dataclass(frozen=True)
class GpuModel:
    """`size`: side of its images in pixels."""

    name: str
    folder: Path
    size: int
    device: str
    dtype: str

    def spec(self, **settings: Any) -> ModelSpec:
        """Raises: KeyError: this Easel has no such setting."""
        known = {one.name for one in fields(ModelSpec)}
        for name in settings:
            if name not in known:
                raise KeyError(f"models have no setting {name!r}")
        return ModelSpec(
            name=self.name,
            tasks=(TEXT_TO_IMAGE,),
            repo=str(self.folder),
            dtype=self.dtype,
            width=self.size,
            height=self.size,
            **settings,
        )

    def tasks(self, requests: Sequence[ImageRequest]) -> list[Task]:
        model = self.spec()
        return [
            Task(
                id=f"job{request.number}",
                command="imagine",
                task=TEXT_TO_IMAGE,
                model=model,
                options={
                    "prompt": request.prompt,
                    "negative_prompt": "",
                    "seed": request.seed,
                    "count": 1,
                    "steps": request.steps,
                    "guidance_scale": request.guidance,
                    "width": self.size,
                    "height": self.size,
                    "sampler": request.sampler,
                },
            )
            for request in requests
        ]

    def open_engine(self, **settings: Any) -> DiffusionEngine:
        engine = DiffusionEngine(self.spec(**settings))
        engine.load_model(self.device)
        return engine

    def open_stock(self) -> Any:
        """The stock pipeline. Nothing of it is compiled."""
        return load_pipeline(self.spec(), self.folder, self.device)


def run_engine(engine: DiffusionEngine, tasks: Sequence[Task]) -> tuple[Images, float]:
    """The images of all tasks, which are there from the start, and the seconds they take."""
    started = time.perf_counter()
    images = {
        event.task_id: pixels_of(event.image) for event in run_tasks(engine, tasks) if isinstance(event, ImageReady)
    }
    return images, time.perf_counter() - started


def run_stock(pipeline: Any, tasks: Sequence[Task]) -> tuple[Images, float]:
    """One after another, as behind a lock, each with a scheduler of its sampler."""
    samplers, images = Samplers(pipeline.scheduler), {}
    started = time.perf_counter()
    for task in tasks:
        view = copy.copy(pipeline)
        view.scheduler = samplers.create_scheduler(str(task.options["sampler"]))
        images[task.id] = generate(view, task, int(task.options["seed"]), lambda *_: None)[0]
    return images, time.perf_counter() - started


def largest_difference(one: Images, other: Images) -> int:
    """In levels of 256."""
    return max(image_levels.largest_difference(one[name], other[name]) for name in one)
