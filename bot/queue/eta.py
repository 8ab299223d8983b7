"""Says when jobs start and end, on devices whose jobs share passes: from measurements, never a promise."""

import math
from collections.abc import Callable, Sequence

from bot.commands import Command, find_command
from bot.jobs import Job
from bot.models import Models, ModelSpec
from bot.ports import DeviceStatus, NewJob, Progress, QueueView
from bot.queue.fairness import wait_s
from bot.queue.pricing import Rates, duration_s

AnyJob = Job | NewJob


class Forecasts:
    """`devices` says what works now; `max_running` is how many jobs of one person run at once."""

    def __init__(
        self, models: Models, rates: Rates, devices: Callable[[], Sequence[DeviceStatus]], max_running: int
    ) -> None:
        self._models = models
        self._rates = rates
        self._devices = devices
        self._max_running = max_running

    def ends_in_s(self, job: Job, view: QueueView) -> float:
        """Seconds until a queued job has its result."""
        devices = self._devices()
        places = self._places(job, devices)
        # Where jobs wait, all places are taken; else as many as there is work.
        together = math.ceil(min(places, view.running + view.own_ahead + 1) / max(1, len(devices)))
        alone_s, shared_s = self.lasts_s(job, 1), self.lasts_s(job, together)
        stretch = shared_s / alone_s if alone_s else 1.0
        return shared_s + wait_s(view, places=places, max_running=self._max_running, stretch=stretch)

    def left_s(self, job: Job, progress: Progress) -> float:
        """Seconds that a running job still takes beside those that run now."""
        running = [device.running for device in self._devices() if device.running]
        together = math.ceil(sum(running) / len(running)) if running else 1
        return self.lasts_s(job, together) * max(0.0, 1 - progress.step / progress.steps)

    def all_in_s(self, jobs: Sequence[NewJob]) -> float:
        """Seconds until all jobs of one request are done, if nobody else asks for any."""
        devices = self._devices()
        width = min(len(jobs), self._max_running, self._places(jobs[0], devices))
        together = math.ceil(width / max(1, len(devices)))
        return sum(self.lasts_s(job, together) for job in jobs) / width

    def lasts_s(self, job: AnyJob, together: int) -> float:
        """Seconds from its start to its end, where so many jobs run together, this one among them."""
        model = self._models.get(job.model)
        if model is None:
            return job.cost
        return duration_s(_command_of(job), model, job.options, self._rates, together=together)

    def _places(self, job: AnyJob, devices: Sequence[DeviceStatus]) -> int:
        """How many such jobs run at once in the whole house."""
        model: ModelSpec | None = self._models.get(job.model)
        rows = model.rows if model is not None else 1
        return max(1, sum(min(rows, device.places) for device in devices))


def _command_of(job: AnyJob) -> Command:
    return find_command(job.command)(values=job.options, images=job.images)
