"""Easel's sampler names and Diffusers' scheduler classes.

A model takes its own sampler and those that its scheduler calls compatible and that obey what it was trained with.
"""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

from bot.errors import InvalidOption

SCHEDULERS: Mapping[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "deis": "DEISMultistepScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "dpmpp_sde": "DPMSolverSinglestepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "flow_euler": "FlowMatchEulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "ipndm": "IPNDMScheduler",
    "lcm": "LCMScheduler",
    "lms": "LMSDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Source: Diffusers' documentation, "Schedulers", the table of names that other programs use."""

_TRAINED_WITH: Mapping[str, Any] = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
"""Settings that no sampler may ignore, and the values at which ignoring them does no harm."""

_SETTINGS: Mapping[str, Mapping[str, Any]] = {"pndm": {"skip_prk_steps": True}}
"""As Stable Diffusion sets it; without it the first steps are computed four times over."""


def _consistent(scheduler: Any) -> set[str]:
    """Diffusers calls nothing compatible with LCM's scheduler, whose settings are those of DDIM's: it takes the place
    of that one, for LCM LoRAs, and the other way round."""
    if type(scheduler).__name__ == "LCMScheduler":
        return {kind.__name__ for kind in diffusers.DDIMScheduler.from_config(scheduler.config).compatibles}
    is_kin = "DDIMScheduler" in {kind.__name__ for kind in (type(scheduler), *scheduler.compatibles)}
    return {"LCMScheduler"} if is_kin else set()


class Samplers:
    """The samplers of one loaded model. `own`: the name of its own, its class's name when Easel has none."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._fresh: dict[str, Any] = {}
        class_name = type(scheduler).__name__
        self.own = next((name for name, known in SCHEDULERS.items() if known == class_name), class_name)
        compatible = {kind.__name__ for kind in scheduler.compatibles} | _consistent(scheduler)
        self.names = tuple(
            dict.fromkeys([self.own, *(n for n, known in SCHEDULERS.items() if known in compatible and self._fits(n))])
        )

    def make(self, name: str) -> Any:
        """A fresh scheduler: the model's own for "". Raises: InvalidOption."""
        name = self.require(name)
        if name not in self._fresh:
            kind = type(self._scheduler) if name == self.own else getattr(diffusers, SCHEDULERS[name])
            settings = {} if name == self.own else _SETTINGS.get(name, {})
            self._fresh[name] = kind.from_config(self._scheduler.config, **settings)
        return copy.deepcopy(self._fresh[name])  # which takes a tenth of the time

    def require(self, name: str) -> str:
        """The name, or that of the model's own for "". Raises: InvalidOption."""
        name = name or self.own
        if name not in self.names:
            raise InvalidOption("sampler", "choice", value=name, allowed=", ".join(self.names))
        return name

    def _fits(self, name: str) -> bool:
        kind = getattr(diffusers, SCHEDULERS[name], None)
        if kind is None or hasattr(kind, "_backends"):  # a stand-in for one whose library is not installed
            return False
        takes = inspect.signature(kind.__init__).parameters
        config = self._scheduler.config
        return all(
            setting in takes for setting, harmless in _TRAINED_WITH.items() if config.get(setting, harmless) != harmless
        )
