"""The knee is found by passes that are made anyway, whatever the curve, and nothing waits for ever meanwhile."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.cost_curve import Curve, Point
from inference.engine.cost_model import ENOUGH, LOOK_EVERY, CostTable


def curve(first_s, *gains):
    """Seconds of a pass of 1, 2, 4, 8 and 16 rows, from how much faster a row of it is."""
    sizes = [2**power for power in range(len(gains) + 1)]
    return Curve([Point(size, first_s * size / gain) for size, gain in zip(sizes, (1.0, *gains), strict=True)])


# Measured: small and large UNets on one CPU core; batching of a large model on a GPU (sglang#22183).
OVERHEAD_BOUND = curve(0.0316, 1.73, 2.38, 2.97, 2.77)
HALF_AND_HALF = curve(0.0577, 1.19, 1.33, 1.32, 1.37)
COMPUTE_BOUND = curve(0.155, 1.21, 1.25, 1.47, 1.28)
SATURATED = curve(0.5, 1.02, 1.02)


def feed(table, true, passes, *, limit=64, unit=1, noise=0.0, seed=1):
    """Make passes as large as the table says; their sizes."""
    chance = random.Random(seed)
    sizes = []
    for _ in range(passes):
        sizes.append(table.cap(limit, unit))
        table.learn(sizes[-1], true.seconds(sizes[-1]) * (1 + chance.uniform(-noise, noise)))
    return sizes


def learned(*points, times=ENOUGH + 1):
    table = CostTable()
    for size, seconds in points:
        for _ in range(times):
            table.learn(size, seconds)
    return table


@pytest.mark.parametrize(
    ("true", "knee"), [(OVERHEAD_BOUND, 8), (HALF_AND_HALF, 3), (COMPUTE_BOUND, 8), (SATURATED, 1)]
)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_it_settles_at_the_knee(true, knee, noise):
    table = CostTable()
    feed(table, true, 60, noise=noise)
    later = feed(table, true, 300, noise=noise)

    assert later.count(knee) >= 0.95 * len(later)


def test_the_knee_is_found_within_a_few_jobs():
    sizes = feed(CostTable(), COMPUTE_BOUND, 60)

    assert sizes.count(8) >= 25


def test_a_row_that_needs_guidance_is_never_halved():
    table = CostTable()
    sizes = feed(table, OVERHEAD_BOUND, 100, unit=2)

    assert all(size % 2 == 0 for size in sizes)
    assert sizes[-1] == 8


def test_the_next_size_has_room_for_one_row_more_whatever_the_sizes():
    table = learned((1000, 1.0))

    assert table.cap(64_000, 1300) >= 1000 + 1300


def test_sizes_may_be_tokens():
    tokens = Curve([Point(point, OVERHEAD_BOUND.seconds(point / 4096)) for point in range(4096, 16 * 4096 + 1, 4096)])
    table = CostTable()
    feed(table, tokens, 80, limit=64 * 4096, unit=4096)

    assert table.cap(64 * 4096, 4096) == 8 * 4096


def test_tokens_in_any_number_do_not_make_a_table_without_end():
    table, chance = CostTable(), random.Random(1)
    for _ in range(5000):
        tokens = chance.randrange(1000, 100_000)
        table.learn(tokens, tokens * 1e-6)

    assert len(table.measured()) < 70
    assert table.seconds(50_000) == pytest.approx(0.05, rel=0.02)


def test_one_row_more_is_tried_only_when_it_waits():
    assert learned((1, 1.0)).cap(1) == 1
    assert learned((1, 1.0)).cap(7) == 2


def test_the_first_pass_of_a_size_warms_up_and_does_not_count():
    table = CostTable()
    table.learn(1, 60.0)

    assert table.seconds(1) is None
    table.learn(1, 1.0)
    assert table.seconds(1) == 1.0


def test_one_pass_that_was_held_up_hardly_counts():
    table = learned((1, 1.0), times=41)

    table.learn(1, 1000.0)

    assert table.seconds(1) == pytest.approx(1.0 + 4 / 20)


def test_a_device_that_became_slower_is_followed():
    table = learned((1, 1.0), times=200)
    for _ in range(60):
        table.learn(1, 2.0)

    assert table.seconds(1) == pytest.approx(2.0, rel=0.06)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0])
def test_an_impossible_time_is_not_learned(seconds):
    table = learned((1, 1.0))

    table.learn(1, seconds)

    assert table.seconds(1) == 1.0


def test_a_size_that_was_worse_is_looked_at_again_but_rarely():
    table = CostTable()
    feed(table, COMPUTE_BOUND, 80)
    sizes = feed(table, COMPUTE_BOUND, 10 * LOOK_EVERY)

    assert 5 * ENOUGH <= sum(size > 8 for size in sizes) <= 10 * ENOUGH


def test_a_size_that_was_worse_only_once_is_used_in_the_end():
    table = learned((1, 1.0), (2, 1.2), (3, 3.6))
    assert table.cap(8) == 2

    sizes = feed(table, curve(1.0, 1.73, 2.38, 2.97, 2.77), 10 * LOOK_EVERY)

    assert sizes[-1] == 8


def test_a_new_process_goes_on_where_the_last_one_was():
    table = CostTable()
    feed(table, COMPUTE_BOUND, 80)
    again = CostTable(table.measured())

    assert again.cap(64) == table.cap(64) == 8
    assert again.seconds(5) == pytest.approx(table.seconds(5))


def test_noise_in_what_was_kept_is_left_out():
    assert CostTable([Point(0, 1.0), Point(1, float("nan")), Point(2, -1.0)]).measured() == []


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
def test_at_least_one_row_is_always_let_in_and_never_more_than_wait(fixed, bend, steep, noise, limits, unit, seed):
    """Whatever the curve, the noise and the demand."""
    table, chance = CostTable(), random.Random(seed)
    for number in range(120):
        limit = limits[number % len(limits)]
        size = table.cap(limit, unit)
        assert min(limit, unit) <= size <= limit
        seconds = fixed + 0.01 * size + 0.01 * (steep - 1) * max(0, size - bend)
        table.learn(size, seconds * (1 + chance.uniform(-noise, noise)))


@settings(deadline=None, max_examples=40)
@given(fixed=st.floats(0.0, 20.0), bend=st.integers(2, 32))
def test_the_pass_settled_at_is_about_as_cheap_by_the_row_as_any(fixed, bend):
    """A fixed part, one row's cost, and rows that cost thrice as much beyond what the device takes well."""

    def each_s(size):
        return (fixed + size + 2 * max(0, size - bend)) / size

    table = CostTable()
    sizes = []
    for _ in range(120):
        sizes.append(table.cap(32))
        table.learn(sizes[-1], each_s(sizes[-1]) * sizes[-1])

    best_s = min(each_s(size) for size in range(1, 33))
    # Rungs lie half a doubling apart, and a doubling that saves under 3 % is not made.
    assert each_s(sizes[-1]) <= best_s * 1.25
