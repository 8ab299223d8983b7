"""The scheduler class of each sampler, and the samplers of a loaded model.

A model supports its own sampler, and those that its scheduler lists as compatible and that respect its training
settings.
"""

import copy
import inspect
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import diffusers

from bot.commands.drawing_options import check_schedule
from bot.errors import InvalidOption
from bot.samplers import SCHEDULES
from inference.diffusion.beta_schedule import beta_sigmas

SCHEDULERS: Mapping[str, str] = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "deis": "DEISMultistepScheduler",
    "dpm2": "KDPM2DiscreteScheduler",
    "dpm2_a": "KDPM2AncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "dpmpp_2m_sde": "DPMSolverMultistepScheduler",
    "dpmpp_2m_sde_heun": "DPMSolverMultistepScheduler",
    "dpmpp_3m": "DPMSolverMultistepScheduler",
    "dpmpp_3m_sde": "DPMSolverMultistepScheduler",
    "dpmpp_sde": "DPMSolverSinglestepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "flow_euler": "FlowMatchEulerDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "ipndm": "IPNDMScheduler",
    "lcm": "LCMScheduler",
    "lms": "LMSDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "sa_solver": "SASolverScheduler",
    "tcd": "TCDScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Scheduler classes in the order of `bot.samplers.SAMPLERS`. Source: Diffusers' documentation, "Schedulers"."""

_TRAINING_SETTINGS: Mapping[str, Any] = {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
"""Settings that no sampler may ignore, and the values at which ignoring them is harmless."""

_SDE = {"algorithm_type": "sde-dpmsolver++"}
_MIDPOINT = {"algorithm_type": "dpmsolver++", "solver_type": "midpoint"}
_SCHEDULER_OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "dpmpp_2m": {**_MIDPOINT, "solver_order": 2},
    "dpmpp_2m_sde": {**_MIDPOINT, **_SDE, "solver_order": 2},
    "dpmpp_2m_sde_heun": {**_SDE, "solver_type": "heun", "solver_order": 2},
    "dpmpp_3m": {**_MIDPOINT, "solver_order": 3},
    "dpmpp_3m_sde": {**_MIDPOINT, **_SDE, "solver_order": 3},
    "pndm": {"skip_prk_steps": True},
}
"""Settings that make a class this sampler. PNDM's are Stable Diffusion's: without it, PNDM computes each of the first
steps four times."""

_SCHEDULE_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "karras": {"use_karras_sigmas": True},
    "exponential": {"timestep_spacing": "linspace", "use_exponential_sigmas": True},
    "beta": {"timestep_spacing": "linspace", "use_beta_sigmas": True},
    "simple": {"timestep_spacing": "trailing"},
    "sgm_uniform": {"timestep_spacing": "trailing"},
}
"""Source: Diffusers' documentation, "Schedulers", the table of A1111's schedule types. A scheduler that has no setting
for the spacing takes its own."""
_SIGMA_FLAGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")

_LIKE_DDIM = frozenset({"LCMScheduler", "SASolverScheduler", "TCDScheduler"})
"""Diffusers lists them as compatible with nothing, or with DDIM only, although their settings are those of
DDIMScheduler: each can replace the other, which LCM and TCD LoRAs need."""


def _compatible_classes(scheduler: Any) -> set[str]:
    """Names of the scheduler classes that can take this one's configuration."""
    compatible = {kind.__name__ for kind in scheduler.compatibles}
    if type(scheduler).__name__ in _LIKE_DDIM:
        compatible |= {kind.__name__ for kind in diffusers.DDIMScheduler.from_config(scheduler.config).compatibles}
    is_like_ddim = "DDIMScheduler" in {type(scheduler).__name__, *compatible}
    return compatible | _LIKE_DDIM if is_like_ddim else compatible


def _default_name(scheduler: Any) -> str:
    """Easel's name of the model's own sampler; its class name if there is none."""
    class_name = type(scheduler).__name__
    names = [name for name, known in SCHEDULERS.items() if known == class_name]
    exact = (name for name in names if _has_settings(scheduler, _SCHEDULER_OVERRIDES.get(name, {})))
    return next(exact, next(iter(names), class_name))


