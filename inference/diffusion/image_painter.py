"""Makes one image alone, pass by pass, and times it: for the trial of what computes passes quickest."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bot.ports import Task
from inference.diffusion.coroutines import ModuleCall, SplitCall
from inference.diffusion.execution.kernel_trial import TimedImage, UntriableImage
from inference.diffusion.pipeline_run import STEP_BOUNDARY, PipelineRunner
from inference.diffusion.sequence import ImageSequence
from inference.diffusion.step_loop import StepLoop

MAX_STEPS = 4
"""Steps of each image: the first warms up, or compiles."""


@dataclass(frozen=True)
class ImagePainter:
    """Makes the image of one task.

    Attributes:
        loop: with no other images.
        execute: makes calls that are not passes.
        new_sequence: of the task's first image.
    """

    runner: PipelineRunner
    loop: StepLoop
    execute: Callable[[ModuleCall], Any]
    new_sequence: Callable[[Task], ImageSequence]

    def paint(self, task: Task) -> TimedImage:
        """Raises: UntriableImage; what the pipeline raises."""
        steps = min(MAX_STEPS, int(task.options.get("steps", MAX_STEPS)))
        sequence = self.new_sequence(replace(task, options={**task.options, "steps": steps, "count": 1}))
        sequence.start(self.runner.generate, self.loop.modules)
        self.loop.add_sequence(sequence)
        passes_s: list[float] = []
        try:
            while (call := sequence.pending_call) is not None:
                if call.component in self.loop.modules:
                    self.loop.run_pass(_raise_error)
                    passes_s.append(sum(self.loop.take_usage().values()))
                elif isinstance(call, SplitCall) or call.component == STEP_BOUNDARY:
                    raise UntriableImage(call.component)
                else:
                    sequence.resume(self.execute(call))
        finally:
            self.loop.remove_sequence(sequence)
            sequence.close()
        if sequence.output is None or not passes_s:
            raise UntriableImage("no passes")
        return TimedImage(sequence.output[0], median(passes_s[1:] or passes_s))


def _raise_error(_sequence: ImageSequence, error: Exception) -> None:
    raise error
