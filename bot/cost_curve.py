"""Pure: what a forward pass costs by its size, from the sizes that were measured.

Size counts whatever shares a pass: rows, tokens, latent cells. The curve never falls: where measurements say that
more costs less, the neighbours are averaged.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

FIXED_PART = 0.3
"""With one size measured: how much of its cost any pass has, however small."""


@dataclass(frozen=True)
class Point:
    """`seconds` of a whole pass of this size, seen so often."""

    size: float
    seconds: float
    samples: float = 1.0


class Curve:
    """Straight between measured sizes, and on as it went over the last doubling. Needs at least one point."""

    def __init__(self, points: Iterable[Point]) -> None:
        """Raises: ValueError: there is no point."""
        self._points = _rising(sorted(points, key=lambda point: point.size))
        if not self._points:
            raise ValueError("a curve needs a point")
        self._sizes = [point.size for point in self._points]

    def seconds(self, size: float) -> float:
        """Seconds of one pass of this size."""
        first, last = self._points[0], self._points[-1]
        if size <= first.size:
            line = first.seconds - self._slope(first) * (first.size - size)
            return min(first.seconds, max(line, first.seconds * size / first.size))
        if size > last.size:
            return last.seconds + self._slope(last) * (size - last.size)
        above = self._points[bisect_left(self._sizes, size)]
        below = self._points[bisect_left(self._sizes, size) - 1]
        return below.seconds + _slope(below, above) * (size - below.size)

    def shared_s(self, size: float, row: float = 1.0) -> float:
        """Seconds in which all of `size` advance by a step, in passes as large as pays, each of at least one `row`."""
        passes = [s for s in self._sizes if row <= s < size]
        return min(self.seconds(s) * size / s for s in [*passes, max(row, size)])

    def _slope(self, end: Point) -> float:
        """Seconds for each more, over the doubling next to one end of the curve."""
        first, last = self._points[0], self._points[-1]
        if first is last:
            return (1 - FIXED_PART) * end.seconds / end.size
        if end is first:
            return _slope(first, next((one for one in self._points if one.size >= 2 * first.size), last))
        return _slope(next((one for one in reversed(self._points) if one.size <= last.size / 2), first), last)


def _slope(below: Point, above: Point) -> float:
    return (above.seconds - below.seconds) / (above.size - below.size)


def _rising(points: Iterable[Point]) -> list[Point]:
    """Neighbours that fall are given their mean (pool adjacent violators; Ayer et al., 1955)."""
    pools: list[list[Point]] = []
    for point in points:
        pools.append([point])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return [Point(point.size, _mean(pool), point.samples) for pool in pools for point in pool]


def _mean(points: list[Point]) -> float:
    return sum(point.seconds * point.samples for point in points) / sum(point.samples for point in points)