def _has_settings(scheduler: Any, settings: Mapping[str, Any]) -> bool:
    return all(scheduler.config.get(setting) == value for setting, value in settings.items())


class Samplers:
    """The samplers of one loaded model.

    `default`: the model's own, by its class name if Easel has no name for it.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._templates: dict[tuple[str, str], Any] = {}
        self.default = _default_name(scheduler)
        compatible = _compatible_classes(scheduler)
        others = (n for n, known in SCHEDULERS.items() if known in compatible and self._is_compatible(n))
        self.names = tuple(dict.fromkeys([self.default, *others]))

    @cached_property
    def schedules(self) -> dict[str, list[str]]:
        """The sigma schedules that each sampler takes."""
        return {name: [one for one in SCHEDULES if self._takes_schedule(name, one)] for name in self.names}

    def create_scheduler(self, name: str, schedule: str = "") -> Any:
        """A new scheduler; the model's own for "", with its own schedule for "". Raises: InvalidOption."""
        name = self.resolve_name(name, schedule)
        if (name, schedule) not in self._templates:
            self._templates[name, schedule] = self._make_template(name, schedule)
        scheduler = copy.deepcopy(self._templates[name, schedule])  # ten times as fast as `from_config`
        if scheduler.order == 1 and hasattr(scheduler, "index_for_timestep"):
            scheduler.index_for_timestep = partial(_find_first_index, scheduler)
        return scheduler

    def resolve_name(self, name: str, schedule: str = "") -> str:
        """The name; that of the model's own sampler for "". Raises: InvalidOption: not with this schedule either."""
        name = name or self.default
        if name not in self.names:
            raise InvalidOption("sampler", "choice", value=name, allowed=", ".join(self.names))
        if schedule:
            check_schedule(self.schedules, name, schedule)
        return name

    def _make_template(self, name: str, schedule: str) -> Any:
        """Beta quantiles are Easel's own, because Diffusers takes them from SciPy, which it does not require."""
        kind = self._class_of(name)
        settings = {} if name == self.default else dict(_SCHEDULER_OVERRIDES.get(name, {}))
        if schedule:
            settings |= {**dict.fromkeys(_SIGMA_FLAGS, False), **_SCHEDULE_SETTINGS[schedule]}
        accepted = inspect.signature(kind.__init__).parameters
        settings = {setting: value for setting, value in settings.items() if setting in accepted}
        is_beta = bool(settings.get("use_beta_sigmas"))
        scheduler = kind.from_config(
            self._scheduler.config, **settings | ({"use_beta_sigmas": False} if is_beta else {})
        )
        if is_beta:
            scheduler.register_to_config(use_beta_sigmas=True)
            scheduler._convert_to_beta = partial(beta_sigmas, dict(scheduler.config))
        return scheduler

    def _class_of(self, name: str) -> Any:
        return type(self._scheduler) if name == self.default else getattr(diffusers, SCHEDULERS[name])

    def _takes_schedule(self, name: str, schedule: str) -> bool:
        """Whether its class has the setting that makes the schedule. Flow matching is spaced as "simple" means it."""
        kind = self._class_of(name)
        if schedule == "simple" and kind.__name__.startswith("FlowMatch"):
            return True
        accepted = inspect.signature(kind.__init__).parameters
        needed = [setting for setting in _SCHEDULE_SETTINGS[schedule] if setting in _SIGMA_FLAGS]
        return all(setting in accepted for setting in needed or _SCHEDULE_SETTINGS[schedule])

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


def _find_first_index(scheduler: Any, timestep: Any, schedule_timesteps: Any = None) -> int:
    """Where a row starts. Diffusers takes the second of two equal timesteps, which a schedule may begin with where
    noise levels lie close together: the steps then end beyond the last noise level."""
    timesteps = scheduler.timesteps if schedule_timesteps is None else schedule_timesteps
    found = (timesteps == timestep).nonzero()
    if len(found) > 1:
        return int(found[0].item())
    return int(type(scheduler).index_for_timestep(scheduler, timestep, schedule_timesteps))
