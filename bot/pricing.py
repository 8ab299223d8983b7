"""Pure: what a command costs, in device-seconds of the job alone with its model warm."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bot.commands import Command
from bot.models import ModelSpec
from bot.ports import Measured


class Rates:
    """What was measured on the first device, with the config's figures for what never was.

    `first_device` may answer "" while the hardware is still being found out: then any device's figures will do.
    """

    def __init__(self, measured: Iterable[Measured] = (), first_device: Callable[[], str] = lambda: "") -> None:
        self._first_device = first_device
        self._measured: dict[tuple[str, str, str, str], Measured] = {}
        for one in measured:
            self.learn(one)

    def learn(self, measured: Measured) -> None:
        """Rows above 1 are shared passes and say nothing of a job alone; impossible figures say nothing at all."""
        is_sane = math.isfinite(measured.seconds) and measured.seconds >= 0
        if measured.rows == 1 and is_sane and (measured.what != "step" or _area(measured.shape)):
            self._measured[measured.device, measured.model, measured.what, measured.shape] = measured

    def step_s(self, model: ModelSpec, shape: str, area: float) -> float:
        """Seconds of one step at `shape` ("WIDTHxHEIGHT"), scaled by pixels from the nearest size measured."""
        near = min(
            ((abs(_area(one.shape) - area), _area(one.shape), one.seconds) for one in self._of(model, "step")),
            default=(0.0, float(model.width * model.height), self._expected_step_s(model)),
        )
        return near[2] * area / near[1]

    def token_s(self, model: ModelSpec) -> float:
        return next((one.seconds for one in self._of(model, "token")), self._expected_step_s(model))

    def _expected_step_s(self, model: ModelSpec) -> float:
        """What the config says of such a device."""
        return model.cpu_step_s if model.cpu_step_s and self._first_device() == "cpu" else model.step_s

    def overhead_s(self, model: ModelSpec) -> float:
        return next((one.seconds for one in self._of(model, "job")), model.overhead_s)

    def _of(self, model: ModelSpec, what: str) -> list[Measured]:
        first = self._first_device()
        return [
            one
            for one in self._measured.values()
            if (one.model, one.what) == (model.name, what) and (not first or one.device == first)
        ]


def _area(shape: str) -> float:
    """Pixels of "WIDTHxHEIGHT"; 0 for anything else."""
    width, _, height = shape.partition("x")
    return float(width) * float(height) if width.isdecimal() and height.isdecimal() else 0.0


def estimate_s(command: Command, model: ModelSpec, options: Mapping[str, Any], rates: Rates) -> float:
    """Device-seconds the job will likely use."""
    steps, area, count = command.steps_of(options)
    if not area:
        return rates.overhead_s(model) + steps * rates.token_s(model)
    shape = f"{options['width']}x{options['height']}"
    return count * (rates.overhead_s(model) + steps * rates.step_s(model, shape, area))


def price(command: Command, model: ModelSpec, options: Mapping[str, Any], rates: Rates) -> float:
    """What the quota is charged, device-seconds to the millisecond; a demo model is free."""
    return 0.0 if model.demo else round(estimate_s(command, model, options, rates), 3)
