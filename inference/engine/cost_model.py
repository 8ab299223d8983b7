"""Fits the cost of a forward pass by its size from production traffic, and picks the best batch size.

One model covers one device, checkpoint, image shape and dtype. Size is in the engine's unit of cost: rows or tokens.
Pure; imports no torch. Nothing is benchmarked separately: a new size is tried with a pass that is needed anyway.
"""

import math
from collections.abc import Iterable

from bot.cost_curve import CostCurve, CostPoint

MIN_SAMPLE_WEIGHT = 1 / 20
"""Least weight of a sample in the running mean, to follow a device that becomes slower."""
OUTLIER_FACTOR = 5.0
"""A sample counts as at most this many times the mean. A mean of more than this many times a sample is forgotten: the
machine was suspended."""
MIN_SAMPLES = 3
"""Samples of a size, after the warm-up pass, before it is evaluated."""
MIN_GAIN = 0.03
"""The next size is tried while the last doubling reduced the cost per row by at least this fraction."""
TOLERANCE = 0.05
"""The smallest size whose cost per row is within this fraction of the lowest is used: latency stays low, and noise does
not decide."""
MAX_SLOWDOWN = 0.1
"""A largest size whose cost per row exceeds the lowest by more than this fraction ends the search."""
RETRY_AFTER_PASSES = 100
"""Passes after which a size that was not worth it is measured again."""
BATCH_SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Sizes tried, in rows; beyond, each is twice the last but one."""
MAX_EXACT_SIZE = 16
"""Larger sizes share buckets of an eighth of a doubling, because token counts vary freely."""


class _RunningMean:
    """Mean size and mean seconds of passes of about the same size. The first is a warm-up and does not count."""

    def __init__(self, size: float = 0.0, seconds: float = 0.0, samples: int = 0) -> None:
        self.size, self.seconds, self.samples = size, seconds, samples
        self._warm_up_s = 0.0

    def add_sample(self, size: float, seconds: float) -> None:
        if not self._warm_up_s:
            self._warm_up_s = seconds
            return
        if self.seconds > OUTLIER_FACTOR * seconds:
            self.samples = 0
        seconds = min(seconds, OUTLIER_FACTOR * (self.seconds if self.samples else self._warm_up_s))
        self.samples += 1
        weight = max(1 / self.samples, MIN_SAMPLE_WEIGHT)
        self.size += weight * (size - self.size)
        self.seconds += weight * (seconds - self.seconds)

    @property
    def seconds_per_row(self) -> float:
        return self.seconds / self.size


class PassCostModel:
    """`known`: the `measured_points` of earlier processes."""

    def __init__(self, known: Iterable[CostPoint] = ()) -> None:
        self._means: dict[int, _RunningMean] = {}
        self._curve: CostCurve | None = None
        self._passes_since_retry = 0
        for point in known:
            if point.size > 0 and _is_valid(point.seconds):
                self._means[_size_bucket(point.size)] = _RunningMean(
                    point.size, point.seconds, max(MIN_SAMPLES, int(point.samples))
                )

    def record_pass(self, size: float, seconds: float) -> None:
        """Add a measured forward pass."""
        if size <= 0 or not _is_valid(seconds):
            return
        mean = self._means.setdefault(_size_bucket(size), _RunningMean())
        mean.add_sample(size, seconds)
        self._curve = None
        self._count_pass(size)

    def _count_pass(self, size: float) -> None:
        """Every `RETRY_AFTER_PASSES` passes, allow enough larger ones to evaluate them, once there is demand."""
        means = self._reliable_means()
        is_larger = bool(means) and size > _saturation_point(means)
        if is_larger or self._passes_since_retry < RETRY_AFTER_PASSES:
            self._passes_since_retry = (self._passes_since_retry + 1) % (RETRY_AFTER_PASSES + MIN_SAMPLES)

    def is_known(self, size: float = 0.0) -> bool:
        """Whether it was measured often enough to be judged; with a `size`, at more than half of that."""
        return any(mean.size > size / 2 for mean in self._reliable_means())

    def predict_seconds(self, size: float) -> float | None:
        """Expected duration of a pass of this size; None before the first measurement."""
        if self._curve is None:
            points = self.measured_points()
            self._curve = CostCurve(points) if points else None
        return self._curve.seconds(size) if self._curve is not None else None

    def best_size(self, limit: int, unit: int = 1) -> int:
        """Size of the next pass: at most `limit` (what waits), at least `limit` or one `unit`.

        `unit`: the size of one waiting sequence, the largest if they differ (two rows with guidance). Grows through
        `BATCH_SIZES` while the cost per row falls, then stays at the smallest size with about the lowest cost.
        """
        means = self._reliable_means()
        size = float(unit)
        if means:
            size = _saturation_point(means)
            if _improves(means):
                size = _next_batch_size(means[-1].size, unit)
            elif self._passes_since_retry >= RETRY_AFTER_PASSES:
                size = next((mean.size for mean in means if mean.size > size), _next_batch_size(size, unit))
        return min(limit, max(unit, math.ceil(size)))

    def measured_points(self) -> list[CostPoint]:
        """The mean of each measured size, smallest first."""
        means = sorted((mean for mean in self._means.values() if mean.samples), key=lambda mean: mean.size)
        return [CostPoint(mean.size, mean.seconds, mean.samples) for mean in means]

    def _reliable_means(self) -> list[_RunningMean]:
        return sorted(
            (mean for mean in self._means.values() if mean.samples >= MIN_SAMPLES), key=lambda mean: mean.size
        )


def _is_valid(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds > 0


def _size_bucket(size: float) -> int:
    return int(size) if size <= MAX_EXACT_SIZE else MAX_EXACT_SIZE + 1 + int(8 * math.log2(size / MAX_EXACT_SIZE))


def _saturation_point(means: list[_RunningMean]) -> float:
    """The smallest size with about the lowest cost per row."""
    lowest_s = min(mean.seconds_per_row for mean in means)
    return next(mean.size for mean in means if mean.seconds_per_row <= lowest_s * (1 + TOLERANCE))


def _improves(means: list[_RunningMean]) -> bool:
    """Whether the last doubling reduced the cost per row, so the next one may, too."""
    largest = means[-1]
    before_s = [mean.seconds_per_row for mean in means if mean.size <= largest.size / 2]
    after_s = min(mean.seconds_per_row for mean in means if mean.size > largest.size / 2)
    if largest.seconds_per_row > min([after_s, *before_s]) * (1 + MAX_SLOWDOWN):
        return False
    return not before_s or after_s <= min(before_s) * (1 - MIN_GAIN)


def _next_batch_size(size: float, unit: int) -> float:
    """The next size to try: it fits at least one more unit, or passes would never grow."""
    sizes = list(BATCH_SIZES)
    while sizes[-1] * unit < size + unit:
        sizes.append(2 * sizes[-2])
    return float(next(rows for rows in sizes if rows * unit >= size + unit) * unit)
