"""A stream of pictures through one denoiser: they come, share passes and go. Each must be what it would be alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from bot.ports import Task
from inference.diffusion.batching import merge_for
from inference.diffusion.coroutines import Call, Held, Returned, Run, holding
from inference.diffusion.pipeline_call import render
from inference.diffusion.samplers import Samplers


@dataclass
class Picture:
    """`latents`: after each step. `pixels`: (height, width, 3)."""

    latents: list[torch.Tensor] = field(default_factory=list)
    pixels: Any = None


def alone(pipeline: Any, task: Task) -> Picture:
    """What the stock pipeline makes of the task."""
    made = Picture()
    pipeline.scheduler = Samplers(pipeline.scheduler).make("")
    made.pixels, _ = render(pipeline, task, task.options["seed"], lambda _s, _n, latents: made.latents.append(latents))
    return made


class Stream:
    """`passes`: ids of the tasks that shared each pass. `worst`: by how much an output of a shared pass differed most
    from that of the same call alone."""

    def __init__(self, denoiser: torch.nn.Module) -> None:
        merge = merge_for(denoiser)
        assert merge is not None
        self._merge, self._denoiser = merge, denoiser
        self._runs: dict[str, tuple[Run, Mapping[str, Any]]] = {}
        self.made: dict[str, Picture] = {}
        self.passes: list[tuple[str, ...]] = []
        self.worst = 0.0

    def add(self, pipeline: Any, task: Task) -> None:
        own = holding(
            pipeline,
            Held(methods={"transformer": ("forward",)}, replaced={"scheduler": Samplers(pipeline.scheduler).make("")}),
        )
        made = self.made[task.id] = Picture()
        seed = task.options["seed"]

        def make() -> None:
            made.pixels, _ = render(own, task, seed, lambda _step, _steps, latents: made.latents.append(latents))

        run = Run(make)
        self._went_on(task.id, run, run.resume())

    def cancel(self, task_id: str) -> None:
        self._runs.pop(task_id)[0].stop()
        del self.made[task_id]

    def run_pass(self) -> bool:
        """One pass, of whoever waits longest and all that may share it; False: nobody waits."""
        if not self._runs:
            return False
        keys = {name: self._merge.key(arguments) for name, (_, arguments) in self._runs.items()}
        names = [name for name in self._runs if keys[name] == keys[next(iter(keys))]]
        calls = [self._runs[name] for name in names]
        rows = [self._merge.rows(arguments) for _, arguments in calls]
        output = self._denoiser(**self._merge.join([arguments for _, arguments in calls]))
        parts = self._merge.split(output, rows)
        self.passes.append(tuple(names))
        for name, (run, arguments), part in zip(names, calls, parts, strict=True):
            self._compare(part, self._denoiser(**arguments))
            del self._runs[name]
            self._went_on(name, run, run.resume(part))
        return True

    def finish(self) -> None:
        while self.run_pass():
            pass

    def _went_on(self, name: str, run: Run, outcome: Call | Returned) -> None:
        if isinstance(outcome, Call):
            self._runs[name] = (run, self._merge.arguments(outcome))

    def _compare(self, part: Any, single: Any) -> None:
        for one, other in zip(_tensors(part[0]), _tensors(single[0]), strict=True):
            self.worst = max(self.worst, float((one - other).abs().max()))


def _tensors(output: Any) -> list[torch.Tensor]:
    return list(output)


def differences(made: Picture, expected: Picture) -> tuple[float, int]:
    """Of the latents at any step; of the pixels, in levels."""
    assert len(made.latents) == len(expected.latents)
    steps = [float((a - b).abs().max()) for a, b in zip(made.latents, expected.latents, strict=True)]
    return max(steps), int(numpy.abs(made.pixels.astype(int) - expected.pixels.astype(int)).max())


def check(stream: Stream, tasks: Mapping[str, Task], pipeline_of: Callable[[Task], Any]) -> None:
    """Every picture of the stream is what the stock pipeline makes."""
    assert stream.worst < 1e-5
    for name, made in stream.made.items():
        latents, levels = differences(made, alone(pipeline_of(tasks[name]), tasks[name]))
        assert latents < 1e-5, name
        assert levels <= 1, name
