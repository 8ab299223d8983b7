"""Translates Easel's options to the arguments of a Diffusers pipeline. Diffusers' argument names appear only here."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy
import torch
from PIL import Image, ImageOps

from bot.errors import EngineError, InvalidOption
from bot.ports import Task
from inference.diffusion.batching_flow import unpack_latents
from inference.diffusion.inpainting import MaskedArea, masked_area
from inference.diffusion.loader import call_parameters
from inference.diffusion.masks import accept_latent_channels, grow_to_cells, keeps_size
from inference.diffusion.processors import spell_markers
from inference.images.flatten import cover_crop, open_on_white

SEED_COUNT = 2**32
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
_MIN_REFERENCE_SIDE, _MAX_REFERENCE_ASPECT = 64, 8
"""Of reference images: pixels of the shorter side, and longer side by shorter side."""
_MAX_SCHEDULE_STEPS = 50
"""Of a schedule that is lengthened for a low strength; LCM's has no more."""
_RGBA = 4
_CELLS: Mapping[str, int] = {"QwenImage21Pipeline": 32}
"""Where a pipeline rounds sizes down to more pixels than it says."""
TRUE_GUIDANCE = "true_cfg_scale"
"""Qwen-Image's name of the guidance scale."""
_FIXED_ARGUMENTS: Mapping[str, Any] = {"use_pe": False}
"""ERNIE-Image's language model would rewrite the prompt, at random."""
_PROMPT_ARGUMENTS = ("prompt", "negative_prompt")
HALF_PRECISION_OVERFLOW = (
    "the image contains NaN or infinite values: half precision overflowed, most likely in the VAE; "
    'set dtype = "float32" or "bfloat16" for the model'
)


@dataclass(frozen=True)
class CallChanges:
    """What plugins change of a pipeline's call.

    Attributes:
        adapt_arguments: gets the call's arguments and the names of those that the pipeline takes.
        adapt_latents: gets a step's number, the number of steps, and the latents in the pipeline's layout.
    """

    adapt_arguments: Callable[[dict[str, Any], Collection[str]], dict[str, Any]]
    adapt_latents: Callable[[int, int, Any], Any]


OnStep = Callable[[int, int, Any], None]
"""Called after each step with its number, the number of steps, and the latents, (1, channels, h, w), or None."""


def supported_options(pipeline: Any, *, has_strength: bool) -> list[str]:
    """Easel's names of the options that the pipeline supports."""
    accepted = call_parameters(pipeline)
    options = [name for name, argument in _ARGUMENTS.items() if argument in accepted]
    if TRUE_GUIDANCE in accepted and "guidance_scale" not in options:
        options.append("guidance_scale")
    return [*options, "count", "sampler", *(["strength"] if has_strength else [])]


