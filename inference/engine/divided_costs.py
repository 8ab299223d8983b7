"""Chooses how the cores of a CPU share a forward pass: all of them compute the whole pass, or each a part of it.

A part is computed by fewer threads, which wait less for one another; what is quicker depends on the model, the size and
the load of the machine. It is measured with passes that are needed anyway. Pure; imports no torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bot.cost_curve import CostPoint
from inference.engine.cost_model import RETRY_AFTER_PASSES, TOLERANCE, PassCostModel

PASS = "pass"
"""`Measurement.what` of a pass by all threads; those of other divisions begin with it."""
HOPELESS = 1.5
"""A division that takes this many times as long is given up after its first measurement: on a busy machine, threads
that wait for one another can take ten times as long."""
MAX_DELAY = 5.0
"""What was slow is measured again after at most this many times `RETRY_AFTER_PASSES`."""
PART_COUNTS = (2, 4, 8, 16)


@dataclass(frozen=True)
class PassDivision:
    """A pass in `parts` that are computed at the same time, each by this many threads; 0: by all."""

    parts: int = 1
    threads: int = 0

    @property
    def what(self) -> str:
        """As `Measurement.what`."""
        return f"{PASS} {self.parts}x{self.threads}" if self.threads else PASS


WHOLE = PassDivision()


@dataclass(frozen=True)
class PassChoice:
    """The size of the next pass, at most, and how it is divided."""

    size: int
    division: PassDivision = WHOLE


def list_divisions(threads: int) -> list[PassDivision]:
    """What can be tried with this many threads; the whole pass first."""
    if threads < 2:
        return [WHOLE]
    parts = [PassDivision(count, threads // count) for count in PART_COUNTS if count <= threads]
    return [WHOLE, PassDivision(1, threads // 2), *parts]


class DividedPassCosts:
    """Costs of the passes of one module at one image shape, by division and size.

    `known`: the measured points of earlier processes, by `PassDivision.what`.
    """

    def __init__(self, threads: int = 1, known: Mapping[str, Iterable[CostPoint]] | None = None) -> None:
        known = known or {}
        self._models = {division: PassCostModel(known.get(division.what, ())) for division in list_divisions(threads)}
        self._pass_count = 0
        self._measured_at = dict.fromkeys(self._models, 0)

    def record_pass(self, size: float, seconds: float, division: PassDivision = WHOLE) -> None:
        self._pass_count += 1
        self._measured_at[division] = self._pass_count
        self._models[division].record_pass(size, seconds)

    def choose(self, limit: int, unit: int = 1, *, may_divide: bool = True) -> PassChoice:
        """The next pass: at most `limit` (what waits), at least one `unit` (the largest that waits) for each part."""
        possible = [one for one in self._models if one.parts * unit <= limit] if may_divide else []
        best = self._quickest(possible, limit, unit)
        size = self._models[best].best_size(limit, best.parts * unit)
        for division in possible:
            if division != best and self._is_worth_measuring(division, best, size):
                return PassChoice(max(size, division.parts * unit), division)
        return PassChoice(size, best)

    def predict_seconds(self, size: float, unit: float = 0.0) -> float | None:
        """Of a pass of this size, divided in the quickest way that was measured; None before the first measurement."""
        possible = [one for one in self._models if one.parts == 1 or one.parts * unit <= size]
        known = [one for one in possible if self._models[one].is_known()]
        predicted = (self._models[one].predict_seconds(size) for one in known or self._models)
        return min((one for one in predicted if one is not None), default=None)

    def measured_points(self) -> dict[str, list[CostPoint]]:
        """By `PassDivision.what`, smallest first."""
        return {division.what: model.measured_points() for division, model in self._models.items()}

    @property
    def largest_size(self) -> float:
        """Of the passes measured."""
        return max((points[-1].size for points in self.measured_points().values() if points), default=0.0)

    @property
    def usual_parts(self) -> int:
        """Of the largest passes measured, as they are made from now on."""
        size = int(self.largest_size)
        return self._quickest([one for one in self._models if one.parts <= size], size, 1).parts

    def _quickest(self, possible: Iterable[PassDivision], limit: int, unit: int) -> PassDivision:
        """Of the measured ones; with fewer parts where that takes about as long."""
        known = [one for one in possible if self._models[one].predict_seconds(unit) is not None]
        if not known:
            return WHOLE
        size = max(self._models[one].best_size(limit, one.parts * unit) for one in known)
        seconds = {one: self._models[one].predict_seconds(size) or 0.0 for one in known}
        lowest_s = min(seconds.values())
        return next(one for one in known if seconds[one] <= lowest_s * (1 + TOLERANCE))

    def _is_worth_measuring(self, division: PassDivision, best: PassDivision, size: int) -> bool:
        """Once it may be quicker at this size; then again from time to time, the more rarely the slower it was."""
        best_s = self._models[best].predict_seconds(size)
        has_use = best.parts == 1 if division.parts == 1 else division.parts <= 2 * best.parts
        if best_s is None or not (has_use or division == WHOLE):
            return False
        seconds = self._models[division].predict_seconds(size)
        if seconds is None:
            return True
        is_hopeless = seconds > HOPELESS * best_s
        if not is_hopeless and not self._models[division].is_known(size):
            return True
        age = self._pass_count - self._measured_at[division]
        if age < RETRY_AFTER_PASSES * min(MAX_DELAY, max(1.0, seconds / best_s)):
            return False
        self._models[division] = PassCostModel()
        return True
