"""`imagine`: images from a prompt, or from a prompt and an image."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from bot.commands import inpainting
from bot.commands.base import Answer, Command
from bot.commands.best_of import check_best, share_steps, without_own_count
from bot.commands.control_check import control_cost, control_model
from bot.commands.drawing_options import (
    HIRES_STRENGTH,
    check_drawing,
    fill_variation,
    given_options,
    hires_steps,
    split_sampler,
)
from bot.commands.imagine_options import CONTROLLING, DRAWING
from bot.commands.inpainting import check_mask_shape, choose_area, repaints_part
from bot.commands.input_images import MAX_CONTROLS, MAX_REFERENCES
from bot.commands.references import check_native_references, reference_cost, reference_model
from bot.commands.region_words import check_region_options
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.jobs import ImageRef, StoredImage
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry, ModelSpec
from bot.options import MAX_SEED, OptionSpec

_SIZE = re.compile(r"(\d{1,9})\s*[xX\u00d7*]\s*(\d{1,9})")
_ASPECT = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)\s*[:/]\s*(\d{1,4}(?:\.\d{1,3})?)")
MAX_ASPECT = 4.0


@dataclass(frozen=True, kw_only=True)
class Imagine(Command):
    """`is_native`: its images are references only, and its model takes them itself."""

    name = "imagine"
    summary = N_("Make pictures from a prompt")
    unavailable = N_("I can't make pictures here yet; the owner can add a model.")
    answers = Answer.IMAGES
    smoke_tests: ClassVar[tuple[str, ...]] = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
    smoke_test_values: ClassVar[Mapping[str, Any]] = {"prompt": "a red fox in the snow"}
    roles: ClassVar[tuple[str, ...]] = ("init", "mask", "control", "reference")
    images_allowed = 1
    further_images: ClassVar[Mapping[str, int]] = {"mask": 1, "control": MAX_CONTROLS, "reference": MAX_REFERENCES}
    specs: ClassVar[tuple[OptionSpec, ...]] = (*DRAWING, *CONTROLLING)
    is_native: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", split_sampler(self.values))

    @classmethod
    def from_options(
        cls, options: Mapping[str, Any], images: Sequence[ImageRef] = (), *, is_album: bool = False
    ) -> Self:
        return super().from_options(without_own_count(options), images, is_album=is_album)

    @property
    def task(self) -> str:
        if self.is_native:
            return IMAGE_TEXT_TO_IMAGE
        return IMAGE_TO_IMAGE if self.images_of("init") else TEXT_TO_IMAGE

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """A model that takes images as references only, if it is asked for or no other is a default."""
        wanted = self.values.get("model")
        if self.images_of("reference") and (not wanted or models.get(wanted) is not None):
            referring = reference_model(models, self.images, self.task, command=self.name, wanted=wanted)
            return control_model(models, self.images, self.task, referring, is_asked=True)
        model = (
            models.get(wanted) if wanted else models.default_for(self.task) or models.default_for(IMAGE_TEXT_TO_IMAGE)
        )
        chosen = model if model is not None and self.needs_references(model) else super().choose_model(models)
        return control_model(models, self.images, self.task, chosen, is_asked=bool(wanted))

    def with_images(self, pictures: Sequence[StoredImage]) -> Self:
        check_mask_shape(self.images, pictures)
        return self

    def needs_references(self, model: ModelSpec) -> bool:
        """Whether the model cannot start from the image, but takes it as a reference."""
        can_start = IMAGE_TO_IMAGE in model.tasks or self.task != IMAGE_TO_IMAGE
        return not can_start and IMAGE_TEXT_TO_IMAGE in model.tasks

    def check_reference(self, model: ModelSpec) -> None:
        """Raises: InvalidOption: what was asked for needs a model that starts from the image."""
        if self.values.get("strength") is not None:
            raise InvalidOption("strength", "model_lacks", value=model.name)

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        values = self.values
        if self.needs_references(model):
            self.check_reference(model)
        if self.is_native:
            check_native_references(self.images, model)
        check_region_options(values, {image.role for image in self.images})
        steps = values.get("steps") or model.steps
        if steps > model.max_steps:
            raise InvalidOption("steps", "range", value=steps, allowed=f"1 to {model.max_steps}")
        if values.get("strength") is not None and not self.images_of("init") and not values.get("hires"):
            raise InvalidOption("strength", "needs_init")
        if values.get("negative_prompt") and not model.takes_negative:
            raise InvalidOption("negative_prompt", "model_lacks", value=model.name)
        guidance = values.get("guidance_scale")
        if guidance is not None and guidance != model.guidance_scale and not model.takes_guidance:
            raise InvalidOption("guidance_scale", "model_lacks", value=model.name)
        width, height = self._choose_size(model, aspect)
        check_best(values)
        count = values.get("best") or values.get("count", 1)
        if values.get("seed", 0) + count - 1 > MAX_SEED:
            raise InvalidOption("seed", "range", value=values["seed"], allowed=f"0 to {MAX_SEED - count + 1}")
        filled: dict[str, Any] = {
            "prompt": values["prompt"],
            "negative_prompt": values.get("negative_prompt", ""),
            "seed": values.get("seed", min(seed, MAX_SEED - count + 1)),
            "count": count,
            "steps": steps,
            "guidance_scale": values.get("guidance_scale", model.guidance_scale),
            "width": width,
            "height": height,
            "sampler": self._choose_sampler(model),
            "model": model.name,
        }
        if values.get("best"):
            filled["best"] = values["best"]
        if values.get("style"):
            filled["style"] = values["style"]
        filled |= given_options(CONTROLLING, values)
        filled.pop("inpaint_area", None)
        if self.images_of("init"):
            is_partial = repaints_part(values, self.images)
            filled["strength"] = values.get("strength", inpainting.STRENGTH if is_partial else model.strength)
            if is_partial:
                filled["inpaint_area"] = choose_area(values)
        elif values.get("hires"):
            filled["strength"] = values.get("strength", HIRES_STRENGTH)
        fill_variation(filled, seed)
        check_drawing(filled, model, self.images)
        return filled

    def _choose_sampler(self, model: ModelSpec) -> str:
        wanted = str(self.values.get("sampler") or model.sampler)
        if wanted and wanted not in model.known_samplers and self.values.get("sampler"):
            raise InvalidOption("sampler", "choice", value=wanted, allowed=", ".join(model.known_samplers))
        return wanted

    def _choose_size(self, model: ModelSpec, aspect: float | None) -> tuple[int, int]:
        """Width and height in pixels. An explicit size is used or refused; one from an aspect ratio is rounded."""
        values = self.values
        given = [name for name in ("size", "aspect") if values.get(name)]
        if given and (len(given) == 2 or values.get("width") or values.get("height")):
            raise InvalidOption(given[0], "size_twice")
        if values.get("size"):
            return self._check_size(
                model,
                *_parse_pair(_SIZE, "size", values["size"], N_("WIDTHxHEIGHT, such as 512x512")),
                "size",
            )
        if values.get("aspect"):
            wide, high = _parse_pair(_ASPECT, "aspect", values["aspect"], N_("WIDTH:HEIGHT, such as 3:2"))
            return fit_aspect(model, wide / high, "aspect")
        if values.get("width") or values.get("height"):
            return self._check_size(
                model,
                values.get("width") or model.width,
                values.get("height") or model.height,
                "width",
            )
        if aspect is not None:
            return fit_aspect(model, min(MAX_ASPECT, max(1 / MAX_ASPECT, aspect)), "aspect")
        return model.width, model.height

    def _check_size(self, model: ModelSpec, width: float, height: float, written: str) -> tuple[int, int]:
        allowed = f"{model.min_size} to {model.max_size}"
        if written == "size" and not all(model.min_size <= side <= model.max_size for side in (width, height)):
            raise InvalidOption("size", "range", value=f"{width:.0f}x{height:.0f}", allowed=allowed)
        for name, side in (("width", int(width)), ("height", int(height))):
            option = written if written == "size" else name
            if not model.min_size <= side <= model.max_size:
                raise InvalidOption(option, "range", value=side, allowed=allowed)
            if side % model.size_multiple:
                raise InvalidOption(
                    option,
                    "multiple",
                    value=side,
                    allowed=str(model.size_multiple),
                    nearest=str(_round_side(model, side)),
                )
        return int(width), int(height)

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        steps = options["steps"]
        if "strength" in options and not (options.get("hires") and self.task == TEXT_TO_IMAGE):
            steps = max(1, math.ceil(steps * options["strength"]))
        count, steps = share_steps(options, steps)
        steps += math.ceil(hires_steps(options))
        cost = reference_cost(self.images, is_native=self.is_native) * control_cost(self.images)
        area = options["width"] * options["height"] * cost
        return steps, float(area), count


def _parse_pair(pattern: re.Pattern[str], option: str, text: str, allowed: str) -> tuple[float, float]:
    match = pattern.fullmatch(text)
    if not match or not all(float(side) for side in match.groups()):
        raise InvalidOption(option, "type", value=text, allowed=allowed)
    return float(match.group(1)), float(match.group(2))


def fit_aspect(model: ModelSpec, ratio: float, written: str) -> tuple[int, int]:
    """The size closest to `ratio` (width / height) at the model's pixel area, in its multiples.

    Raises: InvalidOption: the ratio is beyond 4:1.
    """
    if not 1 / MAX_ASPECT <= ratio <= MAX_ASPECT:
        raise InvalidOption(written, "range", value=f"{ratio:.3g}", allowed="1:4 to 4:1")
    area = model.width * model.height
    return _round_side(model, math.sqrt(area * ratio)), _round_side(model, math.sqrt(area / ratio))


def _round_side(model: ModelSpec, side: float) -> int:
    """The nearest side length that the model supports."""
    step = model.size_multiple
    return min(
        model.max_size // step * step,
        max(-(-model.min_size // step) * step, round(side / step) * step),
    )
