"""Pure: the cost of a forward pass as a function of its size, interpolated from measurements.

The size is what shares a pass: rows, tokens, latent cells. The curve never falls: where a larger pass was measured to
cost less, neighbours are averaged.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

FIXED_SHARE = 0.3
"""If only one size was measured: the share of its cost that does not depend on the size."""


@dataclass(frozen=True)
class CostPoint:
    """Mean `seconds` of a pass of this size over `samples` measurements."""

    size: float
    seconds: float
    samples: float = 1.0


class CostCurve:
    """Linear between measured sizes, extrapolated by the slope of the last doubling. Needs at least one point."""

    def __init__(self, points: Iterable[CostPoint]) -> None:
        """Raises: ValueError: there are no points."""
        self._points = _monotone(sorted(points, key=lambda point: point.size))
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

    def batched_s(self, size: float, row: float = 1.0) -> float:
        """Seconds for one step of all of `size`, in passes of the best measured size, each of at least one `row`."""
        passes = [s for s in self._sizes if row <= s < size]
        return min(self.seconds(s) * size / s for s in [*passes, max(row, size)])

    def saturation_size(self, tolerance: float) -> float:
        """The smallest measured size whose cost is within this fraction of the lowest, in proportion to the size."""
        lowest_s = min(self.seconds(size) / size for size in self._sizes)
        return next(size for size in self._sizes if self.seconds(size) / size <= lowest_s * (1 + tolerance))

    def _slope(self, end: CostPoint) -> float:
        """Seconds per unit of size, over the doubling next to one end of the curve."""
        first, last = self._points[0], self._points[-1]
        if first is last:
            return (1 - FIXED_SHARE) * end.seconds / end.size
        if end is first:
            return _slope(first, next((one for one in self._points if one.size >= 2 * first.size), last))
        return _slope(next((one for one in reversed(self._points) if one.size <= last.size / 2), first), last)


def _slope(below: CostPoint, above: CostPoint) -> float:
    return (above.seconds - below.seconds) / (above.size - below.size)


def _monotone(points: Iterable[CostPoint]) -> list[CostPoint]:
    """Average neighbours that fall (pool adjacent violators; Ayer et al., 1955)."""
    pools: list[list[CostPoint]] = []
    for point in points:
        pools.append([point])
        while len(pools) > 1 and _weighted_mean(pools[-2]) > _weighted_mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return [CostPoint(point.size, _weighted_mean(pool), point.samples) for pool in pools for point in pool]


def _weighted_mean(points: list[CostPoint]) -> float:
    return sum(point.seconds * point.samples for point in points) / sum(point.samples for point in points)
