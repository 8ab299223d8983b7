"""Pure: the price of a command in device-seconds: the job alone, with its model loaded."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bot.commands import Command
from bot.commands.parts import Part
from bot.cost_curve import CostCurve, CostPoint
from bot.models import IMPORT_S, TORCH, ModelSpec
from bot.ports import Measurement, step_of

_STEPS = ("step", "step_unguided")
TOLERANCE = 0.05
"""Passes are as small as possible while an image costs at most this fraction more, as in the engine's cost model."""


class _Key(NamedTuple):
    device: str
    model: str
    what: str
    shape: str
    batch_size: int
    backend: str = "torch"


class Rates:
    """Rates measured on the first device, with the config's figures where nothing was measured.

    `first_device` may return "" while the hardware is being probed: then the figures of any device are used.
    """

    def __init__(self, measured: Iterable[Measurement] = (), first_device: Callable[[], str] = lambda: "") -> None:
        self._first_device = first_device
        self._measured: dict[_Key, float] = {}
        for one in measured:
            self.add_measurement(one)

    def add_measurement(self, measured: Measurement) -> None:
        """Ignores impossible figures."""
        is_sane = math.isfinite(measured.seconds) and measured.seconds >= 0 and measured.batch_size >= 1
        if is_sane and (measured.what not in _STEPS or _area(measured.shape)):
            key = _Key(
                measured.device, measured.model, measured.what, measured.shape, measured.batch_size, measured.backend
            )
            self._measured[key] = measured.seconds

    def step_s(self, model: ModelSpec, options: Mapping[str, Any], area: float, together: int = 1) -> float:
        """Seconds for one step of each of `together` such jobs.

        Scaled by pixels from the nearest measured size. Steps with and without guidance are measured separately; if
        only the other kind was measured, a guided step counts as two rows without guidance, but not vice versa.
        """
        known, rows, near = self._nearest_step(model, options, area)
        return self._batched_s(model, known, near, rows * together) * area / near

    def images_per_pass(self, model: ModelSpec, options: Mapping[str, Any], area: float, together: int) -> float:
        """How many of `together` such images share a pass."""
        if together <= 1 or model.slots <= 1:
            return 1.0
        known, rows, near = self._nearest_step(model, options, area)
        return min(together, max(1.0, self._curve(model, known, near).saturation_size(TOLERANCE) / rows))

    def _nearest_step(self, model: ModelSpec, options: Mapping[str, Any], area: float) -> tuple[str, int, float]:
        """What was measured of such a step: its kind, its rows for one image, and its pixels."""
        what = step_of(options)
        known = next((kind for kind in (what, *_STEPS) if self._measured_for(model, kind)), what)
        sizes = {_area(key.shape) for key in self._measured_for(model, known)}
        near = min(sizes, key=lambda size: (abs(size - area), size), default=float(model.width * model.height))
        return known, 2 if (what, known) == ("step", "step_unguided") else 1, near

    def token_s(self, model: ModelSpec, together: int = 1) -> float:
        """Seconds for one token of each of `together` jobs."""
        return self._batched_s(model, "token", 0.0, together)

    def _batched_s(self, model: ModelSpec, what: str, area: float, together: int) -> float:
        if together > 1 and model.slots > 1:
            return self._curve(model, what, area).batched_s(together)
        found = self._by_batch_size(model, what, area)
        return together * found.get(1, self._curve(model, what, area).seconds(1))

    def _curve(self, model: ModelSpec, what: str, area: float) -> CostCurve:
        found = self._by_batch_size(model, what, area) or {1: self._expected_step_s(model)}
        return CostCurve(CostPoint(rows, seconds) for rows, seconds in found.items())

    def _by_batch_size(self, model: ModelSpec, what: str, area: float) -> dict[int, float]:
        measured = self._measured_for(model, what)
        return {key.batch_size: seconds for key, seconds in measured.items() if _area(key.shape) == area}

    def _expected_step_s(self, model: ModelSpec) -> float:
        """The config's figure for such a device."""
        return model.cpu_step_s if model.cpu_step_s and self._first_device() == "cpu" else model.step_s

    def overhead_s(self, model: ModelSpec) -> float:
        return next(iter(self._measured_for(model, "job").values()), model.overhead_s)

    def load_s(self, model: ModelSpec) -> float:
        """Seconds that loading the model takes in a process that has imported the engines' libraries."""
        return next(iter(self._measured_for(model, "load").values()), model.expected_load_s)

    def import_s(self) -> float:
        """Seconds that a new process needs to import the engines' libraries."""
        return next(iter(self._find_measured("", "import").values()), IMPORT_S)

    def _measured_for(self, model: ModelSpec, what: str) -> "dict[_Key, float]":
        """Measured on what the model runs on now; if nothing was, on any backend."""
        found = self._find_measured(model.name, what)
        backend = model.capabilities.get("backend", TORCH)
        return {key: seconds for key, seconds in found.items() if key.backend == backend} or found

    def _find_measured(self, model: str, what: str) -> "dict[_Key, float]":
        first = self._first_device()
        return {
            key: seconds
            for key, seconds in self._measured.items()
            if (key.model, key.what) == (model, what) and (not first or key.device == first)
        }


def _area(shape: str) -> float:
    """Pixels of "WIDTHxHEIGHT"; 0 for anything else."""
    width, _, height = shape.partition("x")
    return float(width) * float(height) if width.isdecimal() and height.isdecimal() else 0.0


def estimate_s(
    command: Command, model: ModelSpec, options: Mapping[str, Any], rates: Rates, parts: Sequence[Part] = ()
) -> float:
    """Expected device-seconds of the job with its parts."""
    own_s = _units_s(command.work_units(options), model, options, rates)
    return own_s + parts_s(parts, rates)


def parts_s(parts: Sequence[Part], rates: Rates) -> float:
    return sum(_units_s(part.units, part.model, {}, rates) for part in parts)


def _units_s(units: tuple[int, float, int], model: ModelSpec, options: Mapping[str, Any], rates: Rates) -> float:
    steps, area, count = units
    if not area:
        return rates.overhead_s(model) + steps * rates.token_s(model)
    return count * (rates.overhead_s(model) + steps * rates.step_s(model, options, area))


def duration_s(
    command: Command,
    model: ModelSpec,
    options: Mapping[str, Any],
    rates: Rates,
    *,
    together: int,
    images_each: float = 1.0,
) -> float:
    """Seconds from the job's start to its end, with `together` jobs running, including this one.

    `images_each`: how many images each of the others makes on average. Images of a job share forward passes too; the
    overheads of images add up.
    """
    steps, area, count = command.work_units(options)
    rows = math.ceil((together - 1) * images_each) + count
    step_s = rates.step_s(model, options, area, rows) if area else rates.token_s(model, rows)
    return rows * rates.overhead_s(model) + steps * step_s


def price(
    command: Command, model: ModelSpec, options: Mapping[str, Any], rates: Rates, parts: Sequence[Part] = ()
) -> float:
    """The charge to the quota, device-seconds to the millisecond; a demo model is free."""
    charged = [part for part in parts if not part.model.demo]
    if model.demo:
        return round(parts_s(charged, rates), 3)
    return round(estimate_s(command, model, options, rates, charged), 3)
