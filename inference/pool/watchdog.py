"""Decides from the time of a child's messages whether the child or one of its tasks hangs.

Pure: times are arguments, and nothing is killed here. All times are monotonic seconds.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from bot.commands.best_of import expected_steps
from bot.errors import EaselError, EngineTimeout, OutOfMemory
from bot.ports import Candidates, DeviceTotals, Measurement, ModelCapabilities, Progress, Task, TaskWork
from inference.ipc.messages import Heartbeat, ModelLoaded, RawImage, TaskResult
from inference.pool.plugin_watch import PluginWatch
from inference.settings import SLOW_STEP_FACTOR, PoolSettings

HandleEvent = Progress | Measurement | ModelCapabilities | RawImage | Candidates | TaskResult | EaselError


@dataclass
class DeviceRecord:
    """How often a device lost its process, the last loss, and what it has done.

    Attributes:
        lost_at: Unix time, seconds; None: never.
        lost_reason: why, for the log and for admins.
    """

    restarts: int = 0
    lost_at: float | None = None
    lost_reason: str = ""
    totals: DeviceTotals = field(default_factory=DeviceTotals)

    def add_loss(self, reason: str, lost_at: float) -> None:
        self.restarts += 1
        self.lost_at, self.lost_reason = lost_at, reason

    def add_heartbeat(self, beat: Heartbeat) -> None:
        self.totals.passes += beat.passes
        self.totals.rows += beat.rows
        self.totals.memory_mb = beat.total_mb

    def add_load(self, before: Iterable[str], loaded: ModelLoaded) -> None:
        """`before`: the models that were loaded before."""
        if loaded.capabilities is not None:
            self.totals.loads += 1
            self.totals.load_s += sum(one.seconds for one in loaded.measurements if one.what == "load")
            self.totals.swaps += bool(set(before) - set(loaded.loaded_models))


@dataclass
class TaskHandle:
    """The parent's record of one task in a child.

    Attributes:
        is_accepted: the child has received it.
        is_over: its last event was put; the child may still be busy with it.
        used_s: device-seconds that the child reported at `reported_at`.
        last_step_at: time of its last step; None before the first.
        slowest_step_s: seconds of its slowest step.
        stop_deadline: set when its time is up and it was told to stop; after that its child is killed.
        waits_for_model: it last reported that it waits for its model, or that this is loading.
        progress: the last that was reported; None before the first.
        awaits_since: when it began to wait for a choice among its images; None: it does not.
        kept: how many of its images go on; None: none was dropped.
        totals: of its device.
    """

    task: Task
    events: "asyncio.Queue[HandleEvent]" = field(default_factory=asyncio.Queue)
    is_accepted: bool = False
    is_finished: bool = False
    started_at: float | None = None
    used_s: float = 0.0
    reported_at: float = 0.0
    last_step_at: float | None = None
    slowest_step_s: float = 0.0
    stop_deadline: float | None = None
    waits_for_model: bool = False
    progress: Progress | None = None
    awaits_since: float | None = None
    kept: int | None = None
    totals: DeviceTotals = field(default_factory=DeviceTotals)

    @property
    def work(self) -> TaskWork:
        images = self.task.image_count if self.kept is None else self.kept
        steps = self.progress.steps if self.progress is not None else 0
        return TaskWork(
            task=self.task.id,
            owner=self.task.fairness_key or self.task.id,
            images=images,
            step=self.progress.step if self.progress is not None else 0,
            steps=steps or expected_steps(self.task.options, int(self.task.options.get("steps") or 1)),
        )

    def put_event(self, event: HandleEvent) -> None:
        """Queue an event for the task's reader; a result or an error is the last."""
        if not self.is_finished:
            self.is_finished = isinstance(event, TaskResult | EaselError)
            self.progress = event if isinstance(event, Progress) else self.progress
            self.awaits_since = self.reported_at if isinstance(event, Candidates) else self.awaits_since
            self.totals.out_of_memory += isinstance(event, OutOfMemory)
            self.totals.timeouts += isinstance(event, EngineTimeout)
            self.events.put_nowait(event)

    def mark_started(self, now: float) -> None:
        self.started_at = self.reported_at = now

    def record_usage(self, now: float, used_s: float, *, has_stepped: bool, others_step_at: float = -math.inf) -> None:
        """`others_step_at`: time of the last step of any other task; until then it waited for its turn."""
        self.totals.busy_s += max(0.0, used_s - self.used_s)
        self.used_s, self.reported_at = used_s, now
        if has_stepped:
            since = self.started_at if self.last_step_at is None else self.last_step_at
            if since is not None:
                self.slowest_step_s = max(self.slowest_step_s, now - max(since, others_step_at))
            self.last_step_at = now

    def exclude_delay(self, since: float, now: float) -> None:
        """Do not count the time since `since`, in which the device did something else."""
        self.reported_at += now - max(since, self.reported_at)
        if self.last_step_at is not None:
            self.last_step_at += now - max(since, self.last_step_at)

    def end_choice(self, now: float, kept: int) -> None:
        """So many of its images go on."""
        if self.awaits_since is not None:
            self.exclude_delay(self.awaits_since, now)
            self.awaits_since, self.kept = None, kept

    def device_s(self, now: float) -> float:
        """Device-seconds used so far; 0 while it waits or its model loads."""
        if self.awaits_since is not None:
            return self.used_s
        return 0.0 if self.started_at is None else self.used_s + now - self.reported_at


