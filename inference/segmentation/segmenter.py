"""The interface of text-to-mask models, and the table of them by class name. Imports no torch at run time.

A new model is one more file and one more line in `SEGMENTERS`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bot.commands.region_words import is_ground
from bot.errors import ModelUnavailable
from bot.models import ModelSpec

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from bot.jobs import Media


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to find in an image. Attributes:
    phrase: the words that the model gets.
    is_inverted: the mask is what does not belong to the phrase.
    """

    phrase: str
    is_inverted: bool = False


class Segmenter(Protocol):
    """Attributes:
    knows_ground: it finds a background by its name; other models only find things.
    subject: its phrase for whatever is not the background.
    edge_px: how far its edges may be off, in pixels of its masks.
    tokenizer: its own.
    """

    knows_ground: bool
    subject: str
    edge_px: int
    tokenizer: Any

    def prepare_image(self, media: Media, image: Image.Image) -> Any:
        """`image` is `media`, decoded, as RGB."""

    def find_masks(self, images: Sequence[Any], phrases: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        """For each image the probabilities of its phrases, (phrases, height, width), float32 on the CPU; of any size,
        stretched over the image. Each image is encoded once."""

    def clear_cache(self) -> None: ...

    def use_less_memory(self) -> str | None:
        """See `ComponentOffloader.use_less_memory`."""

    @property
    def dtype(self) -> torch.dtype: ...


SEGMENTERS: Mapping[str, str] = {
    "CLIPSegForImageSegmentation": "inference.segmentation.clipseg:ClipSegmenter",
    "GroundingDinoForObjectDetection": "inference.segmentation.grounding_dino:BoxSegmenter",
    "Sam2Model": "inference.segmentation.sam2:SamSegmenter",
    "Sam2VideoModel": "inference.segmentation.sam2:SamSegmenter",
    "Sam3LiteTextModel": "inference.segmentation.sam3_lite_text:ConceptSegmenter",
}
"""Import paths by the class that a model's config names. Each is called with the model, its folder, its revision and
the device."""


def load_segmenter(model: ModelSpec, folder: Path, revision: str, device: str) -> Segmenter:
    """Raises: ModelUnavailable, OutOfMemory."""
    name = _class_name(folder)
    if name not in SEGMENTERS:
        raise ModelUnavailable(model.name, f"{name or 'a model without a class'} makes no masks of texts")
    module, _, class_name = SEGMENTERS[name].partition(":")
    segmenter: Segmenter = getattr(import_module(module), class_name)(model, folder, revision, device)
    return segmenter


def _class_name(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str((config.get("architectures") or [""])[0])
    except (OSError, ValueError, AttributeError):
        return ""


def query_for(words: str, segmenter: Segmenter) -> Query:
    """What the model is asked for these words; "": the main thing.

    The ground of a model that only finds things is what is none.
    """
    if not words:
        return Query(phrase=segmenter.subject)
    if is_ground(words) and not segmenter.knows_ground:
        return Query(phrase=segmenter.subject, is_inverted=True)
    return Query(phrase=words)
