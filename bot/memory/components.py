"""The components of models: their roles and sizes."""

from dataclasses import dataclass
from enum import StrEnum

from bot.memory.weights import EIGHT_BIT, FOUR_BIT, FP8


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
    ComponentRole.VISION: ("vision_model", "vision_tower", "visual", "qformer"),
    ComponentRole.LANGUAGE_MODEL: ("language_model", "text_model"),
    ComponentRole.CONTROL: ("control",),
}


@dataclass(frozen=True, kw_only=True)
class Component:
    """A component. MiB: `size_mb` in its number format on the device, `quantized_mb` in 8 bits, `fp8_mb` in 8-bit
    floats, `four_bit_mb` in 4 bits; 0: it has no such form."""

    name: str
    role: ComponentRole
    size_mb: int
    quantized_mb: int = 0
    fp8_mb: int = 0
    four_bit_mb: int = 0

    def format_for(self, weights: str) -> str:
        """The format, if the component has it and is smaller in it; otherwise "": its own."""
        return weights if 0 < self._sizes_mb.get(weights, 0) < self.size_mb else ""

    def has_format(self, weights: str) -> bool:
        return self._sizes_mb.get(weights, 0) > 0

    def size_in(self, weights: str) -> int:
        """MiB in the format, or in its own if it does not have it."""
        return self._sizes_mb.get(self.format_for(weights), self.size_mb)

    @property
    def _sizes_mb(self) -> dict[str, int]:
        return {EIGHT_BIT: self.quantized_mb, FP8: self.fp8_mb, FOUR_BIT: self.four_bit_mb}
