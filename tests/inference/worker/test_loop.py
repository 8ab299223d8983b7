"""How a child measures the time of a task."""

from types import SimpleNamespace
from typing import Any

import pytest

from inference.engine.base import CostSample
from inference.ipc.messages import Init
from inference.worker.loop import WorkerLoop
from inference.worker.running_task import RunningTask
from tests.inference.support import make_task


def make_running(*step_times_s, overhead_s=0.0, count=1):
    """A task whose steps took these times, and that used `overhead_s` after the last."""
    running = RunningTask(make_task(options={"count": count}))
    for seconds in step_times_s:
        running.used_s += seconds
        running.record_step()
    running.used_s += overhead_s
    return running


def test_the_additional_time_of_the_first_step_is_overhead():
    running = make_running(3.0, 0.5, 0.5, 0.5, overhead_s=1.0)

    assert running.step_s == 0.5
    assert running.overhead_s == pytest.approx(2.5 + 1.0)


def test_overhead_is_measured_against_the_tasks_share_of_its_steps():
    alone_s, share_s = 0.5, 0.1
    running = make_running(*[share_s] * 10, overhead_s=0.75)

    assert running.used_s < alone_s * 10
    assert running.overhead_s == pytest.approx(0.75)


def test_overhead_is_reported_per_image():
    assert make_running(0.5, 0.5, overhead_s=3.0, count=3).overhead_s == pytest.approx(1.0)


def test_what_a_trial_has_tried_has_no_shape_and_does_not_stand_for_its_steps():
    running = make_running(3.0, 0.5, 0.5)
    running.shape = "8x8"
    tried = CostSample(what="attention", batch_size=1, seconds=0.1, backend="native_flash")
    models = SimpleNamespace(dtype_of=lambda _: "bfloat16")
    loop: Any = WorkerLoop.__new__(WorkerLoop)
    loop._init, loop._models = Init(device="cuda:0", engine_factory=""), models
    loop._engine_for = lambda _: SimpleNamespace(cost_samples=lambda _: [tried])

    found = {one.what: one for one in loop._measurements_of(running)}

    assert {what: (one.shape, one.backend) for what, one in found.items()} == {
        "step": ("8x8", "torch"),
        "job": ("8x8", "torch"),
        "attention": ("", "native_flash"),
    }


def test_a_task_without_a_step_is_all_overhead():
    assert make_running(overhead_s=2.0).overhead_s == 2.0
