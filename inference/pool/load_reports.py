"""What the tasks of a device report until their model is loaded, and how long loading is expected to take."""

import math
from collections.abc import Iterable
from dataclasses import replace

from bot.commands.best_of import expected_steps
from bot.models import IMAGE_TO_TEXT, IMPORT_S, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import Measurement, ModelCapabilities, Progress, Task
from inference.pool.watchdog import TaskHandle, Watchdog

REPORT_INTERVAL_S = 2.0
"""Between two reports of the same load: the time left becomes shorter."""


def load_details(loaded: ModelCapabilities) -> dict[str, str]:
    """What a model computes in and on, for the log. `weights`: formats of those that are in another format."""
    said = loaded.capabilities
    details = {"dtype": str(said.get("dtype", "")), "backend": str(said.get("backend", ""))}
    weights = ", ".join(map(str, said.get("weights", ())))
    return {"model": loaded.model, **{name: value for name, value in (details | {"weights": weights}).items() if value}}


class DeviceMeasurements:
    """The latest measurement of each kind on one device: for its next child, and for the time that loading takes."""

    def __init__(self, device: str, measurements: Iterable[Measurement]) -> None:
        self._device = device
        self._latest: dict[Measurement, Measurement] = {}
        self._load_s: dict[str, float] = {}
        self.import_s = IMPORT_S
        """Seconds that a new child needs to import the engines' libraries here."""
        for measurement in measurements:
            self.record_measurement(measurement)

    def record_measurement(self, measurement: Measurement) -> None:
        if measurement.device != self._device:
            return
        self._latest[replace(measurement, seconds=0.0)] = measurement
        if measurement.what == "load":
            self._load_s[measurement.model] = measurement.seconds
        elif measurement.what == "import":
            self.import_s = measurement.seconds

    def list_latest(self) -> tuple[Measurement, ...]:
        return tuple(self._latest.values())

    def load_s(self, model: ModelSpec) -> float:
        """Seconds that loading the model takes here, after the import."""
        return self._load_s.get(model.name, model.expected_load_s)


class LoadReports:
    """Of one device. Times are monotonic seconds. `has_imported`: its child has imported the engines' libraries."""

    def __init__(self, measurements: DeviceMeasurements) -> None:
        self._measurements = measurements
        self._reported_at = -math.inf
        self.has_imported = False

    def record_measurement(self, measurement: Measurement) -> None:
        """One that the child made while it loaded a model."""
        self._measurements.record_measurement(measurement)
        self.has_imported |= measurement.what == "import"

    def remaining_s(self, model: ModelSpec | None, since: float, now: float) -> float | None:
        """Expected seconds until the model is loaded that has been loading since then; None: it takes longer than
        expected, or no model is loading."""
        if model is None:
            return None
        import_s = 0.0 if self.has_imported else self._measurements.import_s
        left_s = import_s + self._measurements.load_s(model) - (now - since)
        return left_s if left_s > 0 else None

    def report_start(self, handle: TaskHandle, running: Iterable[TaskHandle], watchdog: Watchdog, now: float) -> None:
        """The model of a new task is not loaded: it is next, unless the device is busy with another model."""
        name = handle.task.model.name
        others = {other.task.model.name for other in running if not other.task.is_safety_check}
        others |= {watchdog.loading} if watchdog.loading else set()
        since = watchdog.loading_since if watchdog.loading == name else now
        self._report(handle, since, now, is_loading=others <= {name})

    def report_loading(self, running: Iterable[TaskHandle], watchdog: Watchdog, now: float) -> None:
        """The time left of the load under way, to the tasks that wait for it; call when it starts."""
        self._reported_at = now
        for handle in running:
            if handle.task.model.name == watchdog.loading and not handle.task.is_safety_check:
                self._report(handle, watchdog.loading_since, now, is_loading=True)

    def repeat_report(self, running: Iterable[TaskHandle], watchdog: Watchdog, now: float) -> None:
        """Call often: it reports every `REPORT_INTERVAL_S`."""
        if watchdog.loading and now - self._reported_at >= REPORT_INTERVAL_S:
            self.report_loading(running, watchdog, now)

    def report_started(self, handle: TaskHandle) -> None:
        """The task makes its first step."""
        if handle.waits_for_model:
            handle.waits_for_model = False
            handle.put_event(Progress(step=0, steps=_expected_steps(handle.task)))

    def _report(self, handle: TaskHandle, since: float, now: float, *, is_loading: bool) -> None:
        handle.waits_for_model = True
        steps = _expected_steps(handle.task)
        if is_loading:
            load_s = self.remaining_s(handle.task.model, since, now)
            handle.put_event(Progress(step=0, steps=steps, phase="loading", load_s=load_s))
        else:
            handle.put_event(Progress(step=0, steps=steps, phase="waiting"))


def _expected_steps(task: Task) -> int:
    """Number of steps the task will report, by its options."""
    if "steps" in task.options:
        passes = 2 if task.options.get("hires") else 1
        return expected_steps(task.options, int(task.options["steps"]) * passes)
    if task.task in (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING):
        return int(task.options.get("max_new_tokens", task.model.max_new_tokens))
    return 1
