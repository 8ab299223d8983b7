"""Scheduling policy of the step loop: which image sequences share the next pass. Pure.

Every user's first image goes before anyone's second; then the shortest remaining time goes first, with each pass
waited counting as a step done. Sequences that waited `MAX_WAIT_PASSES` go before all others, longest wait first,
so with N sequences in flight none waits more than MAX_WAIT_PASSES + N passes, whatever else arrives. Only one of them
goes before a newcomer, a user none of whose images has had a pass: one person's many images hold up nobody's first
step.

Source: shortest remaining time first (Schrage 1968), with ageing to keep long jobs from starving.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

MAX_WAIT_PASSES = 16


@dataclass(frozen=True, kw_only=True)
class WaitingSequence:
    """A sequence that is ready for its next pass.

    Attributes:
        owner: fairness key of the user.
        batch_key: sequences with the same key may share a pass.
        tokens: cost of its part of a pass.
        steps_left: passes it still needs.
        passes_waited: passes made without it since its last one.
        arrival: increases with each new sequence.
        is_new: it has had no pass yet.
    """

    id: Hashable
    owner: str
    batch_key: Hashable
    tokens: int
    steps_left: int
    passes_waited: int
    arrival: int
    is_new: bool = False


def select_batch(
    sequences: Iterable[WaitingSequence], max_tokens: Callable[[Sequence[WaitingSequence]], int]
) -> list[WaitingSequence]:
    """The sequences of the next pass: all with one key, at least one, otherwise within the token budget.

    `max_tokens` gets all sequences of that key, in scheduling order.
    """
    ordered = order_sequences(list(sequences))
    candidates = [sequence for sequence in ordered if sequence.batch_key == ordered[0].batch_key]
    return take_within(candidates, max_tokens(candidates)) if candidates else []


def take_within(candidates: Sequence[WaitingSequence], budget: int) -> list[WaitingSequence]:
    """Those that fit into a pass of so many tokens, at least the first."""
    batch: list[WaitingSequence] = []
    tokens = 0
    for sequence in candidates:
        if not batch or tokens + sequence.tokens <= budget:
            batch.append(sequence)
            tokens += sequence.tokens
    return batch


def order_sequences(sequences: Sequence[WaitingSequence]) -> list[WaitingSequence]:
    """In scheduling order, the next one first."""
    ranks = _ranks_within_owner(sequences)
    known = {sequence.owner for sequence in sequences if not sequence.is_new}

    def priority(sequence: WaitingSequence) -> tuple[int, int, int, int]:
        if sequence.passes_waited >= MAX_WAIT_PASSES:
            return (1, 0, -sequence.passes_waited, sequence.arrival)
        remaining = (sequence.steps_left - sequence.passes_waited) * sequence.tokens
        if sequence.owner not in known and not ranks[sequence.id]:
            return (0, 0, remaining, sequence.arrival)
        return (2, ranks[sequence.id], remaining, sequence.arrival)

    ordered = sorted(sequences, key=priority)
    overdue = next((one for one in ordered if one.passes_waited >= MAX_WAIT_PASSES), None)
    return ordered if overdue is None else [overdue, *(one for one in ordered if one is not overdue)]


def _ranks_within_owner(sequences: Sequence[WaitingSequence]) -> dict[Hashable, int]:
    """Each sequence's rank among those of its owner, the one closest to its end first."""
    by_owner: dict[str, list[WaitingSequence]] = defaultdict(list)
    for sequence in sequences:
        by_owner[sequence.owner].append(sequence)
    ranks: dict[Hashable, int] = {}
    for owned in by_owner.values():
        owned.sort(key=lambda sequence: (sequence.steps_left * sequence.tokens, sequence.arrival))
        ranks |= {sequence.id: rank for rank, sequence in enumerate(owned)}
    return ranks
