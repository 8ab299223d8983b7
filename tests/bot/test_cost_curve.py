from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cost_curve import FIXED_SHARE, CostCurve, CostPoint

MEASURED = CostCurve([CostPoint(1, 1.0), CostPoint(2, 1.2), CostPoint(4, 1.6), CostPoint(8, 3.2)])

points = st.lists(
    st.builds(
        CostPoint,
        size=st.integers(1, 10_000).map(float),
        seconds=st.floats(1e-4, 1e3),
        samples=st.integers(1, 100).map(float),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda point: point.size,
)


def test_a_measured_size_costs_what_was_measured():
    assert [MEASURED.seconds(size) for size in (1, 2, 4, 8)] == [1.0, 1.2, 1.6, 3.2]


def test_between_two_sizes_it_is_straight():
    assert MEASURED.seconds(3) == pytest.approx(1.4)


def test_beyond_the_largest_size_the_slope_of_the_last_doubling_applies():
    assert MEASURED.seconds(12) == pytest.approx(3.2 + 4 * 0.4)


def test_below_the_smallest_size_the_slope_of_the_first_doubling_applies():
    assert CostCurve([CostPoint(2, 1.0), CostPoint(4, 1.5)]).seconds(1) == pytest.approx(0.75)


def test_from_one_size_others_are_estimated_with_a_fixed_share():
    curve = CostCurve([CostPoint(4, 1.0)])

    assert curve.seconds(8) == pytest.approx(FIXED_SHARE + 2 * (1 - FIXED_SHARE))
    assert curve.seconds(1) == pytest.approx(FIXED_SHARE + (1 - FIXED_SHARE) / 4)


def test_falling_neighbours_are_averaged_by_their_samples():
    curve = CostCurve([CostPoint(1, 1.3, samples=1), CostPoint(2, 1.0, samples=2), CostPoint(4, 2.0)])

    assert curve.seconds(1) == curve.seconds(2) == pytest.approx(1.1)
    assert curve.seconds(4) == 2.0


def test_many_rows_take_turns_in_passes_of_the_size_that_pays():
    curve = CostCurve([CostPoint(1, 1.0), CostPoint(4, 2.0), CostPoint(8, 8.0)])

    assert curve.batched_s(4) == 2.0
    assert curve.batched_s(8) == 4.0
    assert curve.batched_s(16) == 8.0


def test_rows_are_not_cut_to_make_smaller_passes():
    falling = CostCurve([CostPoint(1, 1.0), CostPoint(2, 4.0)])

    assert falling.batched_s(4, row=2) == 8.0


def test_a_curve_without_a_point_is_refused():
    with pytest.raises(ValueError, match="a point"):
        CostCurve([])


@settings(max_examples=50)
@given(points, st.lists(st.floats(0.5, 20_000), min_size=2, max_size=20))
def test_more_never_costs_less_and_nothing_is_free(measured, sizes):
    curve = CostCurve(measured)
    costs = [curve.seconds(size) for size in sorted(sizes)]

    assert all(cost > 0 for cost in costs)
    assert all(later >= earlier - 1e-9 * earlier for earlier, later in pairwise(costs))


@settings(max_examples=50)
@given(points, st.integers(1, 200))
def test_sharing_is_never_slower_than_one_pass_for_all(measured, size):
    curve = CostCurve(measured)

    assert curve.batched_s(size) <= curve.seconds(size) + 1e-9
