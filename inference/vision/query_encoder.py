"""Encodes images into the query tokens of BLIP-2's language model, and caches them by content and adapter.

The question only reaches the language model, so follow-up questions about an image reuse its query tokens. The vision
encoder has no adapter: while any is loaded, its output is cached as well, so that asking about the same image with
another adapter, or without, only runs the Q-Former again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bot.jobs import Media
from inference.images.flatten import open_on_white
from inference.vision.feature_cache import FeatureCache
from inference.vision.row_adapters import RowAdapters


@dataclass(frozen=True)
class QueryInput:
    """An image to encode. `pixels`: (1, 3, side, side); None while its features are cached.

    Attributes:
        digest: of the image.
        adapter: the key of the one it is encoded with.
    """

    digest: str
    adapter: str
    pixels: torch.Tensor | None = None
    patches: torch.Tensor | None = None
    queries: torch.Tensor | None = None

    @property
    def key(self) -> str:
        return f"{self.digest}/{self.adapter}"


class QueryEncoder:
    """Args:
    blip: the model.
    image_processor: its own.
    """

    def __init__(self, blip: Any, image_processor: Any, cache: FeatureCache, adapters: RowAdapters) -> None:
        self._blip = blip
        self._image_processor = image_processor
        self._adapters = adapters
        self.cache = cache

    def preprocess(self, media: Media, adapter: str) -> QueryInput:
        """Decode the image on white and preprocess it, unless its features are cached. Raises what Pillow raises."""
        digest = hashlib.sha256(media.data).hexdigest()
        queries = self._cached(f"{digest}/{adapter}")
        patches = self._cached(digest) if queries is None else None
        if queries is not None or patches is not None:
            return QueryInput(digest, adapter, patches=patches, queries=queries)
        image = open_on_white(media.data)
        return QueryInput(digest, adapter, self._image_processor(images=image, return_tensors="pt")["pixel_values"])

    def encode(self, inputs: Sequence[QueryInput]) -> list[torch.Tensor]:
        """The query tokens of each image, (queries, width of the language model); at most one pass of each part."""
        found = {one.key: one.queries if one.queries is not None else self._cached(one.key) for one in inputs}
        queries = {key: value for key, value in found.items() if value is not None}
        new = list({one.key: one for one in inputs if one.key not in queries}.values())
        if new:
            patches = self._encode_patches(new)
            with self._adapters.applied([one.adapter for one in new]):
                outputs = project_queries(self._blip, torch.stack([patches[one.digest] for one in new]))
            for row, one in enumerate(new):
                queries[one.key] = outputs[row].clone()
                self.cache.put(one.key, (queries[one.key],))
        return [queries[one.key] for one in inputs]

    def _encode_patches(self, inputs: Sequence[QueryInput]) -> dict[str, torch.Tensor]:
        """The vision encoder's output by image, (patches, its width)."""
        found = {one.digest: one.patches if one.patches is not None else self._cached(one.digest) for one in inputs}
        patches = {digest: value for digest, value in found.items() if value is not None}
        new = {one.digest: one.pixels for one in inputs if one.digest not in patches and one.pixels is not None}
        if new:
            pixels = torch.cat(list(new.values())).to(self._blip.device, self._blip.vision_model.dtype)
            outputs = self._encode(pixels)
            for row, digest in enumerate(new):
                patches[digest] = outputs[row].clone()
                if len(self._adapters):
                    self.cache.put(digest, (patches[digest],))
        return patches

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        patches: torch.Tensor = self._blip.vision_model(pixel_values=pixels).last_hidden_state
        return patches

    def _cached(self, key: str) -> torch.Tensor | None:
        features = self.cache.get(key)
        return features[0] if features is not None else None


def project_queries(blip: Any, patches: torch.Tensor) -> torch.Tensor:
    """The Q-Former's query tokens, projected for the language model, (images, queries, its width).

    `patches`: the vision encoder's output, (images, patches, its width).
    """
    queries = blip.query_tokens.expand(len(patches), -1, -1)
    mask = torch.ones(patches.shape[:-1], dtype=torch.long, device=patches.device)
    output = blip.qformer(query_embeds=queries, encoder_hidden_states=patches, encoder_attention_mask=mask)
    projected: torch.Tensor = blip.language_projection(output.last_hidden_state.to(patches.dtype))
    return projected
