"""The parts that models are made of: which they are, and how large."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a part does, and so how often it is needed."""

    DENOISER = "denoiser"
    TEXT_ENCODER = "text_encoder"
    VAE = "vae"
    VISION = "vision"
    LANGUAGE_MODEL = "language_model"
    OTHER = "other"


def role_of(name: str) -> Role:
    """By the name that Diffusers and Transformers give to a part."""
    for role, starts in _NAMES.items():
        if name.startswith(starts):
            return role
    return Role.OTHER


_NAMES = {
    Role.DENOISER: ("unet", "transformer", "prior", "denoiser"),
    Role.TEXT_ENCODER: ("text_encoder",),
    Role.VAE: ("vae", "vqvae", "vqgan", "movq"),
    Role.VISION: ("vision_model", "qformer"),
    Role.LANGUAGE_MODEL: ("language_model",),
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A component. MiB: `size_mb` in the model's format on the device, `small_mb` in 8 bits (0: it has no such)."""

    name: str
    role: Role
    size_mb: int
    small_mb: int = 0
