"""What the parent learns from a task that has ended: the costs of its steps, and its time outside them."""

from bot.commands.refine_tiles import plan_refinement
from bot.ports import Measurement, step_of
from inference.engine.base import TRIED, CostSample, Engine
from inference.worker.running_task import RunningTask


def measure_task(running: RunningTask, engine: Engine, device: str, dtype: str) -> list[Measurement]:
    """The engine's cost samples for such tasks, and this task's time outside steps."""
    task = running.task
    if task.options.get("hires") or plan_refinement(task.options, task.model) is not None:
        return []  # its steps are not of its size
    measured = list(engine.cost_samples(task))
    tried = [sample for sample in measured if sample.what in TRIED]
    samples = [sample for sample in measured if sample.what not in TRIED] or _typical_step(running)
    if samples and not any(sample.what == "job" for sample in samples):
        backend = samples[0].backend
        samples.append(CostSample(what="job", batch_size=1, seconds=running.overhead_s, backend=backend))
    return [
        Measurement(
            device=device,
            model=task.model.name,
            dtype=dtype,
            shape="" if sample.what in TRIED else running.shape,
            batch_size=sample.batch_size,
            what=sample.what,
            seconds=sample.seconds,
            backend=sample.backend,
        )
        for sample in (*samples, *tried)
    ]


def _typical_step(running: RunningTask) -> list[CostSample]:
    """For a task whose engine has no cost samples."""
    is_text = running.task.task.endswith(("-to-text", "answering"))
    what = "token" if is_text else step_of(running.task.options)
    return [CostSample(what=what, batch_size=1, seconds=running.step_s)] if running.step_times_s else []
