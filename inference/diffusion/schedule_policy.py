"""Pure: which rows step next. A row is one picture being made.

Nobody's second picture goes before somebody's first; among equals the shortest remaining goes first, and every pass
that a row waits counts like a step that it has made. A row that waited `PATIENCE` passes goes before all others, the
longest waiting first, so with N rows in flight none waits more than PATIENCE + N passes, whoever comes.

Source of the order: shortest remaining time first (Schrage 1968), with ageing against its starving of long jobs.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

PATIENCE = 16
"""Passes."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A row that could step.

    Attributes:
        share: whose it is.
        key: rows with the same key may share a pass.
        tokens: what its part of a pass costs.
        steps_left: how many passes it needs yet.
        waited: passes made without it since its last.
        order: rises with each row that comes.
    """

    id: Hashable
    share: str
    key: Hashable
    tokens: int
    steps_left: int
    waited: int
    order: int


def choose(rows: Iterable[Waiting], cap: Callable[[Sequence[Waiting]], int]) -> list[Waiting]:
    """The rows of the next pass: all of one key, at least one, else no more tokens than the cap.

    `cap` is asked with all rows of that key, the one whose turn it is in front.
    """
    ranked = rank(list(rows))
    rivals = [row for row in ranked if row.key == ranked[0].key]
    cap_tokens = cap(rivals) if rivals else 0
    chosen: list[Waiting] = []
    tokens = 0
    for row in rivals:
        if not chosen or tokens + row.tokens <= cap_tokens:
            chosen.append(row)
            tokens += row.tokens
    return chosen


def rank(rows: Sequence[Waiting]) -> list[Waiting]:
    """The rows, the one that should step first in front."""
    tiers = _tiers(rows)

    def place(row: Waiting) -> tuple[int, int, int, int]:
        if row.waited >= PATIENCE:
            return (0, 0, -row.waited, row.order)
        return (1, tiers[row.id], (row.steps_left - row.waited) * row.tokens, row.order)

    return sorted(rows, key=place)


def _tiers(rows: Sequence[Waiting]) -> dict[Hashable, int]:
    """Each row's place among those of its person, the nearest to its end first."""
    of_share: dict[str, list[Waiting]] = defaultdict(list)
    for row in rows:
        of_share[row.share].append(row)
    return {
        row.id: place
        for mine in of_share.values()
        for place, row in enumerate(sorted(mine, key=lambda row: (row.steps_left * row.tokens, row.order)))
    }
