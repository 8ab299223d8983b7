"""Processors of text encoders that see images, built without torchvision.

Transformers loads Qwen's together with a video processor, which needs torchvision; images need only Pillow.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

_IMAGE_PROCESSORS: Mapping[str, Any] = {
    "Qwen2VLProcessor": Qwen2VLImageProcessorPil,
    "Qwen2_5_VLProcessor": Qwen2VLImageProcessorPil,
    "Qwen3VLProcessor": Qwen2VLImageProcessorPil,
}
"""Image processors by the class name of the processor in a pipeline's index."""
_VIDEO = "video_processor"
_MARKERS = ("image_token", "video_token")
"""Attributes of processors: the texts that stand for an image and for a video."""


def load_processors(index: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The processors of a pipeline's folder that would need torchvision, by component name. `index`: its
    `model_index.json`."""
    named = {name: entry[1] for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2}
    return {
        name: _load_processor(class_name, folder / name)
        for name, class_name in named.items()
        if class_name in _IMAGE_PROCESSORS
    }


def spell_markers(processor: Any, text: str) -> str:
    """A prompt whose markers of images and videos are only words: each would stand for a picture that there is not."""
    for marker in filter(None, (getattr(processor, name, None) for name in _MARKERS)):
        text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return text


def _load_processor(class_name: str, folder: Path) -> Any:
    kind = _without_video(getattr(transformers, class_name))
    settings, _ = kind.get_processor_dict(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    template = settings.get("chat_template") or tokenizer.chat_template
    return kind(_load_image_processor(class_name, folder), tokenizer, None, chat_template=template)


def _load_image_processor(class_name: str, folder: Path) -> Any:
    return _IMAGE_PROCESSORS[class_name].from_pretrained(folder, local_files_only=True)


@cache
def _without_video(kind: Any) -> Any:
    """The class, with None for its video processor."""

    def check_argument(processor: Any, name: str, argument: Any) -> Any:
        return None if name == _VIDEO else kind.check_argument_for_proper_class(processor, name, argument)

    return type(
        kind.__name__, (kind,), {"__module__": kind.__module__, "check_argument_for_proper_class": check_argument}
    )
