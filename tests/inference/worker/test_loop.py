"""What a child says of the time that a task took."""

import pytest

from inference.worker.loop import Admitted
from tests.inference.support import make_task


def make_admitted(*spent_s, rest_s=0.0, count=1):
    """A task that used so much until each step, and `rest_s` after the last."""
    admitted = Admitted(make_task(options={"count": count}))
    for seconds in spent_s:
        admitted.used_s += seconds
        admitted.stepped()
    admitted.used_s += rest_s
    return admitted


def test_the_first_step_warms_up_and_what_it_took_longer_is_no_step():
    admitted = make_admitted(3.0, 0.5, 0.5, 0.5, rest_s=1.0)

    assert admitted.step_s == 0.5
    assert admitted.rest_s == pytest.approx(2.5 + 1.0)


def test_time_beside_shared_steps_is_told_though_each_part_of_them_is_small():
    alone_s, part_s = 0.5, 0.1
    admitted = make_admitted(*[part_s] * 10, rest_s=0.75)

    assert admitted.used_s < alone_s * 10
    assert admitted.rest_s == pytest.approx(0.75)


def test_time_beside_the_steps_is_told_for_each_picture():
    assert make_admitted(0.5, 0.5, rest_s=3.0, count=3).rest_s == pytest.approx(1.0)


def test_a_task_without_a_step_is_all_rest():
    assert make_admitted(rest_s=2.0).rest_s == 2.0
