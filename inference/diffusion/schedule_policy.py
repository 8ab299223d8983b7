"""Scheduling policy of the step loop: which image sequences share the next pass. Pure.

Every user's first image goes before anyone's second; then the shortest remaining time goes first, with each pass
waited counting as a step done. Sequences that waited `MAX_WAIT_PASSES` go before everybody's second image, and the one
of those with the longest wait leads at least every third pass: with N sequences in flight none waits more than
MAX_WAIT_PASSES + 3 N passes, whatever else arrives. A newcomer, a user none of whose images has had a pass, goes first
otherwise. One person's many images thus hold up neither the first step of others nor their later ones, even of another
size.

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
    sequences: Iterable[WaitingSequence],
    max_tokens: Callable[[Sequence[WaitingSequence]], int],
    passes_without_overdue: int = 0,
) -> list[WaitingSequence]:
    """The sequences of the next pass: all with one key, at least one, otherwise within the token budget.

    `max_tokens` gets all sequences of that key, in scheduling order.
    """
    ordered = order_sequences(list(sequences), passes_without_overdue)
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


def order_sequences(sequences: Sequence[WaitingSequence], passes_without_overdue: int = 0) -> list[WaitingSequence]:
    """In scheduling order, the next one first.

    `passes_without_overdue`: the latest passes that no overdue sequence led, although there was one.
    """
    ranks = _ranks_within_owner(sequences)
    known = {sequence.owner for sequence in sequences if not sequence.is_new}

    def priority(sequence: WaitingSequence) -> tuple[int, int, int, int]:
        remaining = (sequence.steps_left - sequence.passes_waited) * sequence.tokens
        if not ranks[sequence.id]:
            return (0 if sequence.owner not in known else 1, 0, remaining, sequence.arrival)
        if sequence.passes_waited >= MAX_WAIT_PASSES:
            return (2, 0, -sequence.passes_waited, sequence.arrival)
        return (3, ranks[sequence.id], remaining, sequence.arrival)

    ordered = sorted(sequences, key=priority)
    has_newcomer = bool(ordered) and ordered[0].owner not in known
    if passes_without_overdue < (2 if has_newcomer else 1):
        return ordered
    longest = max(ordered, key=lambda one: one.passes_waited)
    if longest.passes_waited < MAX_WAIT_PASSES:
        return ordered
    return [longest, *(one for one in ordered if one is not longest)]


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
