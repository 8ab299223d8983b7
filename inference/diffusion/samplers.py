"""The scheduler class of each sampler, and the samplers of a loaded model.

A model supports its own sampler, and those that its scheduler lists as compatible and that respect its training
settings.
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
"""Scheduler classes in the order of `bot.samplers.SAMPLERS`. Source: Diffusers' documentation, "Schedulers"."""

_TRAINING_SETTINGS: Mapping[str, Any] = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
"""Settings that no sampler may ignore, and the values at which ignoring them is harmless."""

_SCHEDULER_OVERRIDES: Mapping[str, Mapping[str, Any]] = {"pndm": {"skip_prk_steps": True}}
"""Stable Diffusion's setting; without it, PNDM computes each of the first steps four times."""


def _lcm_compatibles(scheduler: Any) -> set[str]:
    """Diffusers lists nothing as compatible with LCMScheduler, although its settings are those of DDIMScheduler: each
    can replace the other, which LCM LoRAs need."""
    if type(scheduler).__name__ == "LCMScheduler":
        return {kind.__name__ for kind in diffusers.DDIMScheduler.from_config(scheduler.config).compatibles}
    is_like_ddim = "DDIMScheduler" in {kind.__name__ for kind in (type(scheduler), *scheduler.compatibles)}
    return {"LCMScheduler"} if is_like_ddim else set()


class Samplers:
    """The samplers of one loaded model.

    `default`: the model's own, by its class name if Easel has no name for it.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._templates: dict[str, Any] = {}
        class_name = type(scheduler).__name__
        self.default = next((name for name, known in SCHEDULERS.items() if known == class_name), class_name)
        compatible = {kind.__name__ for kind in scheduler.compatibles} | _lcm_compatibles(scheduler)
        others = (n for n, known in SCHEDULERS.items() if known in compatible and self._is_compatible(n))
        self.names = tuple(dict.fromkeys([self.default, *others]))

    def create_scheduler(self, name: str) -> Any:
        """A new scheduler; the model's own for "". Raises: InvalidOption."""
        name = self.resolve_name(name)
        if name not in self._templates:
            kind = type(self._scheduler) if name == self.default else getattr(diffusers, SCHEDULERS[name])
            settings = {} if name == self.default else _SCHEDULER_OVERRIDES.get(name, {})
            self._templates[name] = kind.from_config(self._scheduler.config, **settings)
        return copy.deepcopy(self._templates[name])  # ten times as fast as `from_config`

    def resolve_name(self, name: str) -> str:
        """The name; that of the model's own sampler for "". Raises: InvalidOption."""
        name = name or self.default
        if name not in self.names:
            raise InvalidOption("sampler", "choice", value=name, allowed=", ".join(self.names))
        return name

    def _is_compatible(self, name: str) -> bool:
        kind = getattr(diffusers, SCHEDULERS[name], None)
        if kind is None or hasattr(kind, "_backends"):  # a placeholder: its library is not installed
            return False
        accepted = inspect.signature(kind.__init__).parameters
        config = self._scheduler.config
        return all(
            setting in accepted
            for setting, harmless in _TRAINING_SETTINGS.items()
            if config.get(setting, harmless) != harmless
        )
