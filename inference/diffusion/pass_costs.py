"""What the step loop measured, as the cost of tasks."""

from collections.abc import Sequence

from bot.ports import Task, step_of
from inference.diffusion.sequence import ImageSequence
from inference.diffusion.step_loop import StepLoop, shape_key
from inference.engine.base import CostSample


def pass_cost_samples(step_loop: StepLoop, sequence: ImageSequence, task: Task) -> Sequence[CostSample]:
    """Passes by rows of an unguided image; steps by tasks like this one, up to the largest pass measured.

    `sequence`: an image of the task.
    """
    backend = sequence.backend
    costs = step_loop.cost_model(shape_key(task.options), backend)
    if costs is None:
        return []
    row_tokens = sequence.tokens // sequence.rows
    samples = [
        CostSample(what=what, batch_size=round(at.size / row_tokens), seconds=at.seconds, backend=backend)
        for what, points in costs.measured_points().items()
        for at in points
    ]
    for tasks in (1, 2, 4, 8, 16):
        tokens = tasks * sequence.tokens
        seconds = costs.predict_seconds(tokens, sequence.tokens)
        if seconds is not None and (tasks == 1 or tokens <= costs.largest_size):
            what = step_of(task.options)
            samples.append(CostSample(what=what, batch_size=tasks, seconds=seconds, backend=backend))
    return samples
