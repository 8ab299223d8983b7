"""Noise for training: what a denoiser gets and what it should predict, by its scheduler's configuration.

Source: Diffusers' training recipes (noise, velocity and sample prediction; flow matching with the scheduler's shift);
"Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv:2305.08891) for schedules that end at pure noise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from bot.errors import TrainingRefused
from inference.learning.image_families import ImageFamily

PURE_NOISE_SHARE = 0.3
"""Of rows at the last time, where schedules end at pure noise: there only the prompt decides what the picture is."""


@dataclass(frozen=True)
class NoisyRows:
    """Latents with noise, the time as the denoiser counts, (rows,), and what it should predict."""

    noisy: Tensor
    times: Tensor
    target: Tensor


class DiffusionNoise:
    """Of schedulers that predict noise, velocity or the sample."""

    def __init__(self, config: Any) -> None:
        self._scheduler = DDPMScheduler.from_config(config)
        self._kind = self._scheduler.config.prediction_type
        self._last = int(self._scheduler.config.num_train_timesteps) - 1
        self._ends_pure = bool(config.get("rescale_betas_zero_snr"))

    def draw_levels(self, rows: int, rng: np.random.Generator) -> Tensor:
        """In [0, 1), (rows,)."""
        levels = rng.random(rows)
        if self._ends_pure:
            levels[rng.random(rows) < PURE_NOISE_SHARE] = 1.0
        return torch.from_numpy(levels)

    def add(self, clean: Tensor, noise: Tensor, levels: Tensor) -> NoisyRows:
        times = (levels * (self._last + 1)).long().clamp(0, self._last).to(clean.device)
        noisy = self._scheduler.add_noise(clean, noise, times)
        match self._kind:
            case "epsilon":
                target = noise
            case "v_prediction":
                target = self._scheduler.get_velocity(clean, noise, times)
            case _:
                target = clean
        return NoisyRows(noisy, times, target)


class FlowNoise:
    """Of flow matching: the way from image to noise is straight, and its direction is predicted."""

    def __init__(self, config: Any, family: ImageFamily) -> None:
        self._shift = 1.0 if config.get("use_dynamic_shifting") else float(config.get("shift") or 1.0)
        self._family = family

    def draw_levels(self, rows: int, rng: np.random.Generator) -> Tensor:
        levels = rng.random(rows)
        return torch.from_numpy(self._shift * levels / (1 + (self._shift - 1) * levels))

    def add(self, clean: Tensor, noise: Tensor, levels: Tensor) -> NoisyRows:
        family, levels = self._family, levels.to(clean.device, torch.float32)
        shares = levels.view(-1, *[1] * (clean.ndim - 1))
        noisy, velocity = (1 - shares) * clean + shares * noise, noise - clean
        times = (1 - levels if family.is_reversed else levels) * family.time_scale
        return NoisyRows(noisy, times, -velocity if family.is_reversed else velocity)


def make_noise(scheduler: Any, family: ImageFamily, model: str) -> DiffusionNoise | FlowNoise:
    """Raises: TrainingRefused: the scheduler predicts something else."""
    if family.is_flow:
        return FlowNoise(scheduler.config, family)
    if scheduler.config.get("prediction_type") not in ("epsilon", "v_prediction", "sample"):
        raise TrainingRefused("model", model=model, detail="its scheduler is of a kind that trainings do not know")
    return DiffusionNoise(scheduler.config)