def latest_step_at(running: Iterable[TaskHandle]) -> float:
    """Time of the last step of any of them; minus infinity if there was none."""
    return max((handle.last_step_at for handle in running if handle.last_step_at is not None), default=-math.inf)


@dataclass(frozen=True)
class TimedOut:
    """The task's time is up: tell it to stop."""

    handle: TaskHandle


@dataclass(frozen=True)
class Hung:
    """The child must be killed. `stuck_model`: the model whose loading hangs."""

    reason: str
    stuck_model: str = ""


class Watchdog:
    """Watches one child. Call `check` every `tick_s`."""

    def __init__(self, settings: PoolSettings, now: float, plugins: PluginWatch | None = None) -> None:
        self._settings = settings
        self._plugins = plugins or PluginWatch(None, "")
        self._last_message_at = now
        self._checked_at = now
        self._is_ready = False
        self.loading = ""
        self.loading_since = now

    @property
    def tick_s(self) -> float:
        shortest = (
            self._settings.heartbeat_timeout_s,
            self._settings.step_timeout_s,
            self._settings.cancel_grace_s,
        )
        return min(1.0, max(0.02, min(shortest) / 5))

    def on_message(self, now: float) -> None:
        self._last_message_at = now

    def mark_ready(self) -> None:
        self._is_ready = True

    def on_load_started(self, model: str, now: float) -> None:
        self.loading, self.loading_since = model, now

    def on_load_ended(self, now: float, running: Iterable[TaskHandle]) -> None:
        if self.loading:
            for handle in running:
                handle.exclude_delay(self.loading_since, now)
        self.loading = ""

    def check(self, now: float, running: list[TaskHandle]) -> Hung | TimedOut | None:
        """The most urgent problem, or None."""
        if now - self._checked_at > 5 * self.tick_s + 1.0:
            self._extend_deadlines(now, running)
        self._checked_at = now
        if reason := self._plugins.find_hung():
            return Hung(reason)
        is_busy = self.loading or self._plugins.is_calling
        return self._check_heartbeat(now) or (None if is_busy else self._check_tasks(now, running))

    def _extend_deadlines(self, now: float, running: list[TaskHandle]) -> None:
        """This process itself was stopped or swapped out: the child's messages are still unread."""
        self._last_message_at = now
        self._plugins.postpone()
        for handle in running:
            if handle.last_step_at is not None:
                handle.last_step_at = now

    def _check_heartbeat(self, now: float) -> Hung | None:
        settings = self._settings
        limit_s = settings.heartbeat_timeout_s
        if self.loading or not self._is_ready:
            limit_s = max(settings.load_heartbeat_timeout_s, limit_s)
        if now - self._last_message_at > limit_s:
            return Hung(f"no heartbeat for {limit_s:g} s")
        if self.loading and now - self.loading_since > settings.load_timeout_s:
            return Hung(f"loading took over {settings.load_timeout_s:g} s", stuck_model=self.loading)
        return None

    def _check_tasks(self, now: float, running: list[TaskHandle]) -> Hung | TimedOut | None:
        settings = self._settings
        for handle in running:
            if handle.stop_deadline is not None and now > handle.stop_deadline:
                return Hung("a job did not stop when its time was up")
        stepped_at = latest_step_at(running)
        slowest_s = max((handle.slowest_step_s for handle in running), default=0.0)
        limit_s = max(settings.step_timeout_s, SLOW_STEP_FACTOR * slowest_s)
        is_waiting = all(handle.awaits_since is not None for handle in running)
        if stepped_at > -math.inf and now - max(stepped_at, self._plugins.changed_at) > limit_s and not is_waiting:
            return Hung(f"no step for {limit_s:.0f} s")
        for handle in running:
            is_late = handle.task.past_s + handle.device_s(now) > settings.job_timeout_s
            if is_late and handle.stop_deadline is None and not handle.is_finished:
                return TimedOut(handle)
        return None
