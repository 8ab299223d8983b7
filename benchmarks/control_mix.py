"""Images per second with half the rows controlled: `python -m benchmarks.control_mix [--quick]`.

Against all rows plain, with the ControlNet's own time subtracted: what mixing costs beside the ControlNet itself. And
against stock pipelines under a lock, each image alone, with the ControlNet's time in both. The ControlNet has random
weights, as big as a trained one's.
"""

import io
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy

from benchmarks import figures
from benchmarks.compute_threads import clock_for, measure_each
from benchmarks.figures import Comparison, compare
from benchmarks.shapes import OVERHEAD, ModelShape, compute_bound_shape
from bot.jobs import Media
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.ports import Task, TaskImage

GOAL_PLAIN, GOAL_LOCK = 0.9, 1.2
PROMPT = "a red cube"
summarize = figures.summarize_rows


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    return measure_each(lambda threads: _measure(quick, threads))


def _measure(quick: bool, threads: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(threads)
    repeats, steps = (1, 4) if quick else (3, 8)
    rows = _measure_shape(OVERHEAD, 8, steps, repeats, threads)
    if not quick:
        with compute_bound_shape() as shape:
            rows += _measure_shape(shape, 4, steps, repeats, threads)
    return figures.record(rows, repeats=repeats)


def _measure_shape(shape: ModelShape, count: int, steps: int, repeats: int, threads: int) -> list[Comparison]:
    with TemporaryDirectory(prefix="easel-bench-") as scratch:
        bench = _Bench(shape, Path(scratch), steps, threads)
        plain, mixed = bench.make_tasks(count, 0), bench.make_tasks(count, count // 2)
        for tasks in (plain, mixed, plain, mixed):
            bench.run_ours(tasks)  # loads the control, and measures what passes cost
        runs = [(bench.run_ours(plain)[0], *bench.run_ours(mixed), bench.run_alone(mixed)) for _ in range(repeats)]
    plain_s, mixed_s, control_s, alone_s = (statistics.median(values) for values in zip(*runs, strict=True))
    what = f"{shape.name}, half of {count} images controlled, images per second"
    return [
        compare(
            f"{what}, without the ControlNet's time", count / (mixed_s - control_s), count / plain_s, "all plain",
            goal=GOAL_PLAIN, more_is_better=True,
        ),
        compare(
            what, count / mixed_s, count / alone_s, "stock pipelines, one image at a time",
            goal=None if shape.is_compute_bound else GOAL_LOCK, more_is_better=True,
        ),
    ]  # fmt: skip


class _Bench:
    """The engine and the stock pipelines of one model, in this process."""

    def __init__(self, shape: ModelShape, folder: Path, steps: int, threads: int) -> None:
        import torch
        from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline

        from inference.diffusion.engine import DiffusionEngine

        self._shape, self._steps = shape, steps
        self._clock = clock_for(threads)
        stock = StableDiffusionPipeline.from_pretrained(shape.folder, dtype=torch.float32)
        halvings = stock.vae_scale_factor.bit_length()
        channels = (16, 32, 64, 128, 256)[:halvings]
        net = ControlNetModel.from_unet(stock.unet, conditioning_embedding_out_channels=channels)
        net.save_pretrained(folder)
        controlled = StableDiffusionControlNetPipeline(
            **stock.components, controlnet=net, requires_safety_checker=False
        )
        self._stock: dict[bool, Any] = {False: stock, True: controlled}
        for pipeline in self._stock.values():
            pipeline.set_progress_bar_config(disable=True)
        self._map = _draw_map(shape.size)
        controls = {"canny": str(folder)}
        self._model = ModelSpec(
            name=shape.name, tasks=(TEXT_TO_IMAGE,), repo=str(shape.folder), dtype="float32", controls=controls
        )
        self._engine = DiffusionEngine(self._model)
        self._engine.load_model("cpu")

    def make_tasks(self, count: int, controlled: int) -> list[Task]:
        options = {"prompt": PROMPT, "negative_prompt": "", "count": 1, "steps": self._steps, "guidance_scale": 5.0}
        options |= {"width": self._shape.size, "height": self._shape.size, "sampler": ""}
        image = TaskImage("control", Media(self._map, "image/png"), "canny", is_ready=True)
        return [
            Task(
                id=f"job{number}", command="imagine", task=TEXT_TO_IMAGE, model=self._model,
                options={**options, "seed": number}, images=(image,) if number < controlled else (),
            )
            for number in range(count)
        ]  # fmt: skip

    def run_ours(self, tasks: Sequence[Task]) -> tuple[float, float]:
        """Seconds of all, and of the ControlNet's passes among them."""
        from inference.engine.base import TaskDone

        with self._control_timer() as control_s:
            started, done = self._clock(), 0
            for task in tasks:
                self._engine.add_task(task)
            while done < len(tasks):
                done += sum(isinstance(event, TaskDone) for event in self._engine.step())
            return self._clock() - started, sum(control_s)

    @contextmanager
    def _control_timer(self) -> Iterator[list[float]]:
        seconds: list[float] = []
        modules = self._engine._step_loop.modules
        handles = []
        for name, called in modules.items():
            if name != "unet":
                handles.append(called.module.register_forward_pre_hook(lambda *_: seconds.append(-self._clock())))
                handles.append(called.module.register_forward_hook(lambda *_: seconds.append(self._clock())))
        try:
            yield seconds
        finally:
            for handle in handles:
                handle.remove()

    def run_alone(self, tasks: Sequence[Task]) -> float:
        """Seconds of the stock pipelines for one image after the other."""
        import torch
        from PIL import Image

        control = Image.open(io.BytesIO(self._map))
        started = self._clock()
        for task in tasks:
            options = task.options
            arguments = {"image": control} if task.images else {}
            self._stock[bool(task.images)](
                PROMPT, num_inference_steps=self._steps, guidance_scale=5.0, width=options["width"],
                height=options["height"], generator=torch.Generator("cpu").manual_seed(options["seed"]), **arguments,
            )  # fmt: skip
        return self._clock() - started


def _draw_map(size: int) -> bytes:
    """White outlines on black."""
    from PIL import Image

    pixels = numpy.zeros((size, size, 3), numpy.uint8)
    quarter = size // 4
    pixels[quarter : 3 * quarter, [quarter, 3 * quarter]] = pixels[[quarter, 3 * quarter], quarter : 3 * quarter] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
