"""Inpainting masks: what a pipeline gets of a mask file, whose meaning `inference.images.mask_reading` knows."""

import numpy
from diffusers.configuration_utils import FrozenDict
from PIL import Image, ImageOps

from bot.error_texts import MASK_COVERS_ALL
from bot.errors import InvalidOption
from bot.ports import Task
from inference.images.mask_reading import REPAINTED, read_mask

AREA, MASKED = "inpaint_area", "masked"
"""The task's option, and the value with which the picture keeps its own size."""
_NOISE = 8
"""Of 255: what is below this counts as black; JPEG surrounds edges with it."""
_BLENDING_CHANNELS, _INPAINTING_CHANNELS = 4, 9
"""Of a UNet, as Diffusers' pipelines know them: latents are blended after each step, or mask and image are inputs."""


def mask_of(task: Task) -> bytes | None:
    return next((image.media.data for image in task.images if image.role == "mask"), None)


def keeps_size(task: Task) -> bool:
    """Whether only a part of the picture is repainted, so that the picture keeps its own size."""
    return task.options.get(AREA) == MASKED


def mask_notes(task: Task) -> list[str]:
    """What the person should know about the task's mask. Raises: InvalidOption: it selects nothing."""
    data = mask_of(task)
    if data is None:
        return []
    size = (int(task.options["width"]), int(task.options["height"]))
    mask = read_mask(data) if keeps_size(task) else fit_mask(data, *size)
    if is_empty(mask):
        raise InvalidOption("mask", "mask_empty")
    return [MASK_COVERS_ALL] if int(mask.getextrema()[0]) >= REPAINTED else []  # type: ignore[arg-type]


def fit_mask(data: bytes, width: int, height: int) -> Image.Image:
    """The mask scaled to cover the size and cropped at its center, as the input image is; 255 is repainted, 0 kept.

    Bilinear, because a filter that overshoots would mark pixels away from an edge. Strokes that are all too thin for
    this size get a pixel's width.
    """
    mask = read_mask(data)
    if mask.size == (width, height):
        return mask
    fitted = ImageOps.fit(mask, (width, height), Image.Resampling.BILINEAR)
    if is_empty(fitted) and not is_empty(mask):
        strokes = ImageOps.fit(mask.point(_at_least(REPAINTED)), (width, height), Image.Resampling.BILINEAR)
        fitted = strokes.point(_at_least(1))
    return fitted


def fit_mask_to_picture(data: bytes, size: tuple[int, int]) -> Image.Image:
    """The mask in the size of its picture; what is nearly black is black."""
    return fit_mask(data, *size).point([value * (value >= _NOISE) for value in range(256)])


def scale_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The mask at the size at which a picture is computed; in another size, all that a white pixel touches is white."""
    if mask.size == size:
        return mask
    scaled = mask.point(_at_least(REPAINTED)).resize(size, Image.Resampling.BILINEAR)
    return scaled.point(_at_least(1))


def _at_least(level: int) -> list[int]:
    """White from this level on, else black: a table for `Image.point`."""
    return [255 * (value >= level) for value in range(256)]


def is_empty(mask: Image.Image) -> bool:
    return int(mask.getextrema()[1]) < REPAINTED  # type: ignore[arg-type]


def grow_to_cells(mask: Image.Image, cell: int) -> Image.Image:
    """Black or white: each latent cell of `cell` pixels is repainted if one of its pixels is.

    Pipelines sample one pixel of each cell, which would miss thin strokes.
    """
    pixels = numpy.asarray(mask) >= REPAINTED
    height, width = pixels.shape
    cells = pixels.reshape(height // cell, cell, width // cell, cell).any(axis=(1, 3))
    return Image.fromarray(cells.repeat(cell, axis=0).repeat(cell, axis=1).astype(numpy.uint8) * 255)


def accept_latent_channels(pipeline: object, model_name: str) -> None:
    """Let an inpainting pipeline blend latents of any channel count.

    Diffusers compares the UNet's channels with 4, where it means those of the latents.
    `pipeline`: its UNet is a `ModuleProxy` of this run. Raises: InvalidOption: the UNet has other inputs.
    """
    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    if unet is None or unet.config.in_channels in (_BLENDING_CHANNELS, _INPAINTING_CHANNELS):
        return
    if vae is None or unet.config.in_channels != vae.config.latent_channels:
        raise InvalidOption("mask", "model_lacks", value=model_name)
    unet.__dict__["config"] = FrozenDict({**unet.config, "in_channels": _BLENDING_CHANNELS})
