"""Which rows step next: pure, so every order of events can be tried."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.diffusion.schedule_policy import PATIENCE, Waiting, choose, rank


def make_row(id: int, **overrides) -> Waiting:
    fields: dict[str, Any] = {"share": f"person {id}", "key": "64x64", "tokens": 64, "steps_left": 20}
    return Waiting(id=id, **(fields | {"waited": 0, "order": id} | overrides))


def ids(rows: Sequence[Waiting]) -> list:
    return [row.id for row in rows]


def test_the_shortest_remaining_goes_first():
    rows = [make_row(1, steps_left=20), make_row(2, steps_left=4), make_row(3, steps_left=9)]

    assert ids(rank(rows)) == [2, 3, 1]


def test_what_remains_is_counted_in_tokens():
    large = make_row(1, steps_left=5, tokens=640)
    small = make_row(2, steps_left=20, tokens=64)

    assert ids(rank([large, small])) == [2, 1]


def test_nobodys_second_picture_goes_before_somebodys_first():
    rows = [make_row(n, share="greedy", steps_left=2) for n in range(3)] + [make_row(9, share="patient", steps_left=50)]

    assert ids(rank(rows)) == [0, 9, 1, 2]


def test_a_pass_waited_counts_like_a_step_made():
    rows = [make_row(1, steps_left=10, waited=8), make_row(2, steps_left=4)]

    assert ids(rank(rows)) == [1, 2]


def test_whoever_waited_too_long_goes_before_all_the_longest_waiting_first():
    rows = [
        make_row(1, steps_left=1),
        make_row(2, share="greedy", waited=PATIENCE, steps_left=150),
        make_row(3, share="greedy", waited=PATIENCE + 1, steps_left=150),
    ]

    assert ids(rank(rows)) == [3, 2, 1]


def test_a_pass_takes_rows_of_one_key_up_to_the_cap():
    rows = [make_row(n, steps_left=n + 1) for n in range(5)] + [make_row(9, key="other", steps_left=2)]

    assert ids(choose(rows, lambda _: 64 * 3)) == [0, 1, 2]


def test_a_row_larger_than_the_cap_steps_alone():
    assert ids(choose([make_row(1, tokens=1000), make_row(2, tokens=1000)], lambda _: 64)) == [1]


def test_the_cap_is_asked_once_with_those_that_could_share():
    asked = []

    def cap(rivals: Sequence[Waiting]) -> int:
        asked.append(ids(rivals))
        return 64

    choose([make_row(1, steps_left=3), make_row(2, steps_left=2), make_row(3, key="other", steps_left=9)], cap)

    assert asked == [[2, 1]]


def test_without_rows_nothing_is_chosen():
    assert choose([], lambda _: 64) == []


ROOM = 16
"""Rows that an engine has in flight."""


@given(
    steps=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    shares=st.lists(st.sampled_from("abc"), min_size=8, max_size=8),
    keys=st.lists(st.sampled_from(["small", "large"]), min_size=8, max_size=8),
    cap=st.integers(1, 4),
)
@settings(max_examples=30)
def test_no_row_starves_whoever_comes_after_it(steps, shares, keys, cap):
    """Somebody new with a single step comes whenever there is room: the worst that can be done to the others."""
    rows = {n: make_row(n, steps_left=left, share=shares[n], key=keys[n], tokens=1) for n, left in enumerate(steps)}
    passes = 0
    while any(n < len(steps) for n in rows):
        passes += 1
        if len(rows) < ROOM:
            rows[1000 + passes] = make_row(1000 + passes, steps_left=1, tokens=1, key="small")
        rows = after_pass(rows, {row.id for row in choose(rows.values(), lambda _: cap)})

        assert max((row.waited for row in rows.values()), default=0) <= PATIENCE + ROOM


def after_pass(rows: dict[int, Waiting], chosen: set) -> dict[int, Waiting]:
    assert chosen
    stepped = {
        n: replace(row, steps_left=row.steps_left - 1, waited=0) if n in chosen else replace(row, waited=row.waited + 1)
        for n, row in rows.items()
    }
    return {n: row for n, row in stepped.items() if row.steps_left}
