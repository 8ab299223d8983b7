"""Tries a compiled denoiser against torch's: the images of eight prompts, and the seconds of passes."""

import inspect
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy
import psutil  # type: ignore[import-untyped]
import torch

from bot.commands import COMMANDS
from bot.errors import ModelRefused
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_IMAGE, TEXT_TO_IMAGE, TORCH
from bot.ports import BuildProgress, BuildRequest, RowSpeed, Task, TaskImage
from inference.diffusion.pipeline_call import generate

PROMPTS = (
    "a red fox in the snow", "a blue cup on a wooden table", "a lighthouse at night", "a portrait of an old man",
    "a green car on a street", "a bowl of fruit", "mountains behind a lake", "a white cat on a red background",
)  # fmt: skip
MAX_STEPS = 8
"""Of each image."""
ROWS = (1, 2, 4, 8)
_ROUNDS, _MIN_ROUNDS, _ROUND_S = 15, 3, 8.0
"""Passes of each kind and number of rows, at most and at least, and the seconds after which no more are made."""
_SEED = 7


@dataclass
class BuildTrial:
    """Of one loaded pipeline.

    Attributes:
        is_free: no job of a person runs. They come first, and they would falsify what is measured.
        captured: arguments of one call of the denoiser, by name.
    """

    request: BuildRequest
    pipeline: Any
    denoiser: str
    is_free: threading.Event
    report: Callable[[BuildProgress], None]
    captured: dict[str, Any] = field(default_factory=dict)
    _done: int = 0

    def _finish_part(self) -> None:
        self._done += 1
        self.report(BuildProgress("trying", self._done, 2 * len(PROMPTS) + len(ROWS)))

    # ------------------------------------------------------------ images

    def make_images(self, module: torch.nn.Module) -> list[numpy.ndarray]:
        """The images of all prompts with this denoiser."""
        setattr(self.pipeline, self.denoiser, module)
        images = []

        def on_step(_step: int, _steps: int, _latents: Any) -> None:
            self.is_free.wait()

        with self._capturing(module):
            for number, prompt in enumerate(PROMPTS):
                self.is_free.wait()
                task = _make_task(self.request, prompt)
                images.append(generate(self.pipeline, task, _SEED + number, on_step)[0])
                self._finish_part()
        return images

    @contextmanager
    def _capturing(self, module: torch.nn.Module) -> Iterator[None]:
        signature = inspect.signature(module.forward)

        def capture(_module: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
            if not self.captured:
                self.captured.update(signature.bind(*args, **kwargs).arguments)

        handle = module.register_forward_pre_hook(capture, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    # ------------------------------------------------------------ seconds

    @torch.no_grad()
    def measure_speeds(self, module: torch.nn.Module, compiled: torch.nn.Module) -> list[RowSpeed]:
        """The quickest of several passes: whatever else the machine does at that time only slows them down."""
        speeds = []
        for rows in ROWS:
            arguments = with_rows(self.captured, rows)
            own = _in_format(arguments, next(module.parameters()).dtype)
            seconds: tuple[list[float], list[float]] = ([], [])
            for one, given in ((module, own), (compiled, arguments)):
                self._time_call(one, given)  # warms up
            started = time.monotonic()
            while len(seconds[0]) < _ROUNDS and (
                len(seconds[0]) < _MIN_ROUNDS or time.monotonic() - started < _ROUND_S
            ):
                for taken, one, given in zip(seconds, (module, compiled), (own, arguments), strict=True):
                    taken.append(self._time_call(one, given))
            speeds.append(RowSpeed(rows, *(round(min(taken), 6) for taken in seconds)))
            self._finish_part()
        return speeds

    def _time_call(self, module: torch.nn.Module, arguments: Mapping[str, Any]) -> float:
        """A pass beside a person's job is made again."""
        while True:
            self.is_free.wait()
            started = time.perf_counter()
            module(**arguments)
            if self.request.device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
            if self.is_free.is_set():
                return seconds


def _make_task(request: BuildRequest, prompt: str) -> Task:
    """Raises: ModelRefused: the model makes no images."""
    model = request.model
    task = next((one for one in (TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE) if one in model.tasks), None)
    command = next((one for one in COMMANDS.values() if task in one.smoke_tests), None)
    if task is None or command is None:
        raise ModelRefused(model.name, "build", detail="it makes no images")
    images = (TaskImage("init", request.image),) if command.images_needed and request.image is not None else ()
    asked = command(values={"prompt": prompt}, images=(ImageRef("0" * 64),) if images else ())
    options = asked.fill_options(model, _SEED)
    options |= {"steps": min(int(options["steps"]), MAX_STEPS)}
    return Task(
        id="trial", command=asked.name, answers=asked.answers.value, task=task, model=model, options=options,
        images=images,
    )  # fmt: skip


def require_images(request: BuildRequest) -> int:
    """The steps of the trial's images. Raises: ModelRefused: the model makes none."""
    return int(_make_task(request, PROMPTS[0]).options["steps"])


def with_rows(arguments: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The arguments of a call with this many rows: each tensor or list that has a row for each of the samples."""
    is_list = any(isinstance(value, list) for value in arguments.values())
    count = next(
        len(value)
        for value in arguments.values()
        if (isinstance(value, list) if is_list else isinstance(value, torch.Tensor) and value.dim() > 1)
    )

    def resize(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == count:
            return value[:1].repeat(rows, *[1] * (value.dim() - 1))
        if isinstance(value, list) and len(value) == count:
            return value[:1] * rows
        if isinstance(value, Mapping):
            return {name: resize(one) for name, one in value.items()}
        return value

    return {name: resize(value) for name, value in arguments.items() if value is not None}


def _in_format(arguments: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Arguments for a module in this number format."""

    def convert(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 1:
            return value.to(dtype)
        if isinstance(value, list):
            return [convert(one) for one in value]
        return {name: convert(one) for name, one in value.items()} if isinstance(value, Mapping) else value

    return {name: convert(value) for name, value in arguments.items()}


def used_ram_mb() -> int:
    return int(psutil.Process().memory_info().rss // 2**20)


def weights_mb(module: torch.nn.Module) -> int:
    return -(-sum(one.numel() * one.element_size() for one in module.parameters()) // 2**20)


def as_torch(request: BuildRequest) -> Any:
    """The model whose images are the truth: on torch, in float32, with its weights as they are."""
    return replace(request.model, backend=TORCH, dtype="float32", quantize="none", providers=())
