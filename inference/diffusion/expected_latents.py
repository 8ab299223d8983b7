"""What a denoiser expects an image to become, after any of its steps.

Diffusers' schedulers return it in different ways or not at all, so it is computed from what a step is given.
"""

from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch

_FLOW = "flow_prediction"


@dataclass(frozen=True)
class _Step:
    output: torch.Tensor
    timestep: float
    sample: torch.Tensor


class StepRecord:
    """The last step of one image's scheduler, of which each image has its own."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._last: _Step | None = None
        step = scheduler.step

        @wraps(step)  # pipelines read its signature
        def step_and_record(model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            self._record(model_output, timestep, sample)
            return step(model_output, timestep, sample, *args, **kwargs)

        scheduler.step = step_and_record

    def _record(self, output: Any, timestep: Any, sample: Any) -> None:
        self._last = None
        if isinstance(output, torch.Tensor) and isinstance(sample, torch.Tensor):
            self._last = _Step(output, float(timestep), sample)

    def expect_latents(self) -> torch.Tensor | None:
        """The latents without noise, in the layout of the step's sample; None: for this scheduler they are unknown."""
        if self._last is None:
            return None
        levels = noise_levels(self._scheduler, self._last.timestep)
        return None if levels is None else _denoise(self._last, _prediction_type(self._scheduler), *levels)


def noise_levels(scheduler: Any, timestep: float) -> tuple[float, float] | None:
    """How much of the image and of the noise a sample has at this timestep; None: unknown."""
    sigma = _sigma_at(scheduler, timestep)
    if _prediction_type(scheduler) == _FLOW:
        return None if sigma is None else (1 - sigma, sigma)
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None:
        return None
    if sigma is None:
        share = float(alphas[min(len(alphas) - 1, max(0, round(timestep)))])
        return share**0.5, (1 - share) ** 0.5
    if float(getattr(scheduler, "init_noise_sigma", 1.0)) != 1.0:
        return 1.0, sigma  # its samples are the image with noise added
    image = (1 + sigma**2) ** -0.5
    return image, sigma * image


def _prediction_type(scheduler: Any) -> str:
    is_flow = type(scheduler).__name__.startswith("FlowMatch") or scheduler.config.get("use_flow_sigmas")
    return _FLOW if is_flow else str(scheduler.config.get("prediction_type", "epsilon"))


def _sigma_at(scheduler: Any, timestep: float) -> float | None:
    """The noise level that the scheduler's own list has at a timestep; None: it has no such list."""
    sigmas, timesteps = getattr(scheduler, "sigmas", None), getattr(scheduler, "timesteps", None)
    if not isinstance(sigmas, torch.Tensor) or not isinstance(timesteps, torch.Tensor) or len(timesteps) > len(sigmas):
        return None
    index = int((timesteps.float() - timestep).abs().argmin())
    return float(sigmas[index])


def _denoise(step: _Step, kind: str, image: float, noise: float) -> torch.Tensor:
    """The image in a sample that is `image` times it and `noise` times noise. Source: Salimans and Ho, 2022."""
    sample, output = step.sample.float(), step.output.float()
    if kind == "sample":
        return output
    if kind == _FLOW:
        return sample - noise * output
    total = (image**2 + noise**2) ** 0.5
    if kind == "v_prediction":
        return image / total**2 * sample - noise / total * output
    return (sample - noise * output) / max(image, 1e-4)
