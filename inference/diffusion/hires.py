"""Hires fix: an image is made at the asked size, enlarged, and refined by the image-to-image pipeline.

Both passes are those of stock pipelines with one seed, and the picture is enlarged in pixels (Lanczos): latents of
autoencoders that reduce strongly are too coarse to be enlarged themselves. The refinement makes as many steps as the
first pass, as A1111 and SD.Next count them.
"""

import io
import math
from dataclasses import replace

import numpy
from PIL import Image

from bot.commands.drawing_options import HIRES_STRENGTH, hires_size
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE
from bot.ports import Task, TaskImage

_MAX_STEPS = {"lcm": 50, "tcd": 50}
"""Of a schedule: the samplers of distilled models have no more."""
_MAX_USUAL_STEPS = 1000


def wants_hires(task: Task) -> bool:
    return bool(task.options.get("hires"))


def first_task(task: Task) -> Task:
    """What is drawn before it is enlarged."""
    options = {name: value for name, value in task.options.items() if name != "hires"}
    return replace(task, options=options)


def second_task(task: Task, pixels: numpy.ndarray) -> Task:
    """The refinement of the first pass' image, (height, width, 3), uint8."""
    options = task.options
    width, height = hires_size(task.model, int(options["width"]), int(options["height"]), float(options["hires"]))
    is_from_text = task.task != IMAGE_TO_IMAGE
    strength = float(options.get("strength", HIRES_STRENGTH)) if is_from_text else HIRES_STRENGTH
    enlarged = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    steps = schedule_steps(int(options["steps"]), strength, str(options.get("sampler", "")))
    changed = {"width": width, "height": height, "strength": strength, "steps": steps}
    images = (TaskImage("init", _png(enlarged)), *(image for image in task.images if image.role != "init"))
    return replace(
        first_task(task), task=IMAGE_TO_IMAGE, options={**first_task(task).options, **changed}, images=images
    )


def schedule_steps(steps: int, strength: float, sampler: str = "") -> int:
    """The steps of a schedule of which Diffusers makes this many at this strength; fewer where a schedule ends."""
    wanted = math.ceil(steps / strength)
    if int(wanted * strength) < steps:  # a rounding error
        wanted += 1
    return min(wanted, _MAX_STEPS.get(sampler, _MAX_USUAL_STEPS))


def _png(image: Image.Image) -> Media:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    return Media(out.getvalue(), "image/png")
