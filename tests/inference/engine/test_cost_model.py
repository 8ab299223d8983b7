"""The saturation point is found from production passes, for any cost curve, and every pass has at least one row."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cost_curve import CostCurve, CostPoint
from inference.engine.cost_model import MIN_SAMPLES, RETRY_AFTER_PASSES, PassCostModel


def curve(first_s, *gains):
    """Seconds of a pass of 1, 2, 4, 8 and 16 rows, from how much faster a row of it is."""
    sizes = [2**power for power in range(len(gains) + 1)]
    return CostCurve([CostPoint(size, first_s * size / gain) for size, gain in zip(sizes, (1.0, *gains), strict=True)])


# Measured: small and large UNets on one CPU core; batching of a large model on a GPU (sglang#22183).
OVERHEAD_BOUND = curve(0.0316, 1.73, 2.38, 2.97, 2.77)
HALF_AND_HALF = curve(0.0577, 1.19, 1.33, 1.32, 1.37)
COMPUTE_BOUND = curve(0.155, 1.21, 1.25, 1.47, 1.28)
SATURATED = curve(0.5, 1.02, 1.02)


def feed(model, true, passes, *, limit=64, unit=1, noise=0.0, seed=1):
    """Make passes of the sizes that the model chooses; returns the sizes."""
    rng = random.Random(seed)
    sizes = []
    for _ in range(passes):
        sizes.append(model.best_size(limit, unit))
        model.record_pass(sizes[-1], true.seconds(sizes[-1]) * (1 + rng.uniform(-noise, noise)))
    return sizes


def measured(*points, times=MIN_SAMPLES + 1):
    model = PassCostModel()
    for size, seconds in points:
        for _ in range(times):
            model.record_pass(size, seconds)
    return model


@pytest.mark.parametrize(
    ("true", "saturation"), [(OVERHEAD_BOUND, 8), (HALF_AND_HALF, 3), (COMPUTE_BOUND, 8), (SATURATED, 1)]
)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_it_settles_at_the_saturation_point(true, saturation, noise):
    model = PassCostModel()
    feed(model, true, 60, noise=noise)
    later = feed(model, true, 300, noise=noise)

    assert later.count(saturation) >= 0.95 * len(later)


def test_the_saturation_point_is_found_within_a_few_jobs():
    sizes = feed(PassCostModel(), COMPUTE_BOUND, 60)

    assert sizes.count(8) >= 25


def test_a_guided_pair_of_rows_is_never_split():
    model = PassCostModel()
    sizes = feed(model, OVERHEAD_BOUND, 100, unit=2)

    assert all(size % 2 == 0 for size in sizes)
    assert sizes[-1] == 8


def test_the_next_size_fits_at_least_one_more_unit():
    model = measured((1000, 1.0))

    assert model.best_size(64_000, 1300) >= 1000 + 1300


def test_sizes_may_be_tokens():
    tokens = CostCurve(
        [CostPoint(point, OVERHEAD_BOUND.seconds(point / 4096)) for point in range(4096, 16 * 4096 + 1, 4096)]
    )
    model = PassCostModel()
    feed(model, tokens, 80, limit=64 * 4096, unit=4096)

    assert model.best_size(64 * 4096, 4096) == 8 * 4096


def test_the_number_of_measured_sizes_stays_bounded():
    model, rng = PassCostModel(), random.Random(1)
    for _ in range(5000):
        tokens = rng.randrange(1000, 100_000)
        model.record_pass(tokens, tokens * 1e-6)

    assert len(model.measured_points()) < 70
    assert model.predict_seconds(50_000) == pytest.approx(0.05, rel=0.02)


def test_a_larger_size_is_only_tried_when_enough_rows_are_waiting():
    assert measured((1, 1.0)).best_size(1) == 1
    assert measured((1, 1.0)).best_size(7) == 2


def test_the_first_pass_of_a_size_is_a_warm_up_and_does_not_count():
    model = PassCostModel()
    model.record_pass(1, 60.0)

    assert model.predict_seconds(1) is None
    model.record_pass(1, 1.0)
    assert model.predict_seconds(1) == 1.0


def test_a_single_outlier_hardly_counts():
    model = measured((1, 1.0), times=41)

    model.record_pass(1, 1000.0)

    assert model.predict_seconds(1) == pytest.approx(1.0 + 4 / 20)


def test_a_pass_of_a_suspended_machine_is_limited_if_it_is_the_first_that_counts():
    model = measured((1, 1.0), times=1)

    model.record_pass(1, 10_000.0)

    assert model.predict_seconds(1) == pytest.approx(5.0)


def test_absurd_costs_of_an_earlier_process_are_forgotten_after_two_passes():
    model = PassCostModel([CostPoint(1, 10_000.0)])
    for _ in range(2):
        model.record_pass(1, 1.0)

    assert model.predict_seconds(1) == 1.0


def test_a_size_with_an_absurd_cost_is_used_again_after_one_retry():
    model = PassCostModel([CostPoint(1, 1.0), CostPoint(2, 10_000.0)])
    sizes = feed(model, OVERHEAD_BOUND, 3 * RETRY_AFTER_PASSES, limit=8)

    assert sizes[-1] == 8


def test_the_model_follows_a_device_that_becomes_slower():
    model = measured((1, 1.0), times=200)
    for _ in range(60):
        model.record_pass(1, 2.0)

    assert model.predict_seconds(1) == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0])
def test_an_invalid_duration_is_ignored(seconds):
    model = measured((1, 1.0))

    model.record_pass(1, seconds)

    assert model.predict_seconds(1) == 1.0


def test_a_worse_size_is_measured_again_but_rarely():
    model = PassCostModel()
    feed(model, COMPUTE_BOUND, 80)
    sizes = feed(model, COMPUTE_BOUND, 10 * RETRY_AFTER_PASSES)

    assert 5 * MIN_SAMPLES <= sum(size > 8 for size in sizes) <= 10 * MIN_SAMPLES


def test_a_size_that_was_only_worse_once_is_used_in_the_end():
    model = measured((1, 1.0), (2, 1.2), (3, 3.6))
    assert model.best_size(8) == 2

    sizes = feed(model, curve(1.0, 1.73, 2.38, 2.97, 2.77), 10 * RETRY_AFTER_PASSES)

    assert sizes[-1] == 8


def test_a_new_process_starts_from_earlier_measurements():
    model = PassCostModel()
    feed(model, COMPUTE_BOUND, 80)
    restarted = PassCostModel(model.measured_points())

    assert restarted.best_size(64) == model.best_size(64) == 8
    assert restarted.predict_seconds(5) == pytest.approx(model.predict_seconds(5))


def test_invalid_stored_measurements_are_ignored():
    assert PassCostModel([CostPoint(0, 1.0), CostPoint(1, float("nan")), CostPoint(2, -1.0)]).measured_points() == []


@settings(deadline=None, max_examples=40)
@given(
    fixed=st.floats(0.0, 1.0),
    bend=st.integers(1, 32),
    steep=st.floats(1.0, 3.0),
    noise=st.floats(0.0, 0.3),
    limits=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    unit=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_a_pass_has_at_least_one_unit_and_never_more_than_is_waiting(fixed, bend, steep, noise, limits, unit, seed):
    """For any curve, noise and demand."""
    model, rng = PassCostModel(), random.Random(seed)
    for number in range(120):
        limit = limits[number % len(limits)]
        size = model.best_size(limit, unit)
        assert min(limit, unit) <= size <= limit
        seconds = fixed + 0.01 * size + 0.01 * (steep - 1) * max(0, size - bend)
        model.record_pass(size, seconds * (1 + rng.uniform(-noise, noise)))


@settings(deadline=None, max_examples=40)
@given(fixed=st.floats(0.0, 20.0), bend=st.integers(2, 32))
def test_the_final_size_has_about_the_lowest_cost_per_row(fixed, bend):
    """A fixed cost, a cost per row, and rows that cost three times as much beyond the saturation point."""

    def cost_per_row(size):
        return (fixed + size + 2 * max(0, size - bend)) / size

    model = PassCostModel()
    sizes = []
    for _ in range(120):
        sizes.append(model.best_size(32))
        model.record_pass(sizes[-1], cost_per_row(sizes[-1]) * sizes[-1])

    best_s = min(cost_per_row(size) for size in range(1, 33))
    # Sizes are half a doubling apart, and a doubling that saves less than 3 % is not used.
    assert cost_per_row(sizes[-1]) <= best_s * 1.25
