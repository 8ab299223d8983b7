"""Encodes images in batches, and caches their features by content.

The question only reaches the language model, so follow-up questions about an image reuse its features.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bot.jobs import Media
from inference.images.flatten import open_on_white
from inference.vision.feature_cache import FeatureCache, Features

EncodeImages = Callable[[torch.Tensor], Features]
"""Pixels (images, 3, side, side) to tensors whose first dimension is the images."""


@dataclass(frozen=True)
class ImageInput:
    """An image to encode: its pixels, (1, 3, side, side), or its cached features."""

    key: str
    pixels: torch.Tensor | None
    features: Features | None = None


class ImageEncoder:
    """Args:
    encode: the model's forward pass from pixels to features.
    image_processor: the model's.
    revision: of the model; part of every key.
    cache: of the features.
    """

    def __init__(
        self,
        encode: EncodeImages,
        image_processor: Any,
        revision: str,
        cache: FeatureCache,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._encode = encode
        self._image_processor = image_processor
        self._revision = revision
        self._device = device
        self._dtype = dtype
        self.cache = cache

    def preprocess(self, media: Media) -> ImageInput:
        """Decode the image on white and preprocess it, unless its features are cached. Raises what Pillow raises."""
        key = f"{self._revision}/{hashlib.sha256(media.data).hexdigest()}"
        features = self.cache.get(key)
        if features is not None:
            return ImageInput(key, None, features)
        image = open_on_white(media.data)
        return ImageInput(key, self._image_processor(images=image, return_tensors="pt")["pixel_values"])

    def encode(self, inputs: Sequence[ImageInput]) -> list[Features]:
        """Features of each image, without the batch dimension. One pass for all that are not cached."""
        cached = {image.key: image.features or self.cache.get(image.key) for image in inputs}
        features = {key: value for key, value in cached.items() if value is not None}
        new = {image.key: image.pixels for image in inputs if image.key not in features}
        if new:
            pixels = torch.cat([one for one in new.values() if one is not None]).to(self._device, self._dtype)
            outputs = self._encode(pixels)
            for row, key in enumerate(new):
                features[key] = tuple(output[row].clone() for output in outputs)
                self.cache.put(key, features[key])
        return [features[image.key] for image in inputs]
