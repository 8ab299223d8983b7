"""Remembers which jobs run again because a plugin's hook ended their worker, so that their results say so."""

from collections import OrderedDict
from dataclasses import dataclass, field

from bot.errors import WorkerLost
from bot.problem_texts.plugin_problems import ENDED_WORKER, NO_EFFECT

MAX_JOBS = 10_000
"""Of those that never end, such as cancelled ones, the oldest are forgotten."""


@dataclass(eq=False)
class PluginLosses:
    _notes: OrderedDict[str, dict[str, str]] = field(default_factory=OrderedDict)
    """By job and plugin."""

    def add(self, job_id: str, lost: WorkerLost) -> None:
        note = NO_EFFECT.format(name=lost.plugin, reason=lost.plugin_reason or ENDED_WORKER)
        self._notes.setdefault(job_id, {})[lost.plugin] = note
        if len(self._notes) > MAX_JOBS:
            self._notes.popitem(last=False)

    def take(self, job_id: str) -> tuple[str, ...]:
        """The notes on the job's result."""
        return tuple(self._notes.pop(job_id, {}).values())
