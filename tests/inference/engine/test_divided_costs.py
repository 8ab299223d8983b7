"""Which division of passes is quickest is found from production passes, and found again when the load changes."""

import pytest

from bot.cost_curve import CostPoint
from inference.engine.cost_model import MIN_SAMPLES, RETRY_AFTER_PASSES
from inference.engine.divided_costs import WHOLE, DividedPassCosts, PassDivision, list_divisions

HALVES = PassDivision(2, 1)
ONE_THREAD = PassDivision(1, 1)
QUARTERS = PassDivision(4, 1)


def seconds_by(overhead_s, row_s):
    """Seconds of a pass by its size, from those of a call and of a row in each part."""
    return lambda size, parts: overhead_s + row_s * size / parts


def feed(costs, true, passes, *, limit=16, unit=1):
    """Make passes as they are chosen; returns the choices. `true`: seconds by size, for each division."""
    choices = []
    for _ in range(passes):
        choice = costs.choose(limit, unit)
        costs.record_pass(choice.size, true[choice.division](choice.size, choice.division.parts), choice.division)
        choices.append(choice)
    return choices


THREADS_WAIT = {WHOLE: seconds_by(0.02, 0.02), ONE_THREAD: seconds_by(0.02, 0.03), HALVES: seconds_by(0.02, 0.02)}
THREADS_PAY = {WHOLE: seconds_by(0.01, 0.01), ONE_THREAD: seconds_by(0.02, 0.02), HALVES: seconds_by(0.02, 0.022)}
OTHERS_COMPUTE = {WHOLE: seconds_by(0.4, 0.04), ONE_THREAD: seconds_by(0.03, 0.01), HALVES: seconds_by(0.05, 0.012)}


@pytest.mark.parametrize(("true", "best"), [(THREADS_WAIT, HALVES), (THREADS_PAY, WHOLE), (OTHERS_COMPUTE, HALVES)])
def test_it_settles_at_the_quickest_division(true, best):
    costs = DividedPassCosts(threads=2)
    feed(costs, true, 100)
    later = feed(costs, true, 300)

    assert [choice.division for choice in later].count(best) >= 0.93 * len(later)
    assert costs.usual_parts == best.parts


def test_a_single_image_gets_the_threads_that_are_quickest_for_it():
    costs = DividedPassCosts(threads=2)
    feed(costs, OTHERS_COMPUTE, 30, limit=2, unit=2)

    assert costs.choose(2, 2).division == ONE_THREAD


def test_a_single_image_is_never_divided():
    costs = DividedPassCosts(threads=4)
    true = dict.fromkeys(list_divisions(4), seconds_by(0.01, 0.01))

    assert costs.usual_parts == 1
    assert all(choice.division.parts == 1 for choice in feed(costs, true, 50, limit=2, unit=2))
    assert costs.usual_parts == 1


@pytest.mark.parametrize("limit", [1, 16])
def test_with_one_thread_every_pass_is_whole(limit):
    choices = feed(DividedPassCosts(threads=1), THREADS_WAIT, 50, limit=limit)

    assert {choice.division for choice in choices} == {WHOLE}


def test_each_part_has_at_least_one_image_and_no_pass_exceeds_what_waits():
    costs = DividedPassCosts(threads=8)
    true = {division: seconds_by(0.02, 0.02) for division in list_divisions(8)}
    for limit in (4, 6, 14, 30):
        for choice in feed(costs, true, 40, limit=limit, unit=2):
            assert choice.division.parts * 2 <= choice.size <= limit


def test_more_parts_are_tried_only_where_fewer_have_paid():
    costs = DividedPassCosts(threads=4)
    true = {division: seconds_by(0.01, 0.01 if division == WHOLE else 0.1) for division in list_divisions(4)}

    assert QUARTERS not in {choice.division for choice in feed(costs, true, 60)}


def test_what_was_slow_is_tried_again_rarely_and_used_once_it_is_quick():
    costs = DividedPassCosts(threads=2)
    feed(costs, THREADS_PAY, 2 * RETRY_AFTER_PASSES)
    tried = [choice.division for choice in feed(costs, THREADS_PAY, 4 * RETRY_AFTER_PASSES)]
    feed(costs, OTHERS_COMPUTE, 4 * RETRY_AFTER_PASSES)

    assert tried.count(WHOLE) >= 0.9 * len(tried)
    assert costs.choose(16).division == HALVES


def test_the_next_process_starts_with_what_this_one_learned():
    costs = DividedPassCosts(threads=2)
    feed(costs, THREADS_WAIT, 100)
    following = DividedPassCosts(threads=2, known=costs.measured_points())

    assert following.choose(16).division == HALVES
    assert following.predict_seconds(16) == pytest.approx(costs.predict_seconds(16), rel=0.01)


def test_costs_of_divisions_that_this_machine_lacks_are_ignored():
    known = {"pass": [CostPoint(1, 0.1, MIN_SAMPLES)], "pass 8x4": [CostPoint(16, 0.01, MIN_SAMPLES)]}

    assert DividedPassCosts(threads=1, known=known).predict_seconds(1) == pytest.approx(0.1)


def test_the_cost_of_one_image_is_not_that_of_divided_passes():
    costs = DividedPassCosts(threads=2)
    for _ in range(MIN_SAMPLES + 1):
        costs.record_pass(2, 1.0)
        costs.record_pass(4, 1.0, HALVES)

    assert costs.predict_seconds(2, unit=2) == pytest.approx(1.0)
    assert costs.predict_seconds(4, unit=2) == pytest.approx(1.0)


def test_a_division_that_is_many_times_as_slow_is_given_up_after_two_passes():
    costs = DividedPassCosts(threads=2)
    true = OTHERS_COMPUTE | {WHOLE: seconds_by(3.0, 0.4)}
    choices = [choice.division for choice in feed(costs, true, 100)]

    assert choices.count(WHOLE) == 2
