"""Resizing and normalisation for the SAM family: Transformers' own processors need torchvision."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SamImageProcessor:
    """An image stretched to a square of `side` pixels, normalised by channel."""

    def __init__(self, side: int, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD):
        self.side, self._mean, self._std = side, mean, std

    @classmethod
    def from_folder(cls, folder: Path, side: int, mean: tuple[float, ...], std: tuple[float, ...]):  # type: ignore[no-untyped-def]
        """By the folder's config, with these values where it has none. `side`: of the model's input."""
        config = _read_config(folder)
        return cls(side, tuple(config.get("image_mean") or mean), tuple(config.get("image_std") or std))

    def __call__(self, images: Image.Image, **_: Any) -> dict[str, torch.Tensor]:
        """Pixel values, (1, 3, side, side)."""
        resized = images.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(numpy.array(resized)).permute(2, 0, 1)[None].float() / 255
        mean, std = (torch.tensor(values)[None, :, None, None] for values in (self._mean, self._std))
        return {"pixel_values": (pixels - mean) / std}

    def scale_boxes(self, boxes: torch.Tensor) -> torch.Tensor:
        """From shares of the image to pixels of the model's input, (boxes, 4)."""
        return boxes * self.side


def _read_config(folder: Path) -> Mapping[str, Any]:
    for name in ("processor_config.json", "preprocessor_config.json"):
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            found = config.get("image_processor", config)
            if isinstance(found, dict):
                return found
        except (OSError, ValueError, AttributeError):
            continue
    return {}
