"""A task in an engine, and the device-seconds that it has used."""

from dataclasses import dataclass, field
from statistics import median

from bot.ports import Task
from inference.engine.cost_model import OUTLIER_FACTOR


@dataclass
class RunningTask:
    """A task in an engine.

    Attributes:
        step_times_s: device-seconds between the steps that were reported.
        input_score: the least score of its images; see `SafetyChecker.check_inputs`.
        awaits_choice: it computes nothing until the parent says which of its images go on.
    """

    task: Task
    shape: str = ""
    used_s: float = 0.0
    reported_s: float = 0.0
    step_times_s: list[float] = field(default_factory=list)
    input_score: float | None = None
    awaits_choice: bool = False

    def record_step(self) -> None:
        self.step_times_s.append(self.used_s - self.reported_s)
        self.reported_s = self.used_s

    def start_again(self) -> None:
        """Its steps begin anew."""
        self.step_times_s.clear()
        self.reported_s = self.used_s

    @property
    def step_s(self) -> float:
        """The median of this task's share of a step, without the first step, which warms up."""
        steady = self.step_times_s[1:] or self.step_times_s
        return median(steady) if steady else 0.0

    @property
    def overhead_s(self) -> float:
        """Device-seconds outside steps, per result.

        Measured against the task's own share of its steps: a step alone costs more than a share of a shared one. Steps
        during which the machine was suspended do not count.
        """
        outliers_s = sum(one - self.step_s for one in self.step_times_s[1:] if one > OUTLIER_FACTOR * self.step_s)
        outside_s = self.used_s - self.step_s * len(self.step_times_s) - outliers_s
        return max(0.0, outside_s) / int(self.task.options.get("count", 1))
