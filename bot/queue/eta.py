"""Estimates when jobs start and end, from measurements on devices whose jobs share forward passes.

Loading a model counts where no device has it loaded, and importing the engines' libraries where no device has.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bot.commands import Command, find_command
from bot.commands.parts import parts_of
from bot.commands.preview import needs_no_model
from bot.errors import UserError
from bot.jobs import Job
from bot.models import ModelRegistry, ModelSpec
from bot.ports import KEPT_FREE, DeviceStatus, NewJob, Progress, QueueView, TaskWork
from bot.queue.fairness import wait_s
from bot.queue.pricing import Rates, duration_s, parts_s
from bot.queue.shared_passes import steps_until_end

AnyJob = Job | NewJob


class EtaEstimator:
    """`devices` returns their status; `max_running` is the number of jobs that one person can run concurrently while
    others wait."""

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
        alone_s, shared_s = self.duration_s(job, 1), self.duration_s(job, together, _running_images_each(devices))
        stretch = shared_s / alone_s if alone_s else 1.0
        own = self._max_running if view.people or view.spaces else self._most_alone(job, devices)
        waited_s = wait_s(view, slots=slots, max_running=own, stretch=stretch)
        return self._until_loaded_s(job) + shared_s + waited_s

    def remaining_s(self, job: Job, progress: Progress) -> float | None:
        """Remaining seconds of a running job, with the jobs that are running now; None: unknown, because it waits or
        its model loads for longer than expected."""
        if progress.phase in ("waiting", "loading") and progress.load_s is None:
            return None
        devices = self._devices()
        work = next((one.work for one in devices if any(task.task == job.id for task in one.work)), ())
        shared_s = self._shared_s(job, work)
        if shared_s is None:
            running = [device.running for device in devices if device.running]
            together = math.ceil(sum(running) / len(running)) if running else 1
            share_left = 1 - progress.step / progress.steps if progress.steps else 1.0
            shared_s = self.duration_s(job, together, _running_images_each(devices)) * max(0.0, share_left)
        return (progress.load_s or 0.0) + shared_s

    def _shared_s(self, job: Job, work: Sequence[TaskWork]) -> float | None:
        """Seconds until a running job makes its last image, beside all that its device makes; None: it is unknown."""
        model = self._models.get(job.model)
        if model is None or not work:
            return None
        steps, area, _ = _to_command(job).for_model(model).work_units(job.options)
        images = sum(one.images_left for one in work)
        if not area or not steps or not images:
            return None
        batch = self._rates.images_per_pass(model, job.options, area, images)
        step_s = self._rates.step_s(model, job.options, area, images) / images
        return steps_until_end(job.id, work, batch) * (step_s + self._rates.overhead_s(model) / steps)

    def until_all_done_s(self, jobs: Sequence[NewJob]) -> float:
        """Seconds until all jobs of one request are done, without jobs of others."""
        devices = self._devices()
        width = min(len(jobs), self._most_alone(jobs[0], devices), self._slots(jobs[0], devices))
        together = math.ceil(width / max(1, len(devices)))
        images_each = sum(self._image_count(job) for job in jobs) / len(jobs)
        durations_s = (self.duration_s(job, together, images_each) for job in jobs)
        return self._until_loaded_s(jobs[0]) + sum(durations_s) / width

    def duration_s(self, job: AnyJob, together: int, images_each: float = 1.0) -> float:
        """Seconds from the job's start to its end, with `together` jobs running, including this one.

        `images_each`: how many images each of the others makes on average.
        """
        model = self._models.get(job.model)
        if model is None:
            return job.cost
        command = _to_command(job).for_model(model)
        own_s = duration_s(command, model, job.options, self._rates, together=together, images_each=images_each)
        return own_s + self._parts_s(command, job.options)

    def _image_count(self, job: AnyJob) -> int:
        model = self._models.get(job.model)
        command = _to_command(job)
        _, _, count = (command.for_model(model) if model else command).work_units(job.options)
        return count

    def _parts_s(self, command: Command, options: Mapping[str, Any]) -> float:
        """0 if a model of a part was removed: the job will be refused."""
        with suppress(UserError):
            return parts_s(parts_of(command, options, self._models), self._rates)
        return 0.0

    def _until_loaded_s(self, job: AnyJob) -> float:
        """Seconds until a device has loaded the job's model; 0 if one has, or if the job needs none."""
        model = self._models.get(job.model)
        if model is None or needs_no_model(job.command, job.options):
            return 0.0
        return min(
            (self._until_device_loaded_s(device, model) for device in self._devices()), default=self._cold_s(model)
        )

    def _until_device_loaded_s(self, device: DeviceStatus, model: ModelSpec) -> float:
        if model.name in device.loaded:
            return 0.0
        under_way_s = device.load_s or 0.0
        if device.loading == model.name:
            return under_way_s
        if device.loading:  # it imports the libraries too, if they are not
            return under_way_s + self._rates.load_s(model)
        return self._rates.load_s(model) if device.has_imported else self._cold_s(model)

    def _cold_s(self, model: ModelSpec) -> float:
        """Seconds until a new process has loaded the model."""
        return self._rates.import_s() + self._rates.load_s(model)

    def _most_alone(self, job: AnyJob, devices: Sequence[DeviceStatus]) -> int:
        """The number of such jobs that a person can run concurrently while nobody else waits."""
        return max(self._max_running, self._slots(job, devices) - KEPT_FREE * len(devices))

    def _slots(self, job: AnyJob, devices: Sequence[DeviceStatus]) -> int:
        """The number of such jobs that can run concurrently on all devices."""
        model: ModelSpec | None = self._models.get(job.model)
        per_device = model.slots if model is not None else 1
        return max(1, sum(min(per_device, device.slots) for device in devices))


def _to_command(job: AnyJob) -> Command:
    return find_command(job.command)(values=job.options, images=job.images)


def _running_images_each(devices: Sequence[DeviceStatus]) -> float:
    """How many images a running job makes on average; 1 while none is running."""
    busy = [device for device in devices if device.running]
    images = sum(max(device.running, sum(one.images for one in device.work)) for device in busy)
    return images / sum(device.running for device in busy) if busy else 1.0
