"""How long a person's own jobs wait for one another: alone, a person may use all slots of a device but two."""

from dataclasses import replace

import pytest

from bot.models import ModelRegistry
from bot.ports import DeviceStatus, FairShareLane, Progress, QueueView, TaskWork
from bot.queue.eta import EtaEstimator
from bot.queue.pricing import Rates
from tests.fakes import make_job, make_model

MODEL = make_model(step_s=1.0, overhead_s=0.0, capabilities={"rows": 16})
LANE = FairShareLane(vtime=0.0, backlog=1)


def make_estimator(*devices: DeviceStatus, model=MODEL, max_running=2):
    return EtaEstimator(ModelRegistry({model.name: model}), Rates(), lambda: list(devices), max_running)


def make_device(name="cpu", slots=16, **more):
    return DeviceStatus(device=name, state="ready", loaded=(MODEL.name,), slots=slots, has_imported=True, **more)


def make_view(**overrides):
    plain = {"own_ahead": 0, "person": LANE, "people": (), "space": LANE, "spaces": (), "mean_s": 1000.0, "running": 0}
    return QueueView(**{**plain, **overrides})


def waits(estimator, view):
    """Whether the job waits for others of its owner."""
    job = make_job()
    return estimator.until_result_s(job, view) > estimator.until_result_s(job, replace(view, own_running=0))


@pytest.mark.parametrize(("own_running", "is_waiting"), [(2, False), (13, False), (14, True)])
def test_alone_a_job_waits_only_while_all_slots_but_two_are_used(own_running, is_waiting):
    view = make_view(running=own_running, own_running=own_running)

    assert waits(make_estimator(make_device()), view) is is_waiting


@pytest.mark.parametrize("others", [{"people": (LANE,)}, {"spaces": (LANE,)}], ids=["a person", "a space"])
def test_while_others_wait_a_job_waits_at_the_limit(others):
    view = make_view(running=2, own_running=2, **others)

    assert waits(make_estimator(make_device()), view)


def test_each_device_keeps_two_slots_free():
    devices = make_device("cuda:0"), make_device("cuda:1")

    assert not waits(make_estimator(*devices), make_view(running=27, own_running=27))
    assert waits(make_estimator(*devices), make_view(running=28, own_running=28))


def test_on_small_devices_the_limit_stays():
    devices = [make_device(f"cuda:{number}", slots=1) for number in range(4)]

    assert not waits(make_estimator(*devices), make_view(running=1, own_running=1))
    assert waits(make_estimator(*devices), make_view(running=2, own_running=2))


def test_a_request_of_many_jobs_runs_as_many_at_the_same_time():
    jobs = [make_job() for _ in range(14)]
    alone, limited = make_estimator(make_device()), make_estimator(make_device(slots=2))

    assert alone.until_all_done_s(jobs) < limited.until_all_done_s(jobs)


def make_work(task, owner="one", images=1, step=0, steps=10):
    return TaskWork(task=task, owner=owner, images=images, step=images * step, steps=images * steps)


def left_s(*work, job=None):
    """Of the first task."""
    job = job or make_job()
    work = (replace(work[0], task=job.id), *work[1:])
    progress = Progress(step=work[0].step, steps=work[0].steps)
    return make_estimator(make_device(running=len(work), work=work)).remaining_s(job, progress)


def test_jobs_that_make_several_images_each_slow_one_another_down_by_their_images():
    people = "abcd"
    one_each, four_each = (left_s(*(make_work(one, one, images=images) for one in people)) for images in (1, 4))

    assert four_each > 2.5 * one_each


def test_a_request_of_jobs_with_several_images_takes_as_long_as_its_images():
    plain = make_job()
    one_each = [plain] * 8
    four_each = [replace(plain, options={**plain.options, "count": 4})] * 8
    estimator = make_estimator(make_device())

    assert estimator.until_all_done_s(four_each) > 2.5 * estimator.until_all_done_s(one_each)
