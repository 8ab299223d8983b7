"""A family's pipelines: from words, from a picture, and from a picture with a mask.

Diffusers' AutoPipeline knows them of every family, and imports every pipeline that there is to know them, which takes
a second of a start. The usual families are named here, and it is asked for the others.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

FROM_PICTURE, WITH_MASK = "init", "mask"
_KNOWN: Mapping[str, Mapping[str, str]] = {
    "StableDiffusionPipeline": {
        FROM_PICTURE: "StableDiffusionImg2ImgPipeline",
        WITH_MASK: "StableDiffusionInpaintPipeline",
    },
    "StableDiffusionXLPipeline": {
        FROM_PICTURE: "StableDiffusionXLImg2ImgPipeline",
        WITH_MASK: "StableDiffusionXLInpaintPipeline",
    },
}
_AUTO = {FROM_PICTURE: "AutoPipelineForImage2Image", WITH_MASK: "AutoPipelineForInpainting"}


def from_words(class_name: str) -> Any:
    """What loads a folder whose index names this class, as a pipeline from words."""
    return getattr(diffusers, class_name if class_name in _KNOWN else "AutoPipelineForText2Image")


def sibling(pipeline: Any, kind: str) -> Any:
    """The pipeline of this kind, of the same parts. Raises: ValueError: Diffusers has none for the family."""
    name = _KNOWN.get(type(pipeline).__name__, {}).get(kind)
    if name is None:
        return getattr(diffusers, _AUTO[kind]).from_pipe(pipeline)
    made = getattr(diffusers, name)
    takes = inspect.signature(made.__init__).parameters
    parts = {part: module for part, module in pipeline.components.items() if part in takes}
    said = {key: pipeline.config[key] for key in takes if key in pipeline.config and key not in parts}
    return made(**parts, **said)
