"""Images that join and leave one batched denoiser. Each must equal the one the stock pipeline generates alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from bot.ports import Task
from inference.diffusion.batching import batching_rule_for
from inference.diffusion.coroutines import InterceptedCalls, ModuleCall, PipelineCoroutine, Returned, with_proxies
from inference.diffusion.pipeline_call import generate
from inference.diffusion.samplers import Samplers


@dataclass
class GeneratedImage:
    """`latents`: after each step. `pixels`: (height, width, 3)."""

    latents: list[torch.Tensor] = field(default_factory=list)
    pixels: Any = None


def generate_alone(pipeline: Any, task: Task) -> GeneratedImage:
    """What the stock pipeline generates for the task."""
    image = GeneratedImage()
    pipeline.scheduler = Samplers(pipeline.scheduler).create_scheduler("")
    image.pixels, _ = generate(
        pipeline, task, task.options["seed"], lambda _s, _n, latents: image.latents.append(latents)
    )
    return image


class Stream:
    """`passes`: ids of the tasks in each pass. `max_error`: largest difference between an output of a batched pass and
    that of the same call alone."""

    def __init__(self, denoiser: torch.nn.Module) -> None:
        rule = batching_rule_for(denoiser)
        assert rule is not None
        self._rule, self._denoiser = rule, denoiser
        self._pending: dict[str, tuple[PipelineCoroutine, Mapping[str, Any]]] = {}
        self.images: dict[str, GeneratedImage] = {}
        self.passes: list[tuple[str, ...]] = []
        self.max_error = 0.0

    def add(self, pipeline: Any, task: Task) -> None:
        proxied = with_proxies(
            pipeline,
            InterceptedCalls(
                methods={"transformer": ("forward",)},
                overrides={"scheduler": Samplers(pipeline.scheduler).create_scheduler("")},
            ),
        )
        image = self.images[task.id] = GeneratedImage()
        seed = task.options["seed"]

        def run() -> None:
            image.pixels, _ = generate(proxied, task, seed, lambda _s, _n, latents: image.latents.append(latents))

        coroutine = PipelineCoroutine(run)
        self._on_outcome(task.id, coroutine, coroutine.resume())

    def cancel(self, task_id: str) -> None:
        self._pending.pop(task_id)[0].close()
        del self.images[task_id]

    def run_pass(self) -> bool:
        """One pass, of the task that waits longest and all that can be batched with it; False: none is waiting."""
        if not self._pending:
            return False
        keys = {name: self._rule.batch_key(arguments) for name, (_, arguments) in self._pending.items()}
        names = [name for name in self._pending if keys[name] == keys[next(iter(keys))]]
        calls = [self._pending[name] for name in names]
        rows = [self._rule.count_rows(arguments) for _, arguments in calls]
        output = self._denoiser(**self._rule.merge_calls([arguments for _, arguments in calls]))
        parts = self._rule.split_output(output, rows)
        self.passes.append(tuple(names))
        for name, (coroutine, arguments), part in zip(names, calls, parts, strict=True):
            self._compare(part, self._denoiser(**arguments))
            del self._pending[name]
            self._on_outcome(name, coroutine, coroutine.resume(part))
        return True

    def run_all(self) -> None:
        while self.run_pass():
            pass

    def _on_outcome(self, name: str, coroutine: PipelineCoroutine, outcome: ModuleCall | Returned) -> None:
        if isinstance(outcome, ModuleCall):
            self._pending[name] = (coroutine, self._rule.bind_arguments(outcome))

    def _compare(self, part: Any, single: Any) -> None:
        for one, other in zip(_tensors(part[0]), _tensors(single[0]), strict=True):
            self.max_error = max(self.max_error, float((one - other).abs().max()))


def _tensors(output: Any) -> list[torch.Tensor]:
    return list(output)


def differences(image: GeneratedImage, expected: GeneratedImage) -> tuple[float, int]:
    """Of the latents at any step; of the pixels, in 8-bit levels."""
    assert len(image.latents) == len(expected.latents)
    steps = [float((a - b).abs().max()) for a, b in zip(image.latents, expected.latents, strict=True)]
    return max(steps), int(numpy.abs(image.pixels.astype(int) - expected.pixels.astype(int)).max())


def check_stream(
    stream: Stream, tasks: Mapping[str, Task], generate_reference: Callable[[Task], GeneratedImage]
) -> None:
    """Every image of the stream equals its reference, the one of the stock pipeline."""
    assert stream.max_error < 1e-5
    for name, image in stream.images.items():
        latents, levels = differences(image, generate_reference(tasks[name]))
        assert latents < 1e-5, name
        assert levels <= 1, name
