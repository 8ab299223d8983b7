"""How a child measures the time of a task."""

from types import SimpleNamespace
from typing import Any

import pytest

from inference.engine.base import CostSample
from inference.worker.running_task import RunningTask
from inference.worker.task_measurements import measure_task
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
    engine: Any = SimpleNamespace(cost_samples=lambda _: [tried])

    found = {one.what: one for one in measure_task(running, engine, "cuda:0", "bfloat16")}

    assert {what: (one.shape, one.backend) for what, one in found.items()} == {
        "step": ("8x8", "torch"),
        "job": ("8x8", "torch"),
        "attention": ("", "native_flash"),
    }


def test_a_task_without_a_step_is_all_overhead():
    assert make_running(overhead_s=2.0).overhead_s == 2.0
