"""What transactions count: reported once they are committed, and forgotten if they are not."""

from collections.abc import Callable

from sqlalchemy import Connection

from bot.ports import WorkMetrics

Count = Callable[[WorkMetrics], None]
COUNTS = "counts"
"""Key of a connection's `info`: what the current operation counts."""


def count_after_commit(tx: Connection, count: Count) -> None:
    """Call `count` with the metrics after the commit of the operation."""
    tx.info.setdefault(COUNTS, []).append(count)


def take_counts(tx: Connection) -> list[Count]:
    counts: list[Count] = tx.info.pop(COUNTS, [])
    return counts
