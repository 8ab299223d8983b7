"""Estimates when jobs start and end, from measurements on devices whose jobs share forward passes."""

import math
from collections.abc import Callable, Sequence

from bot.commands import Command, find_command
from bot.jobs import Job
from bot.models import ModelRegistry, ModelSpec
from bot.ports import DeviceStatus, NewJob, Progress, QueueView
from bot.queue.fairness import wait_s
from bot.queue.pricing import Rates, duration_s

AnyJob = Job | NewJob


class EtaEstimator:
    """`devices` returns their status; `max_running` is the number of jobs that one person can run concurrently."""

    def __init__(
        self, models: ModelRegistry, rates: Rates, devices: Callable[[], Sequence[DeviceStatus]], max_running: int
    ) -> None:
        self._models = models
        self._rates = rates
        self._devices = devices
        self._max_running = max_running

    def until_result_s(self, job: Job, view: QueueView) -> float:
        """Seconds until a queued job has its result."""
        devices = self._devices()
        slots = self._slots(job, devices)
        # While jobs are waiting, all slots are in use; otherwise as many as there are jobs.
        together = math.ceil(min(slots, view.running + view.own_ahead + 1) / max(1, len(devices)))
        alone_s, shared_s = self.duration_s(job, 1), self.duration_s(job, together)
        stretch = shared_s / alone_s if alone_s else 1.0
        return shared_s + wait_s(view, slots=slots, max_running=self._max_running, stretch=stretch)

    def remaining_s(self, job: Job, progress: Progress) -> float:
        """Remaining seconds of a running job, with the jobs that are running now."""
        running = [device.running for device in self._devices() if device.running]
        together = math.ceil(sum(running) / len(running)) if running else 1
        return self.duration_s(job, together) * max(0.0, 1 - progress.step / progress.steps)

    def until_all_done_s(self, jobs: Sequence[NewJob]) -> float:
        """Seconds until all jobs of one request are done, without jobs of others."""
        devices = self._devices()
        width = min(len(jobs), self._max_running, self._slots(jobs[0], devices))
        together = math.ceil(width / max(1, len(devices)))
        return sum(self.duration_s(job, together) for job in jobs) / width

    def duration_s(self, job: AnyJob, together: int) -> float:
        """Seconds from the job's start to its end, with `together` jobs running, including this one."""
        model = self._models.get(job.model)
        if model is None:
            return job.cost
        return duration_s(_to_command(job), model, job.options, self._rates, together=together)

    def _slots(self, job: AnyJob, devices: Sequence[DeviceStatus]) -> int:
        """The number of such jobs that can run concurrently on all devices."""
        model: ModelSpec | None = self._models.get(job.model)
        per_device = model.slots if model is not None else 1
        return max(1, sum(min(per_device, device.slots) for device in devices))


def _to_command(job: AnyJob) -> Command:
    return find_command(job.command)(values=job.options, images=job.images)
