"""Which sequences owner the next pass: pure, so every order of events can be tested."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.diffusion.schedule_policy import MAX_WAIT_PASSES, WaitingSequence, order_sequences, select_batch


def make_sequence(id: int, **overrides) -> WaitingSequence:
    fields: dict[str, Any] = {"owner": f"person {id}", "batch_key": "64x64", "tokens": 64, "steps_left": 20}
    return WaitingSequence(id=id, **(fields | {"passes_waited": 0, "arrival": id} | overrides))


def ids(sequences: Sequence[WaitingSequence]) -> list:
    return [sequence.id for sequence in sequences]


def test_the_shortest_remaining_goes_first():
    sequences = [make_sequence(1, steps_left=20), make_sequence(2, steps_left=4), make_sequence(3, steps_left=9)]

    assert ids(order_sequences(sequences)) == [2, 3, 1]


def test_what_remains_is_counted_in_tokens():
    large = make_sequence(1, steps_left=5, tokens=640)
    small = make_sequence(2, steps_left=20, tokens=64)

    assert ids(order_sequences([large, small])) == [2, 1]


def test_everyones_first_image_goes_before_anyones_second():
    greedy = [make_sequence(n, owner="greedy", steps_left=2) for n in range(3)]
    patient = make_sequence(9, owner="patient", steps_left=50)

    assert ids(order_sequences([*greedy, patient])) == [0, 9, 1, 2]


def test_a_pass_waited_counts_like_a_step_made():
    sequences = [make_sequence(1, steps_left=10, passes_waited=8), make_sequence(2, steps_left=4)]

    assert ids(order_sequences(sequences)) == [1, 2]


def test_one_sequence_that_waited_too_long_leads_every_other_pass_longest_wait_first():
    sequences = [
        make_sequence(1, steps_left=1),
        make_sequence(2, owner="greedy", passes_waited=MAX_WAIT_PASSES, steps_left=150),
        make_sequence(3, owner="greedy", passes_waited=MAX_WAIT_PASSES + 1, steps_left=150),
        make_sequence(4, owner="greedy", passes_waited=MAX_WAIT_PASSES + 2, steps_left=150),
        make_sequence(5, owner="greedy", steps_left=140),
    ]

    assert ids(order_sequences(sequences)) == [1, 5, 4, 3, 2]
    assert ids(order_sequences(sequences, 1)) == [4, 1, 5, 3, 2]


def test_a_newcomer_waits_for_one_sequence_that_waited_too_long_at_most():
    greedy = [make_sequence(n, owner="greedy", passes_waited=MAX_WAIT_PASSES + n) for n in range(6)]
    newcomer = [make_sequence(n, owner="new", steps_left=9, is_new=True) for n in (8, 9)]

    assert ids(order_sequences([*greedy, *newcomer])) == [8, 0, 5, 4, 3, 2, 1, 9]
    assert ids(order_sequences([*greedy, *newcomer], 1)) == [8, 0, 5, 4, 3, 2, 1, 9]
    assert ids(order_sequences([*greedy, *newcomer], 2)) == [5, 8, 0, 4, 3, 2, 1, 9]


def test_who_has_an_image_in_flight_is_no_newcomer():
    greedy = [make_sequence(n, owner="greedy", passes_waited=MAX_WAIT_PASSES) for n in range(3)]
    further = make_sequence(9, owner="greedy", steps_left=2, is_new=True)

    assert ids(order_sequences([*greedy, further, make_sequence(4, steps_left=1)])) == [4, 9, 0, 1, 2]


class Passes:
    """Passes of at most so many tokens, one after another."""

    def __init__(self, waiting: Sequence[WaitingSequence], max_tokens: int) -> None:
        self.waiting: dict[Any, WaitingSequence] = {one.id: one for one in waiting}
        self._max_tokens, self._without_overdue = max_tokens, 0

    def make(self) -> list:
        """The sequences of the next pass."""
        batch = ids(select_batch(self.waiting.values(), lambda _: self._max_tokens, self._without_overdue))
        waits = {n: one.passes_waited for n, one in self.waiting.items()}
        is_served = max(waits.values()) in (waits[batch[0]], *range(MAX_WAIT_PASSES))
        self._without_overdue = 0 if is_served else self._without_overdue + 1
        stepped = {
            n: replace(one, steps_left=one.steps_left - 1, passes_waited=0, is_new=False)
            if n in batch
            else replace(one, passes_waited=one.passes_waited + 1)
            for n, one in self.waiting.items()
        }
        self.waiting = {n: one for n, one in stepped.items() if one.steps_left}
        return batch


@pytest.mark.parametrize("images", [14, 56])
@pytest.mark.parametrize("batch_key", ["64x64", "another size"])
@pytest.mark.parametrize("max_tokens", [1, 2, 3, 8])
def test_beside_one_persons_many_images_a_newcomer_is_served_from_the_next_pass_on(max_tokens, batch_key, images):
    for arrives_after in range(0, 60, 7):
        passes = Passes([make_sequence(n, owner="greedy", steps_left=200, tokens=1) for n in range(images)], max_tokens)
        for _ in range(arrives_after):
            passes.make()
        passes.waiting[99] = make_sequence(99, tokens=1, steps_left=10, is_new=True, batch_key=batch_key)
        taken = 0

        assert 99 in passes.make()
        while 99 in passes.waiting:
            passes.make()
            taken += 1
        assert taken <= 2 * 9 + MAX_WAIT_PASSES  # its share is half


def test_a_pass_has_sequences_of_one_key_within_the_token_budget():
    same = [make_sequence(n, steps_left=n + 1) for n in range(5)]
    other = make_sequence(9, batch_key="other", steps_left=2)

    assert ids(select_batch([*same, other], lambda _: 64 * 3)) == [0, 1, 2]


def test_a_sequence_larger_than_the_token_budget_steps_alone():
    assert ids(select_batch([make_sequence(1, tokens=1000), make_sequence(2, tokens=1000)], lambda _: 64)) == [1]


def test_the_token_budget_is_computed_once_from_all_candidates():
    calls = []

    def max_tokens(candidates: Sequence[WaitingSequence]) -> int:
        calls.append(ids(candidates))
        return 64

    waiting = [make_sequence(1, steps_left=3), make_sequence(2, steps_left=2)]
    select_batch([*waiting, make_sequence(3, batch_key="other", steps_left=9)], max_tokens)

    assert calls == [[2, 1]]


def test_without_sequences_the_batch_is_empty():
    assert select_batch([], lambda _: 64) == []


MAX_IN_FLIGHT = 16
"""Sequences that an engine has in flight."""


@given(
    steps=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    owners=st.lists(st.sampled_from("abc"), min_size=8, max_size=8),
    keys=st.lists(st.sampled_from(["small", "large"]), min_size=8, max_size=8),
    max_tokens=st.integers(1, 4),
)
@settings(max_examples=30)
def test_no_sequence_starves_whatever_arrives_after_it(steps, owners, keys, max_tokens):
    """The worst case for the others: a new user with a single step arrives whenever a slot is free."""
    passes = Passes(
        [
            make_sequence(n, steps_left=left, owner=owners[n], batch_key=keys[n], tokens=1)
            for n, left in enumerate(steps)
        ],
        max_tokens,
    )
    arrivals = itertools.count(1000)
    while any(n < len(steps) for n in passes.waiting):
        if len(passes.waiting) < MAX_IN_FLIGHT:
            new = next(arrivals)
            passes.waiting[new] = make_sequence(new, steps_left=1, tokens=1, batch_key="small", is_new=True)

        assert passes.make()
        waits = (one.passes_waited for one in passes.waiting.values())
        assert max(waits, default=0) <= MAX_WAIT_PASSES + 3 * MAX_IN_FLIGHT
