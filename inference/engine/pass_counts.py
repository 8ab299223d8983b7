"""Counts forward passes, and the rows in them: how well tasks share the device."""

from dataclasses import dataclass


@dataclass
class PassCounts:
    """Only grows. One thread adds; another may read.

    Attributes:
        rows: of all passes together: an image with guidance has two, a text one.
    """

    passes: int = 0
    rows: int = 0

    def add(self, rows: int) -> None:
        self.passes += 1
        self.rows += rows

    def take_from(self, other: "PassCounts") -> None:
        """Add what `other` has counted, which begins anew."""
        self.passes += other.passes
        self.rows += other.rows
        other.passes = other.rows = 0