def generate(
    pipeline: Any,
    task: Task,
    seed: int,
    on_step: OnStep,
    prompt_arguments: Mapping[str, Any] | None = None,
    added_arguments: Mapping[str, Any] = MappingProxyType({}),
    changes: CallChanges | None = None,
) -> tuple[numpy.ndarray, bool]:
    """Generate one image.

    Args:
        prompt_arguments: replace the prompts, as embeddings; None: the pipeline gets the prompts themselves.
        added_arguments: of the pipeline's call; they replace those made from the task.

    Returns:
        The image, uint8 RGB, (height, width, 3), and whether the model's own safety filter blanked it.

    Raises:
        InvalidOption: a size that the model cannot make, or a mask that it cannot use.
        EngineError: a value is NaN or infinite.
    """
    accepted = call_parameters(pipeline)
    size = (int(task.options["width"]), int(task.options["height"]))
    computed_size = _computed_size(pipeline, size)
    area = masked_area(task, computed_size, cell=_cell_size(pipeline), is_cropped="mask_image" in accepted)
    arguments = _pipeline_arguments(task, seed, computed_size, area)
    if "strength" in accepted and "strength" in arguments:
        steps, strength = fit_steps(int(task.options["steps"]), arguments["strength"])
        arguments |= {"num_inference_steps": steps, "strength": strength}
    if area is not None and "mask_image" in accepted:
        accept_latent_channels(pipeline, task.model.name)
        arguments["mask_image"] = grow_to_cells(area.computed_mask, _cell_size(pipeline))
    elif "mask_image" in accepted and "image" in arguments:
        arguments["mask_image"] = Image.new("L", computed_size, "white")
    if prompt_arguments is not None:
        arguments = {name: value for name, value in arguments.items() if name not in _PROMPT_ARGUMENTS}
        arguments |= prompt_arguments
    if TRUE_GUIDANCE in accepted:
        arguments = _with_true_guidance(arguments)
    if hasattr(pipeline, "processor"):
        prompts = {name: arguments[name] for name in _PROMPT_ARGUMENTS if arguments.get(name)}
        arguments |= {name: spell_markers(pipeline.processor, text) for name, text in prompts.items()}
    if "callback_on_step_end" in accepted:
        steps = int(task.options["steps"])
        arguments["callback_on_step_end"] = _step_callback(on_step, steps, computed_size, changes)
        arguments["callback_on_step_end_tensor_inputs"] = ["latents"]
    arguments |= {**_FIXED_ARGUMENTS, **added_arguments}
    arguments = {name: value for name, value in arguments.items() if name in accepted}
    if changes is not None:
        arguments = _refit_steps(task, arguments, changes.adapt_arguments(arguments, accepted))
    try:
        output = pipeline(**arguments)
    except ValueError as error:
        raise _size_error(task, error) or error from None
    image, was_blanked = _to_uint8(output.images), any(getattr(output, "nsfw_content_detected", None) or ())
    if area is None or was_blanked:
        return _crop_center(image, size), was_blanked
    image = area.paste(image)
    return image if keeps_size(task) else _crop_center(image, size), was_blanked


