"""Pictures as a model sees them: looked at once, in batches, and kept by their content.

The question reaches only the language model, so whoever asks again about a picture needs no second look.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from bot.jobs import Media
from inference.vision.feature_cache import Found, Kept

See = Callable[[torch.Tensor], Found]
"""Pixels (pictures, 3, side, side) to tensors whose first dimension is the pictures."""


@dataclass(frozen=True)
class Look:
    """A picture to be looked at: its pixels (1, 3, side, side), or what was seen the last time."""

    key: str
    pixels: torch.Tensor | None
    found: Found | None = None


class Looks:
    """Args:
    see: the model's own way from pixels to what is kept.
    images: its image processor.
    revision: of the model; part of every key.
    kept: where what was seen is kept.
    """

    def __init__(
        self, see: See, images: Any, revision: str, kept: Kept, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._see = see
        self._images = images
        self._revision = revision
        self._device = device
        self._dtype = dtype
        self.kept = kept

    def prepare(self, media: Media) -> Look:
        """Read the picture, unless it is known. Raises what Pillow raises."""
        key = f"{self._revision}/{hashlib.sha256(media.data).hexdigest()}"
        found = self.kept.get(key)
        if found is not None:
            return Look(key, None, found)
        image = Image.open(io.BytesIO(media.data)).convert("RGB")
        return Look(key, self._images(images=image, return_tensors="pt")["pixel_values"])

    def see(self, looks: Sequence[Look]) -> list[Found]:
        """What is seen in each, every tensor without the dimension of pictures. One pass for all that are new."""
        known = {look.key: found for look in looks if (found := look.found or self.kept.get(look.key)) is not None}
        new = {look.key: look.pixels for look in looks if look.key not in known}
        if new:
            pixels = torch.cat([one for one in new.values() if one is not None]).to(self._device, self._dtype)
            seen = self._see(pixels)
            for number, key in enumerate(new):
                known[key] = tuple(one[number].clone() for one in seen)
                self.kept.put(key, known[key])
        return [known[look.key] for look in looks]
