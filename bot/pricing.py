"""Pure: what a command costs, in device-seconds of the job alone with its model warm."""

from collections.abc import Iterable, Mapping
from typing import Any

from bot.commands import Command
from bot.models import ModelSpec
from bot.ports import Measured


class Rates:
    """What was measured on one device, with the config's figures for what never was."""

    def __init__(self, measured: Iterable[Measured] = (), device: str = "") -> None:
        self._device = device
        self._seconds: dict[tuple[str, str, str], float] = {}
        for one in measured:
            self.learn(one)

    def learn(self, measured: Measured) -> None:
        """Rows above 1 are shared passes and say nothing of a job alone."""
        if measured.rows == 1 and measured.device == (self._device or measured.device):
            self._seconds[measured.model, measured.what, measured.shape] = measured.seconds

    def step_s(self, model: ModelSpec, shape: str, area: float) -> float:
        """Seconds of one step at `shape` ("WIDTHxHEIGHT"), scaled by pixels from the nearest size measured."""
        exact = self._seconds.get((model.name, "step", shape))
        if exact is not None:
            return exact
        near = min(
            ((abs(_area(other) - area), _area(other), seconds) for other, seconds in self._of(model, "step")),
            default=(0.0, float(model.width * model.height), model.step_s),
        )
        return near[2] * area / near[1]

    def token_s(self, model: ModelSpec) -> float:
        return next((seconds for _, seconds in self._of(model, "token")), model.step_s)

    def overhead_s(self, model: ModelSpec) -> float:
        return next((seconds for _, seconds in self._of(model, "job")), model.overhead_s)

    def _of(self, model: ModelSpec, what: str) -> list[tuple[str, float]]:
        return [(key[2], seconds) for key, seconds in self._seconds.items() if key[:2] == (model.name, what)]


def _area(shape: str) -> float:
    width, _, height = shape.partition("x")
    return float(width) * float(height)


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