def _refit_steps(task: Task, before: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Another strength makes no more steps than were asked for. Raises: TypeError, ValueError: it is no number."""
    if arguments.get("strength") == before.get("strength"):
        return arguments
    steps, strength = fit_steps(int(task.options["steps"]), float(arguments["strength"]))
    return {**arguments, "num_inference_steps": steps, "strength": strength}


def _computed_size(pipeline: Any, size: tuple[int, int]) -> tuple[int, int]:
    """The size to compute: a multiple of the cells. Diffusers would round down and return a smaller image."""
    cell = _cell_size(pipeline)
    width, height = (-(-side // cell) * cell for side in size)
    return width, height


def _cell_size(pipeline: Any) -> int:
    """Pixels of a side of the latent cells or patches, and at least the 8 that most pipelines require."""
    processor = getattr(getattr(pipeline, "image_processor", None), "config", {})
    known = _CELLS.get(type(pipeline).__name__, 8)
    return max(known, int(getattr(pipeline, "vae_scale_factor", 8)), int(processor.get("vae_scale_factor", 8)))


def _crop_center(image: numpy.ndarray, size: tuple[int, int]) -> numpy.ndarray:
    """The center of the image, (height, width, 3), in the requested size: width, height."""
    left, top = (max(0, (image.shape[axis] - side) // 2) for axis, side in ((1, size[0]), (0, size[1])))
    return numpy.ascontiguousarray(image[top : top + size[1], left : left + size[0]])


def _pipeline_arguments(task: Task, seed: int, size: tuple[int, int], area: MaskedArea | None) -> dict[str, Any]:
    options = task.options
    arguments = {argument: options[name] for name, argument in _ARGUMENTS.items() if name in options}
    arguments |= {"output_type": "np", "num_images_per_prompt": 1}
    # On the CPU: a seed gives the same image on every device.
    arguments["generator"] = torch.Generator("cpu").manual_seed(seed)
    arguments["width"], arguments["height"] = size
    arguments["negative_prompt"] = options.get("negative_prompt") or None
    images = input_images(task, size, area)
    if images:
        arguments["image"] = images if len(images) > 1 else images[0]
    if images and "strength" in options:
        arguments["strength"] = float(options["strength"])
    return arguments


def input_images(task: Task, size: tuple[int, int], area: MaskedArea | None = None) -> list[Image.Image]:
    """The init image, cropped to the size (width, height) or to the area that is repainted; then the reference images
    that the model takes itself, in their own sizes."""
    inits = [image.media.data for image in task.images if image.role == "init"][:1]
    starts = [area.image if area is not None else cover_crop(data, *size) for data in inits]
    references = [image for image in task.images if image.role == "reference" and task.model.takes_references]
    return starts + [reference_image(image.media.data) for image in references]


def reference_image(data: bytes) -> Image.Image:
    """The image unchanged, unless a side is shorter than 64 pixels or more than 8 times the other, which Diffusers
    rejects: then enlarged and cropped at its center. The pipelines shrink larger images themselves."""
    image = open_on_white(data)
    shorter = max(_MIN_REFERENCE_SIDE, min(image.size))
    factor = shorter / min(image.size)
    width, height = (min(round(side * factor), _MAX_REFERENCE_ASPECT * shorter) for side in image.size)
    return image if (width, height) == image.size else ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def fit_steps(steps: int, strength: float) -> tuple[int, float]:
    """Schedule steps and denoising strength that make at least one step.

    Diffusers makes `int(steps * strength)` steps and fails at 0. A longer schedule, of which one step is made, keeps
    the amount of noise; a higher strength would lose the image.
    """
    if int(steps * strength) >= 1:
        return steps, strength
    longer = int(1 / max(strength, 1 / _MAX_SCHEDULE_STEPS))
    steps = min((longer, min(longer + 1, _MAX_SCHEDULE_STEPS)), key=lambda count: abs(1 / count - strength))
    least = 1 / steps
    return steps, least if int(steps * least) >= 1 else math.nextafter(least, 1)


def _with_true_guidance(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Qwen-Image's guidance needs a negative prompt, if only an empty one; its other argument is for other models."""
    given = dict(arguments)
    scale = float(given.pop("guidance_scale", None) or 1.0)
    negative = given.get("negative_prompt") if scale > 1 else None
    return given | {TRUE_GUIDANCE: scale, "negative_prompt": negative or (" " if scale > 1 else None)}


def _step_callback(
    on_step: OnStep, steps: int, size: tuple[int, int], changes: CallChanges | None
) -> Callable[..., dict[str, Any]]:
    def on_step_end(pipeline: Any, index: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        total = getattr(pipeline, "num_timesteps", None) or steps
        step, latents = min(index + 1, total), values.get("latents")
        if changes is not None:
            latents = changes.adapt_latents(step, total, latents)
        on_step(step, total, unpack_latents(pipeline, latents, size))
        return {} if changes is None else {"latents": latents}

    return on_step_end


def _to_uint8(images: Any) -> numpy.ndarray:
    """Float in [0, 1], (1, height, width, 3), to bytes; with an alpha channel, as Qwen-Image 2.1's, on white."""
    image = numpy.asarray(images)[0]
    if not numpy.isfinite(image).all():
        raise EngineError(detail=HALF_PRECISION_OVERFLOW)
    if image.shape[-1] == _RGBA:
        alpha = image[..., 3:]
        image = image[..., :3] * alpha + 1 - alpha
    return (image * 255).round().astype(numpy.uint8)


def _size_error(task: Task, error: ValueError) -> InvalidOption | None:
    """Diffusers' error about a size as an InvalidOption; None for other errors."""
    match = re.search(r"divisible by (\d+)", str(error))
    if match is None:
        return None
    multiple = int(match[1])
    option = "width" if int(task.options["width"]) % multiple else "height"
    value = int(task.options[option])
    nearest = max(multiple, round(value / multiple) * multiple)
    return InvalidOption(option, "multiple", value=value, allowed=str(multiple), nearest=str(nearest))
