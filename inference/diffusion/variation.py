"""Variation seeds: the initial noise of an image lies between that of its seed and that of another one.

The two are interpolated on a sphere, which keeps their variance: x = sin((1 - w) a) / sin(a) n + sin(w a) / sin(a) m,
where a is the angle between the noises n and m, each taken as one vector, and w the strength. A1111 does the same row
by row. Everything that is drawn after the initial noise comes from the image's own seed.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from bot.models import IMAGE_TO_IMAGE
from inference.diffusion.pipeline_run import PipelineRun

SEED_COUNT = 2**32
_ALMOST_EQUAL = 0.9995
"""Cosine above which there is no plane to turn in: the noises are mixed linearly. Source: A1111, `modules/rng.py`."""
_NOISE_METHODS = ("add_noise", "scale_noise")
"""Of schedulers, by which image-to-image pipelines add the initial noise to their image."""


def mix_variation(run: PipelineRun) -> None:
    """Let this run start from mixed noise, if its task asks for it."""
    options = run.task.options
    strength = float(options.get("variation_strength", 0))
    if not strength or "variation_seed" not in options:
        return
    other = torch.Generator("cpu").manual_seed((int(options["variation_seed"]) + run.sequence.index) % SEED_COUNT)
    if strength == 1:
        run.arguments["generator"] = other
    elif run.task.task == IMAGE_TO_IMAGE:
        _mix_added_noise(run, other, strength)
    else:
        _mix_latents(run, other, strength)


def slerp(first: torch.Tensor, second: torch.Tensor, weight: float) -> torch.Tensor:
    """Spherical interpolation, in the first one's format."""
    one, other = first.double().flatten(), second.to(first.device).double().flatten()
    cosine = torch.dot(one, other) / (one.norm() * other.norm())
    if cosine > _ALMOST_EQUAL:
        mixed = one * (1 - weight) + other * weight
    else:
        angle = torch.acos(cosine)
        mixed = (torch.sin((1 - weight) * angle) * one + torch.sin(weight * angle) * other) / torch.sin(angle)
    return mixed.reshape(first.shape).to(first.dtype)


def _mix_latents(run: PipelineRun, other: torch.Generator, strength: float) -> None:
    """The pipeline makes its latents twice. They are noise times a constant, in any layout, which slerp keeps."""

    def prepare_latents(*args: Any, **kwargs: Any) -> Any:
        make: Callable[..., Any] = type(run.pipeline).prepare_latents
        bound = inspect.signature(make).bind(run.proxied, *args, **kwargs)
        own = make(*bound.args, **bound.kwargs)
        bound.arguments["generator"] = other
        second = make(*bound.args, **bound.kwargs)
        if isinstance(own, tuple):
            return (slerp(own[0], second[0], strength), *own[1:])
        return slerp(own, second, strength)

    run.overrides["prepare_latents"] = prepare_latents


def _mix_added_noise(run: PipelineRun, other: torch.Generator, strength: float) -> None:
    """The first noise that the scheduler gets is mixed: the one the image starts from.

    The other seed's own picture draws its latents from the autoencoder before its noise, so that draw is left out.
    """
    scheduler = run.overrides["scheduler"]
    mixed: list[bool] = []

    def mix_first(make: Callable[..., Any], argument: str) -> Callable[..., Any]:
        signature = inspect.signature(make)

        def add_noise(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            noise = bound.arguments[argument]
            if not mixed and noise is not None:
                for _ in ("latents", "noise"):
                    second = randn_tensor(noise.shape, generator=other, device=noise.device, dtype=noise.dtype)
                bound.arguments[argument] = slerp(noise, second, strength)
                mixed.append(True)
            return make(*bound.args, **bound.kwargs)

        return add_noise

    for name in _NOISE_METHODS:
        if hasattr(scheduler, name):
            setattr(scheduler, name, mix_first(getattr(scheduler, name), "noise"))
