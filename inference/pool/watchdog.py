"""Decides from what a child said, and when, whether something in it hangs.

Pure: times are given, nothing is killed here. All times are monotonic seconds.
"""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from bot.errors import EaselError
from bot.ports import Described, Measured, Progress, Task
from inference.ipc.messages import Finished, RawPicture
from inference.settings import STEP_PATIENCE, PoolSettings

RunEvent = Progress | Measured | Described | RawPicture | Finished | EaselError


@dataclass
class Running:
    """One task in a child, as the parent sees it.

    Attributes:
        is_over: whoever ran it has been told the end; the child may still be busy with it.
        used_s: device-seconds the child reported, at `reported_at`.
        stepped_at: when it last advanced; None before its first step.
        must_end_by: its time was up and it was told to stop; later than this its child is killed.
    """

    task: Task
    events: "asyncio.Queue[RunEvent]" = field(default_factory=asyncio.Queue)
    is_received: bool = False
    is_over: bool = False
    started_at: float | None = None
    used_s: float = 0.0
    reported_at: float = 0.0
    stepped_at: float | None = None
    slowest_step_s: float = 0.0
    must_end_by: float | None = None

    def tell(self, event: RunEvent) -> None:
        """Pass an event on; an end (`Finished` or an error) is the last."""
        if not self.is_over:
            self.is_over = isinstance(event, Finished | EaselError)
            self.events.put_nowait(event)

    def start(self, now: float) -> None:
        self.started_at = self.reported_at = now

    def report(self, now: float, used_s: float, *, stepped: bool, others_stepped_at: float = -math.inf) -> None:
        """`others_stepped_at`: the last step of any task beside it; before that it had to wait for its turn."""
        self.used_s, self.reported_at = used_s, now
        if stepped:
            since = self.started_at if self.stepped_at is None else self.stepped_at
            if since is not None:
                self.slowest_step_s = max(self.slowest_step_s, now - max(since, others_stepped_at))
            self.stepped_at = now

    def was_held_up(self, since: float, now: float) -> None:
        """The device did something else meanwhile: that is no time of this task's."""
        self.reported_at += now - max(since, self.reported_at)
        if self.stepped_at is not None:
            self.stepped_at += now - max(since, self.stepped_at)

    def device_s(self, now: float) -> float:
        """Device time used so far; 0 while it waits or its model loads."""
        return 0.0 if self.started_at is None else self.used_s + now - self.reported_at


def last_step(running: Iterable[Running]) -> float:
    """When any of them stepped last; before all time, when none did."""
    return max((one.stepped_at for one in running if one.stepped_at is not None), default=-math.inf)


@dataclass(frozen=True)
class TimeUp:
    """Tell the task to stop."""

    running: Running


@dataclass(frozen=True)
class Hung:
    """Kill the child. `stuck_load`: the model whose loading did it."""

    reason: str
    stuck_load: str = ""


class Watchdog:
    """Watches one child's life. Call `check` every `tick_s`."""

    def __init__(self, settings: PoolSettings, now: float) -> None:
        self._settings = settings
        self._heard_at = now
        self._checked_at = now
        self._is_up = False
        self.loading = ""
        self._loading_since = now

    @property
    def tick_s(self) -> float:
        shortest = (
            self._settings.silence_s,
            self._settings.step_silence_s,
            self._settings.cancel_grace_s,
        )
        return min(1.0, max(0.02, min(shortest) / 5))

    def heard(self, now: float) -> None:
        self._heard_at = now

    def is_up(self) -> None:
        self._is_up = True

    def load_began(self, model: str, now: float) -> None:
        self.loading, self._loading_since = model, now

    def load_ended(self, now: float, running: Iterable[Running]) -> None:
        if self.loading:
            for one in running:
                one.was_held_up(self._loading_since, now)
        self.loading = ""

    def check(self, now: float, running: list[Running]) -> Hung | TimeUp | None:
        """The most urgent thing that is wrong."""
        if now - self._checked_at > 5 * self.tick_s + 1.0:
            self._forgive(now, running)
        self._checked_at = now
        return self._silent(now) or (None if self.loading else self._stuck(now, running))

    def _forgive(self, now: float, running: list[Running]) -> None:
        """We ourselves were held up (stopped, swapped out): what the child said is still unread."""
        self._heard_at = now
        for one in running:
            if one.stepped_at is not None:
                one.stepped_at = now

    def _silent(self, now: float) -> Hung | None:
        settings = self._settings
        is_slow = bool(self.loading) or not self._is_up
        limit_s = max(settings.load_silence_s, settings.silence_s) if is_slow else settings.silence_s
        if now - self._heard_at > limit_s:
            return Hung(f"silent for {limit_s:g} s")
        if self.loading and now - self._loading_since > settings.load_timeout_s:
            return Hung(f"loading took over {settings.load_timeout_s:g} s", stuck_load=self.loading)
        return None

    def _stuck(self, now: float, running: list[Running]) -> Hung | TimeUp | None:
        settings = self._settings
        for one in running:
            if one.must_end_by is not None and now > one.must_end_by:
                return Hung("a job did not stop when its time was up")
        stepped_at = last_step(running)
        slowest_s = max((one.slowest_step_s for one in running), default=0.0)
        patience_s = max(settings.step_silence_s, STEP_PATIENCE * slowest_s)
        if stepped_at > -math.inf and now - stepped_at > patience_s:
            return Hung(f"no step for {patience_s:.0f} s")
        for one in running:
            is_late = one.device_s(now) > settings.job_timeout_s
            if is_late and one.must_end_by is None and not one.is_over:
                return TimeUp(one)
        return None
