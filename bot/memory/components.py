"""The components of models: their roles and sizes."""

from dataclasses import dataclass
from enum import StrEnum


class ComponentRole(StrEnum):
    """What a component does, and thereby how often it is needed."""

    DENOISER = "denoiser"
    TEXT_ENCODER = "text_encoder"
    VAE = "vae"
    VISION = "vision"
    LANGUAGE_MODEL = "language_model"
    CONTROL = "control"
    OTHER = "other"


def component_role(name: str) -> ComponentRole:
    """The role of a component by its name in Diffusers or Transformers."""
    for role, starts in _NAME_PREFIXES.items():
        if name.startswith(starts):
            return role
    return ComponentRole.OTHER


_NAME_PREFIXES = {
    ComponentRole.DENOISER: ("unet", "transformer", "prior", "denoiser"),
    ComponentRole.TEXT_ENCODER: ("text_encoder",),
    ComponentRole.VAE: ("vae", "vqvae", "vqgan", "movq"),
    ComponentRole.VISION: ("vision_model", "qformer"),
    ComponentRole.LANGUAGE_MODEL: ("language_model",),
    ComponentRole.CONTROL: ("control",),
}


@dataclass(frozen=True, kw_only=True)
class Component:
    """A component. MiB: `size_mb` in its number format on the device, `quantized_mb` in 8 bits (0: not quantizable)."""

    name: str
    role: ComponentRole
    size_mb: int
    quantized_mb: int = 0
