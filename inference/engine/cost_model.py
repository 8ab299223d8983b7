"""Learns from real steps what a forward pass costs by its size, and how large a pass is worth making.

One table is one curve: of one device, model, shape and dtype. Size is what the engine counts the cost of a pass in:
rows, or tokens. Pure; imports no torch. Nothing is probed: an unknown size is tried by a pass that is needed anyway.
"""

import math
from collections.abc import Iterable

from bot.cost_curve import Curve, Point

LEAST_WEIGHT = 1 / 20
"""A sample counts at least this much, so that the table follows a device that becomes slower."""
OUTLIER = 5.0
"""A sample counts as at most this many times the mean."""
ENOUGH = 3
"""Samples of a size, after the first, until it is judged."""
GAIN = 0.03
"""The next size is tried while the last doubling saved at least this part of a row's cost."""
ABOUT = 0.05
"""Of all sizes tried, the smallest is kept whose rows cost at most this much more than the cheapest: people see their
pictures sooner, and it is not noise that decides."""
MUCH_WORSE = 0.1
LOOK_EVERY = 100
"""Passes after which a size that did not pay is looked at again."""
LADDER = (1, 2, 3, 4, 6, 8, 12, 16)
"""Sizes tried, in rows; beyond, each is twice the last but one."""
EXACT = 16
"""Larger sizes are told apart by an eighth of a doubling only: tokens come in any number."""


class _Mean:
    """Mean size and mean seconds of the passes of about one size. The first warms up and does not count."""

    def __init__(self, size: float = 0.0, seconds: float = 0.0, samples: int = 0) -> None:
        self.size, self.seconds, self.samples = size, seconds, samples
        self._is_warm = False

    def add(self, size: float, seconds: float) -> None:
        if not self._is_warm:
            self._is_warm = True
            return
        if self.samples:
            seconds = min(seconds, OUTLIER * self.seconds)
        self.samples += 1
        weight = max(1 / self.samples, LEAST_WEIGHT)
        self.size += weight * (size - self.size)
        self.seconds += weight * (seconds - self.seconds)

    @property
    def each_s(self) -> float:
        return self.seconds / self.size


class CostTable:
    """`known` is what earlier processes measured, as `measured` gave it back."""

    def __init__(self, known: Iterable[Point] = ()) -> None:
        self._means: dict[int, _Mean] = {}
        self._curve: Curve | None = None
        self._passes_since_look = 0
        for point in known:
            if point.size > 0 and _is_sane(point.seconds):
                self._means[_bucket(point.size)] = _Mean(point.size, point.seconds, max(ENOUGH, int(point.samples)))

    def learn(self, size: float, seconds: float) -> None:
        """One forward pass of this size took so long."""
        if size <= 0 or not _is_sane(seconds):
            return
        mean = self._means.setdefault(_bucket(size), _Mean())
        mean.add(size, seconds)
        self._curve = None
        self._count(size)

    def _count(self, size: float) -> None:
        """Every `LOOK_EVERY` passes, as many larger ones as it takes to judge them; they wait for demand."""
        judged = self._judged()
        is_larger = bool(judged) and size > _knee(judged)
        if is_larger or self._passes_since_look < LOOK_EVERY:
            self._passes_since_look = (self._passes_since_look + 1) % (LOOK_EVERY + ENOUGH)

    def seconds(self, size: float) -> float | None:
        """What a pass of this size will take; None while nothing was measured."""
        if self._curve is None:
            points = self.measured()
            self._curve = Curve(points) if points else None
        return self._curve.seconds(size) if self._curve is not None else None

    def cap(self, limit: int, unit: int = 1) -> int:
        """How much to put into one pass: never more than `limit` (what waits), never less than it or one `unit`.

        `unit` is what one more of what waits adds, the largest where they differ: a pair of rows with guidance. Grows
        rung by rung while that pays, then stays at the smallest size whose rows cost about the least.
        """
        judged = self._judged()
        size = float(unit)
        if judged:
            size = _knee(judged)
            if _pays(judged):
                size = _next_rung(judged[-1].size, unit)
            elif self._passes_since_look >= LOOK_EVERY:
                size = next((mean.size for mean in judged if mean.size > size), _next_rung(size, unit))
        return min(limit, max(unit, math.ceil(size)))

    def measured(self) -> list[Point]:
        """The mean of each size, the smallest first."""
        means = sorted((mean for mean in self._means.values() if mean.samples), key=lambda mean: mean.size)
        return [Point(mean.size, mean.seconds, mean.samples) for mean in means]

    def _judged(self) -> list[_Mean]:
        return sorted((mean for mean in self._means.values() if mean.samples >= ENOUGH), key=lambda mean: mean.size)


def _is_sane(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0


def _bucket(size: float) -> int:
    return int(size) if size <= EXACT else EXACT + 1 + int(8 * math.log2(size / EXACT))


def _knee(judged: list[_Mean]) -> float:
    least_s = min(mean.each_s for mean in judged)
    return next(mean.size for mean in judged if mean.each_s <= least_s * (1 + ABOUT))


def _pays(judged: list[_Mean]) -> bool:
    """Whether the last doubling made rows cheaper, so that the next may."""
    largest = judged[-1]
    before = [mean.each_s for mean in judged if mean.size <= largest.size / 2]
    since = min(mean.each_s for mean in judged if mean.size > largest.size / 2)
    if largest.each_s > min([since, *before]) * (1 + MUCH_WORSE):
        return False
    return not before or since <= min(before) * (1 - GAIN)


def _next_rung(size: float, unit: int) -> float:
    """The next size worth trying: there is room for one more row in it, or passes would never become larger."""
    rungs = list(LADDER)
    while rungs[-1] * unit < size + unit:
        rungs.append(2 * rungs[-2])
    return float(next(rung for rung in rungs if rung * unit >= size + unit) * unit)
