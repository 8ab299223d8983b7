"""`upscale`: an image at a multiple of its size.

A model that supports the target size refines the enlarged image slightly (image to image); otherwise the image is only
resized, and the result says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from bot.commands.base import Answer, Command
from bot.commands.imagine import Imagine
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_, Translate
from bot.jobs import StoredImage
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelRegistry, ModelSpec
from bot.options import OptionSpec

REFINE, RESIZE = "refine", "resize"
STRENGTH = 0.3
"""Denoising strength, low enough to keep the image recognisable."""
_SHARED_OPTIONS = ("negative_prompt", "seed", "steps", "guidance_scale", "sampler", "model")
_IMAGINE_SPECS = {spec.name: spec for spec in Imagine.specs}


@dataclass(frozen=True, kw_only=True)
class Upscale(Command):
    """`size`: width and height of the input image, once it has been measured."""

    name = "upscale"
    summary = N_("Make a picture larger: refined up to the largest size that a model can draw, else only resized")
    unavailable = N_("I can't upscale pictures here yet; the owner can add a model.")
    answers = Answer.IMAGES
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    is_per_image = True
    keeps_author = True
    specs = (
        replace(
            _IMAGINE_SPECS["prompt"],
            help=N_("What the picture shows; guides refinement"),
            is_required=False,
            default="",
        ),
        OptionSpec(name="scale", kind=int, help=N_("Scale factor"), minimum=2, maximum=4, default=2, is_advanced=True),
        OptionSpec(
            name="method",
            kind=str,
            help=N_("Refine with a model, or only resize (default: refine if a model supports the size)"),
            choices=(REFINE, RESIZE),
            is_advanced=True,
        ),
        OptionSpec(
            name="strength",
            kind=float,
            help=N_("Denoising strength of the refinement"),
            minimum=0.01,
            maximum=1,
            default=STRENGTH,
        ),
        *(_IMAGINE_SPECS[name] for name in _SHARED_OPTIONS),
    )
    size: tuple[int, int] | None = None

    @property
    def task(self) -> str:
        return IMAGE_TO_IMAGE

    def with_images(self, pictures: Sequence[StoredImage]) -> Self:
        return replace(self, size=(pictures[0].width, pictures[0].height)) if pictures else self

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """A model that can refine at the target size, else any: resizing needs none, but a job always names one."""
        wanted = self.values.get("model")
        if wanted and models.get(wanted) is None:
            raise InvalidOption("model", "choice", value=wanted, allowed=", ".join(spec.name for spec in models))
        able = [
            spec
            for spec in models
            if self.can_refine(spec) and (wanted == spec.name if wanted else not models.is_stand_in(spec, self.task))
        ]
        named = models.get(wanted) if wanted else models.real_model_of_kind(self.task) or models.default_for(self.task)
        chosen = next(iter(able), None) or named or next(iter(models), None)
        if chosen is None:
            raise NoModel(self.name, self.unavailable)
        return chosen

    def can_refine(self, model: ModelSpec) -> bool:
        """Whether the model supports the target size."""
        return can_refine_at(model, self._target_size() or (0, 0))

    def _target_size(self) -> tuple[int, int] | None:
        scale = int(self.values.get("scale", 2))
        return (self.size[0] * scale, self.size[1] * scale) if self.size else None

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        scale = int(self.values.get("scale", 2))
        width, height = self._target_size() or (model.width, model.height)
        if width * height > MAX_PIXELS:
            raise InvalidOption("scale", "range", value=scale, allowed=N_("a smaller scale for a picture of this size"))
        method = self.values.get("method") or (REFINE if self.can_refine(model) else RESIZE)
        if method == REFINE and not self.can_refine(model):
            raise _cannot_refine(model)
        filled: dict[str, Any] = {"prompt": self.values.get("prompt", ""), "scale": scale, "method": method}
        if method == REFINE:
            filled |= self._refine_options(model, seed, width, height)
        return {**filled, "width": width, "height": height, "count": 1, "model": model.name}

    def _refine_options(self, model: ModelSpec, seed: int, width: int, height: int) -> dict[str, Any]:
        values = {name: value for name, value in self.values.items() if name in _SHARED_OPTIONS and name != "model"}
        sized = {"prompt": self.values.get("prompt", ""), "width": width, "height": height}
        strength = self.values.get("strength", STRENGTH)
        imagine = Imagine(values={**values, **sized, "strength": strength}, images=self.images)
        return imagine.fill_options(model, seed)

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        if options["method"] == RESIZE:
            return 0, 0.0, 1
        return Imagine(values={}).work_units(options)


def _cannot_refine(model: ModelSpec) -> InvalidOption:
    if IMAGE_TO_IMAGE not in model.tasks:
        return InvalidOption("method", "model_lacks", value=model.name)
    sides, multiple = f"{model.min_size} to {model.max_size}", str(model.size_multiple)
    return InvalidOption("method", "cannot_refine", value=model.name, allowed=sides, nearest=multiple)


def can_refine_at(model: ModelSpec, sides: tuple[int, int]) -> bool:
    return IMAGE_TO_IMAGE in model.tasks and all(
        model.min_size <= side <= model.max_size and side % model.size_multiple == 0 for side in sides
    )


def describe_upscaling(model: ModelSpec, translate: Translate = str) -> str:
    """What becomes of the images that a model makes when they are enlarged; empty if it makes none."""
    if not {TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE} & set(model.tasks):
        return ""
    if IMAGE_TO_IMAGE not in model.tasks:
        return translate("upscale only resizes: it cannot start from a picture")
    largest = max(model.width, model.height)
    template = (
        N_("upscale refines up to {limit} px a side")
        if model.max_size >= 2 * largest
        else N_("upscale only resizes pictures of {size} px: it draws at most {limit} px a side")
    )
    return translate(template).format(limit=model.max_size, size=largest)


def explain_resize(models: Iterable[ModelSpec], width: int, height: int, translate: Translate = str) -> str:
    """Why an enlarged image was only resized."""
    able = [model for model in models if IMAGE_TO_IMAGE in model.tasks]
    if not able:
        return translate("Only resized: no model here can start from a picture.")
    if any(can_refine_at(model, (width, height)) for model in able):
        return translate("Only resized, to {width}x{height}, without a model.").format(width=width, height=height)
    best = max(able, key=lambda model: (not model.demo, model.max_size))
    values = {"model": best.name, "width": width, "height": height}
    if max(width, height) > best.max_size:
        reason = N_("Only resized: {model} draws at most {limit} px a side, and {width}x{height} is larger.")
        return translate(reason).format(limit=best.max_size, **values)
    if min(width, height) < best.min_size:
        reason = N_("Only resized: {model} draws at least {limit} px a side, and {width}x{height} is smaller.")
        return translate(reason).format(limit=best.min_size, **values)
    reason = N_("Only resized: {model} draws multiples of {limit} px, which {width}x{height} is not.")
    return translate(reason).format(limit=best.size_multiple, **values)


MAX_PIXELS = 16_000_000
"""The largest image that is still affordable in memory."""


def is_resize(command: str, options: Mapping[str, Any]) -> bool:
    """Whether the job needs no model."""
    return command == Upscale.name and options.get("method") == RESIZE
