"""Easel's options as the arguments of a Diffusers pipeline. Diffusers' own names appear only here."""

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from PIL import Image, ImageOps

from bot.errors import EngineError, InvalidOption
from bot.ports import Task
from inference.diffusion.batching_flow import unpacked
from inference.diffusion.loader import takes

SEEDS = 2**32
_ARGUMENTS: Mapping[str, str] = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "image_guidance_scale": "image_guidance_scale",
    "width": "width",
    "height": "height",
    "seed": "generator",
}
_SHORTEST, _LONGEST = 64, 8
"""Of a picture to refer to: pixels of the shorter side, and how many times that the longer may be."""
_PROMPTS = ("prompt", "negative_prompt")
NOT_A_NUMBER = (
    "the picture holds values that are no numbers: half precision overflowed, most likely in the decoder; "
    'give the model dtype = "fp32" or "bf16"'
)

OnStep = Callable[[int, int, Any], None]
"""Called with the step just made, of how many, and the latents, (1, channels, h, w), or None."""


def options_of(pipeline: Any, *, has_strength: bool) -> list[str]:
    """Easel's names of the options that the pipeline takes."""
    known = takes(pipeline)
    options = [name for name, argument in _ARGUMENTS.items() if argument in known]
    return [*options, "count", "sampler", *(["strength"] if has_strength else [])]


def render(
    pipeline: Any, task: Task, seed: int, on_step: OnStep, said: Mapping[str, Any] | None = None
) -> tuple[numpy.ndarray, bool]:
    """Make one picture.

    Args:
        said: the arguments that stand for its prompts; the prompts themselves, when not given.

    Returns:
        The picture, uint8 RGB, (height, width, 3), and whether the model's own filter blanked it.

    Raises:
        InvalidOption: a size that the model cannot make.
        EngineError: a value is NaN or infinite.
    """
    known = takes(pipeline)
    size = (int(task.options["width"]), int(task.options["height"]))
    canvas = _canvas(pipeline, size)
    arguments = _arguments(task, seed, canvas) | {"output_type": "np", "num_images_per_prompt": 1}
    if said is not None:
        arguments = {name: value for name, value in arguments.items() if name not in _PROMPTS} | dict(said)
    if "callback_on_step_end" in known:
        arguments["callback_on_step_end"] = _callback(on_step, int(task.options["steps"]), canvas)
        arguments["callback_on_step_end_tensor_inputs"] = ["latents"]
    try:
        made = pipeline(**{name: value for name, value in arguments.items() if name in known})
    except ValueError as error:
        raise _about_size(task, error) or error from None
    return _cropped(_pixels(made.images), size), any(getattr(made, "nsfw_content_detected", None) or ())


def _canvas(pipeline: Any, size: tuple[int, int]) -> tuple[int, int]:
    """The size to compute: whole latent cells, or patches of them, and the 8 pixels that most pipelines insist on.
    Diffusers would round down and give a smaller picture."""
    processor = getattr(getattr(pipeline, "image_processor", None), "config", {})
    cell = max(8, int(getattr(pipeline, "vae_scale_factor", 8)), int(processor.get("vae_scale_factor", 8)))
    width, height = (-(-side // cell) * cell for side in size)
    return width, height


def _cropped(picture: numpy.ndarray, size: tuple[int, int]) -> numpy.ndarray:
    """The middle of the picture, (height, width, 3), in the size asked for: width, height."""
    left, top = (max(0, (picture.shape[axis] - side) // 2) for axis, side in ((1, size[0]), (0, size[1])))
    return numpy.ascontiguousarray(picture[top : top + size[1], left : left + size[0]])


def _arguments(task: Task, seed: int, size: tuple[int, int]) -> dict[str, Any]:
    options = task.options
    arguments = {argument: options[name] for name, argument in _ARGUMENTS.items() if name in options}
    # On the CPU everywhere: one seed, one picture, whatever the device.
    arguments["generator"] = torch.Generator("cpu").manual_seed(seed)
    arguments["width"], arguments["height"] = size
    arguments["negative_prompt"] = options.get("negative_prompt") or None
    pictures = pictures_of(task, size)
    if pictures:
        arguments["image"] = pictures if len(pictures) > 1 else pictures[0]
    mask = next((image.media.data for image in task.images if image.role == "mask"), None)
    if mask is not None:
        arguments["mask_image"] = covering(mask, *size).convert("L")
    if pictures and "strength" in options:
        arguments["strength"] = _strength(float(options["strength"]), int(options["steps"]))
    return arguments


def pictures_of(task: Task, size: tuple[int, int]) -> list[Image.Image]:
    """The picture to start from, covering the size (width, height); then those to refer to, in their own shapes."""
    inits = [covering(image.media.data, *size) for image in task.images if image.role == "init"]
    return inits[:1] + [reference(image.media.data) for image in task.images if image.role == "reference"]


def covering(data: bytes, width: int, height: int) -> Image.Image:
    """The picture scaled to cover the size and cropped at its middle; transparency becomes white."""
    return ImageOps.fit(_on_white(data), (width, height), Image.Resampling.LANCZOS)


def reference(data: bytes) -> Image.Image:
    """The picture as it is, unless a side is shorter than 64 pixels or one is more than 8 times the other, which
    Diffusers refuses: it is enlarged, and cropped at its middle. Larger ones the pipelines shrink themselves."""
    image = _on_white(data)
    shorter = max(_SHORTEST, min(image.size))
    factor = shorter / min(image.size)
    width, height = (min(round(side * factor), _LONGEST * shorter) for side in image.size)
    return image if (width, height) == image.size else ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def _on_white(data: bytes) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.mode == "RGB":
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _strength(strength: float, steps: int) -> float:
    """At least one step's worth: Diffusers makes `int(steps * strength)` steps and fails at none."""
    return max(strength, (1 + 1e-6) / steps)


def _callback(on_step: OnStep, steps: int, size: tuple[int, int]) -> Callable[..., dict[str, Any]]:
    def on_step_end(pipeline: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        total = getattr(pipeline, "num_timesteps", None) or steps
        on_step(min(index + 1, total), total, unpacked(pipeline, values.get("latents"), size))
        return {}

    return on_step_end


def _pixels(images: Any) -> numpy.ndarray:
    """Float in [0, 1], (1, height, width, 3), to bytes."""
    picture = numpy.asarray(images)[0]
    if not numpy.isfinite(picture).all():
        raise EngineError(detail=NOT_A_NUMBER)
    return (picture * 255).round().astype(numpy.uint8)


def _about_size(task: Task, error: ValueError) -> InvalidOption | None:
    """Diffusers' complaint about a size, as ours."""
    found = re.search(r"divisible by (\d+)", str(error))
    if found is None:
        return None
    multiple = int(found[1])
    wrong = "width" if int(task.options["width"]) % multiple else "height"
    value = int(task.options[wrong])
    nearest = max(multiple, round(value / multiple) * multiple)
    return InvalidOption(wrong, "multiple", value=value, allowed=str(multiple), nearest=str(nearest))
