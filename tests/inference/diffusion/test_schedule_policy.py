"""Which sequences owner the next pass: pure, so every order of events can be tested."""

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


def test_a_sequence_that_waited_too_long_goes_before_all_others_longest_wait_first():
    sequences = [
        make_sequence(1, steps_left=1),
        make_sequence(2, owner="greedy", passes_waited=MAX_WAIT_PASSES, steps_left=150),
        make_sequence(3, owner="greedy", passes_waited=MAX_WAIT_PASSES + 1, steps_left=150),
    ]

    assert ids(order_sequences(sequences)) == [3, 2, 1]


def test_a_newcomer_waits_for_one_sequence_that_waited_too_long_at_most():
    greedy = [make_sequence(n, owner="greedy", passes_waited=MAX_WAIT_PASSES + n) for n in range(6)]
    newcomer = [make_sequence(n, owner="new", steps_left=9, is_new=True) for n in (8, 9)]

    assert ids(order_sequences([*greedy, *newcomer])) == [5, 8, 4, 3, 2, 1, 0, 9]


def test_who_has_an_image_in_flight_is_no_newcomer():
    greedy = [make_sequence(n, owner="greedy", passes_waited=MAX_WAIT_PASSES) for n in range(3)]
    further = make_sequence(9, owner="greedy", steps_left=1, is_new=True)

    assert ids(order_sequences([*greedy, further])) == [0, 1, 2, 9]


@pytest.mark.parametrize("max_tokens", [2, 3, 8])
def test_beside_one_persons_fourteen_images_a_newcomers_first_step_is_in_the_next_pass(max_tokens):
    for arrives_after in range(0, 60, 7):
        waiting = {n: make_sequence(n, owner="greedy", steps_left=200, tokens=1) for n in range(14)}
        for _ in range(arrives_after):
            waiting = after_pass(waiting, set(ids(select_batch(waiting.values(), lambda _: max_tokens))))
        waiting |= {n: make_sequence(n, owner=f"new {n}", tokens=1, is_new=True) for n in (50,)}

        assert 50 in ids(select_batch(waiting.values(), lambda _: max_tokens))


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
    waiting = {
        n: make_sequence(n, steps_left=left, owner=owners[n], batch_key=keys[n], tokens=1)
        for n, left in enumerate(steps)
    }
    passes = 0
    while any(n < len(steps) for n in waiting):
        passes += 1
        if len(waiting) < MAX_IN_FLIGHT:
            waiting[1000 + passes] = make_sequence(
                1000 + passes, steps_left=1, tokens=1, batch_key="small", is_new=True
            )
        waiting = after_pass(waiting, set(ids(select_batch(waiting.values(), lambda _: max_tokens))))

        assert max((one.passes_waited for one in waiting.values()), default=0) <= MAX_WAIT_PASSES + MAX_IN_FLIGHT


def after_pass(waiting: dict[int, WaitingSequence], batch: set) -> dict[int, WaitingSequence]:
    assert batch
    stepped = {
        n: replace(one, steps_left=one.steps_left - 1, passes_waited=0, is_new=False)
        if n in batch
        else replace(one, passes_waited=one.passes_waited + 1)
        for n, one in waiting.items()
    }
    return {n: one for n, one in stepped.items() if one.steps_left}
