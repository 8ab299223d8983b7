"""A family's text-to-image, image-to-image and inpainting pipelines.

Diffusers' AutoPipeline knows them for every family, but imports all pipelines, which takes a second of the start-up
time. The usual families are therefore listed here, and AutoPipeline is used for the others.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

FROM_IMAGE, WITH_MASK = "init", "mask"
_KNOWN: Mapping[str, Mapping[str, str]] = {
    "StableDiffusionPipeline": {
        FROM_IMAGE: "StableDiffusionImg2ImgPipeline",
        WITH_MASK: "StableDiffusionInpaintPipeline",
    },
    "StableDiffusionXLPipeline": {
        FROM_IMAGE: "StableDiffusionXLImg2ImgPipeline",
        WITH_MASK: "StableDiffusionXLInpaintPipeline",
    },
}
_INPAINTING = frozenset({"StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline"})
"""Of models that only repaint: their denoiser takes the mask and the masked image too. Without a mask they repaint
everything."""
_ONE_KIND = frozenset({"ErnieImagePipeline", "Flux2KleinKVPipeline", "Krea2Pipeline", "QwenImage21Pipeline"})
"""Pipelines without variants, which AutoPipeline does not know, or not in each version."""
_AUTO = {FROM_IMAGE: "AutoPipelineForImage2Image", WITH_MASK: "AutoPipelineForInpainting"}


def text_to_image_class(class_name: str) -> Any:
    """The class that loads a folder whose index names this class: as a text-to-image pipeline, if it can be one."""
    return getattr(
        diffusers, class_name if class_name in {*_KNOWN, *_INPAINTING, *_ONE_KIND} else "AutoPipelineForText2Image"
    )


def pipeline_variant(pipeline: Any, kind: str) -> Any:
    """The pipeline of this kind with the same components. Raises: ValueError: Diffusers has none for the family."""
    if type(pipeline).__name__ in _INPAINTING:
        return pipeline
    name = _KNOWN.get(type(pipeline).__name__, {}).get(kind)
    if name is None:
        return getattr(diffusers, _AUTO[kind]).from_pipe(pipeline)
    variant = getattr(diffusers, name)
    accepted = inspect.signature(variant.__init__).parameters
    components = {part: module for part, module in pipeline.components.items() if part in accepted}
    config = {key: pipeline.config[key] for key in accepted if key in pipeline.config and key not in components}
    return variant(**components, **config)
