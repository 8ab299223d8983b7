"""Pure: what a command costs, in device-seconds of the job alone with its model warm."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from bot.commands import Command
from bot.cost_curve import Curve, Point
from bot.models import ModelSpec
from bot.ports import Measured, step_of

_STEPS = ("step", "step_unguided")


class _Key(NamedTuple):
    device: str
    model: str
    what: str
    shape: str
    rows: int


class Rates:
    """What was measured on the first device, with the config's figures for what never was.

    `first_device` may answer "" while the hardware is still being found out: then any device's figures will do.
    """

    def __init__(self, measured: Iterable[Measured] = (), first_device: Callable[[], str] = lambda: "") -> None:
        self._first_device = first_device
        self._measured: dict[_Key, float] = {}
        for one in measured:
            self.learn(one)

    def learn(self, measured: Measured) -> None:
        """Impossible figures say nothing."""
        is_sane = math.isfinite(measured.seconds) and measured.seconds >= 0 and measured.rows >= 1
        if is_sane and (measured.what not in _STEPS or _area(measured.shape)):
            self._measured[_Key(measured.device, measured.model, measured.what, measured.shape, measured.rows)] = (
                measured.seconds
            )

    def step_s(self, model: ModelSpec, options: Mapping[str, Any], area: float, together: int = 1) -> float:
        """Seconds in which each of so many such jobs makes one step.

        Scaled by pixels from the nearest size measured. Guided steps and others are measured apart; where only the
        other kind was, a guided one is taken for two rows without guidance, and never the other way round.
        """
        what = step_of(options)
        known = next((kind for kind in (what, *_STEPS) if self._of(model, kind)), what)
        rows = 2 * together if (what, known) == ("step", "step_unguided") else together
        sizes = {_area(key.shape) for key in self._of(model, known)}
        near = min(sizes, key=lambda size: (abs(size - area), size), default=float(model.width * model.height))
        return self._shared_s(model, known, near, rows) * area / near

    def token_s(self, model: ModelSpec, together: int = 1) -> float:
        """Seconds in which each of so many jobs makes one token."""
        return self._shared_s(model, "token", 0.0, together)

    def _shared_s(self, model: ModelSpec, what: str, area: float, together: int) -> float:
        found = {key.rows: seconds for key, seconds in self._of(model, what).items() if _area(key.shape) == area}
        curve = Curve(Point(rows, seconds) for rows, seconds in (found or {1: self._expected_step_s(model)}).items())
        if together > 1 and model.rows > 1:
            return curve.shared_s(together)
        return together * found.get(1, curve.seconds(1))

    def _expected_step_s(self, model: ModelSpec) -> float:
        """What the config says of such a device."""
        return model.cpu_step_s if model.cpu_step_s and self._first_device() == "cpu" else model.step_s

    def overhead_s(self, model: ModelSpec) -> float:
        return next(iter(self._of(model, "job").values()), model.overhead_s)

    def _of(self, model: ModelSpec, what: str) -> "dict[_Key, float]":
        first = self._first_device()
        return {
            key: seconds
            for key, seconds in self._measured.items()
            if (key.model, key.what) == (model.name, what) and (not first or key.device == first)
        }


def _area(shape: str) -> float:
    """Pixels of "WIDTHxHEIGHT"; 0 for anything else."""
    width, _, height = shape.partition("x")
    return float(width) * float(height) if width.isdecimal() and height.isdecimal() else 0.0


def estimate_s(command: Command, model: ModelSpec, options: Mapping[str, Any], rates: Rates) -> float:
    """Device-seconds the job will likely use."""
    steps, area, count = command.work_units(options)
    if not area:
        return rates.overhead_s(model) + steps * rates.token_s(model)
    return count * (rates.overhead_s(model) + steps * rates.step_s(model, options, area))


def duration_s(command: Command, model: ModelSpec, options: Mapping[str, Any], rates: Rates, *, together: int) -> float:
    """Seconds from the job's start to its end, where so many jobs run together, this one among them.

    Its pictures share passes, too; what a job takes beside its steps, each takes in turn.
    """
    steps, area, count = command.work_units(options)
    rows = together - 1 + count
    step_s = rates.step_s(model, options, area, rows) if area else rates.token_s(model, rows)
    return rows * rates.overhead_s(model) + steps * step_s


def price(command: Command, model: ModelSpec, options: Mapping[str, Any], rates: Rates) -> float:
    """What the quota is charged, device-seconds to the millisecond; a demo model is free."""
    return 0.0 if model.demo else round(estimate_s(command, model, options, rates), 3)
