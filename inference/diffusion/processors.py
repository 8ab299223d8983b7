"""Processors of text encoders that see images, built without torchvision."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.checkpoints.pil_processors import build_processor

_IMAGE_PROCESSORS: Mapping[str, str] = {
    "Qwen2VLProcessor": "Qwen2VLImageProcessorPil",
    "Qwen2_5_VLProcessor": "Qwen2VLImageProcessorPil",
    "Qwen3VLProcessor": "Qwen2VLImageProcessorPil",
}
"""Image processors by the class name of the processor in a pipeline's index."""
_MARKERS = ("image_token", "video_token")
"""Attributes of processors: the texts that stand for an image and for a video."""


def load_processors(index: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The processors of a pipeline's folder that would need torchvision, by component name. `index`: its
    `model_index.json`."""
    named = {name: entry[1] for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2}
    return {
        name: build_processor(class_name, _IMAGE_PROCESSORS[class_name], folder / name)
        for name, class_name in named.items()
        if class_name in _IMAGE_PROCESSORS
    }


def spell_markers(processor: Any, text: str) -> str:
    """A prompt whose markers of images and videos are only words: each would stand for a picture that there is not."""
    for marker in filter(None, (getattr(processor, name, None) for name in _MARKERS)):
        text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return text
