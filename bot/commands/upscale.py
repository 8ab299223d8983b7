"""`upscale`: an image at a multiple of its size.

An upscaling model enlarges it; without one, an image model refines the enlarged image slightly (image to image), in
tiles where it is larger than the model draws; otherwise the image is only resized. The result says what was used.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from bot.commands.base import Answer, Command
from bot.commands.control_check import CONTROL_COST
from bot.commands.imagine import Imagine
from bot.commands.refine_tiles import (
    REFINE,
    RESIZE,
    UPSCALER,
    can_refine_at,
    count_tiles,
    draws_whole,
    has_tile_control,
    plan_refinement,
    refines_in_tiles,
    strongest,
)
from bot.errors import InvalidOption, NoModel
from bot.i18n import N_, Translate
from bot.jobs import StoredImage
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_UPSCALING,
    TEXT_TO_IMAGE,
    ModelRegistry,
    ModelSpec,
)
from bot.options import OptionSpec

PRICED_SCALE = 2
"""Upscaling models are priced by the pixels of an image at this scale: their work depends on the small image."""
STRENGTH = 0.3
"""Denoising strength, low enough to keep the image recognisable."""
MAX_UNASKED_TILES = 36
"""A refinement of more tiles takes long, so it must be asked for. One in tiles by a demo must be too: demos only know
what they draw themselves."""
_SHARED_OPTIONS = ("negative_prompt", "seed", "steps", "guidance_scale", "sampler", "model")
_IMAGINE_SPECS = {spec.name: spec for spec in Imagine.specs}


@dataclass(frozen=True, kw_only=True)
class Upscale(Command):
    """Attributes:
    size: width and height of the input image, once it has been measured.
    model: what does it, once it has been chosen.
    """

    name = "upscale"
    summary = N_("Make a picture larger: by an upscaling model, else refined by an image model, else only resized")
    unavailable = N_("I can't upscale pictures here yet; the owner can add a model.")
    answers = Answer.IMAGES
    roles = ("init",)
    images_needed = 1
    images_allowed = 1
    is_per_image = True
    keeps_author = True
    smoke_tests = (IMAGE_UPSCALING,)
    smoke_test_values: ClassVar[Mapping[str, Any]] = {"method": UPSCALER}
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
            help=N_("Use an upscaling model, refine with an image model, or only resize (default: the best there is)"),
            choices=(UPSCALER, REFINE, RESIZE),
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
    model: ModelSpec | None = None

    @property
    def task(self) -> str:
        return IMAGE_UPSCALING if self.values.get("method") == UPSCALER else IMAGE_TO_IMAGE

    def for_model(self, model: ModelSpec) -> Self:
        uses_upscaler = IMAGE_UPSCALING in model.tasks and self.values.get("method") in (None, UPSCALER)
        values = {**self.values, "method": UPSCALER} if uses_upscaler else self.values
        return replace(self, values=values, model=model)

    def with_images(self, pictures: Sequence[StoredImage]) -> Self:
        return replace(self, size=(pictures[0].width, pictures[0].height)) if pictures else self

    def choose_model(self, models: ModelRegistry) -> ModelSpec:
        """The best that is there, else any: resizing needs no model, but a job always names one.

        A model that is named refines, if it can; an upscaling model that is named enlarges.
        """
        wanted = self.values.get("model")
        named = models.get(wanted) if wanted else None
        if wanted and named is None:
            raise InvalidOption("model", "choice", value=wanted, allowed=", ".join(spec.name for spec in models))
        method = self.values.get("method")
        if method == UPSCALER:
            return _require_upscaler(models, named)
        if method is None and (upscaler := self._best_upscaler(models, named)) is not None:
            return upscaler
        refining = self._refining_model(models, named)
        any_model = models.real_model_of_kind(IMAGE_TO_IMAGE) or models.default_for(IMAGE_TO_IMAGE)
        chosen = refining or named or any_model or next(iter(models), None)
        if chosen is None:
            raise NoModel(self.name, self.unavailable)
        return chosen

    def _best_upscaler(self, models: ModelRegistry, named: ModelSpec | None) -> ModelSpec | None:
        """The upscaling model to use where no method is asked for; None: something else is better.

        What a named model can refine itself, it does. A demo is no better than a real model that can refine.
        """
        upscaler, refining = upscaler_for(models, named), self._refining_model(models, named)
        if upscaler is None or named is upscaler or refining is None:
            return upscaler
        if named is not None:
            return _own_upscaler(models, named)
        return None if upscaler.demo and not refining.demo else upscaler

    def choose_for_picture(self, models: ModelRegistry, maker: ModelSpec | None) -> ModelSpec | None:
        """The model to name for a picture that `maker` made: an upscaling model, else the maker if it can refine."""
        upscaler = upscaler_for(models, maker)
        can_refine = maker is not None and self.can_refine(maker)
        if maker is None or upscaler is None or not can_refine:
            return upscaler or (maker if can_refine else None)
        is_better = not upscaler.demo or maker.demo or _own_upscaler(models, maker) is not None
        return upscaler if is_better else maker

    def _refining_model(self, models: ModelRegistry, named: ModelSpec | None) -> ModelSpec | None:
        """The named model, else the first, that can refine at the target size: preferably one that draws it whole."""
        able = [
            spec
            for spec in ([named] if named else models)
            if self.can_refine(spec) and (named or not models.is_stand_in(spec, IMAGE_TO_IMAGE))
        ]
        size = self._target_size() or (0, 0)
        whole = [spec for spec in able if draws_whole(spec, *size)]
        return next(iter([*whole, *able]), None)

    def can_refine(self, model: ModelSpec) -> bool:
        """Whether the model can refine at the target size, and may unless that is asked for."""
        size = self._target_size() or (0, 0)
        is_asked = self.values.get("method") == REFINE
        return can_refine_at(model, size) and (is_asked or _refines_unasked(model, size))

    def _target_size(self) -> tuple[int, int] | None:
        scale = int(self.values.get("scale", 2))
        return (self.size[0] * scale, self.size[1] * scale) if self.size else None

    def fill_options(self, model: ModelSpec, seed: int, aspect: float | None = None) -> dict[str, Any]:
        scale = int(self.values.get("scale", 2))
        width, height = self._target_size() or (model.width, model.height)
        if width * height > MAX_PIXELS:
            raise InvalidOption("scale", "range", value=scale, allowed=N_("a smaller scale for a picture of this size"))
        method = self._method_for(model)
        if method == REFINE and not self.can_refine(model):
            raise _cannot_refine(model)
        filled: dict[str, Any] = {"prompt": self.values.get("prompt", ""), "scale": scale, "method": method}
        if method == REFINE:
            filled |= self._refine_options(model, seed, width, height)
        return {**filled, "width": width, "height": height, "count": 1, "model": model.name}

    def _method_for(self, model: ModelSpec) -> str:
        """Raises: InvalidOption: the method that was asked for needs another model."""
        method = self.values.get("method")
        if method == UPSCALER and IMAGE_UPSCALING not in model.tasks:
            raise InvalidOption("method", "no_upscaler")
        if method is not None:
            return str(method)
        if IMAGE_UPSCALING in model.tasks:
            return UPSCALER
        return REFINE if self.can_refine(model) else RESIZE

    def _refine_options(self, model: ModelSpec, seed: int, width: int, height: int) -> dict[str, Any]:
        values = {name: value for name, value in self.values.items() if name in _SHARED_OPTIONS and name != "model"}
        sized: dict[str, Any] = {"prompt": self.values.get("prompt", "")}
        strength = self.values.get("strength", STRENGTH)
        if draws_whole(model, width, height):
            sized |= {"width": width, "height": height}
        elif strength > strongest(model) and count_tiles(model, (width, height)) > 1:
            allowed = f"0.01 to {strongest(model)}"
            raise InvalidOption("strength", "refine_strength", value=strength, allowed=allowed)
        imagine = Imagine(values={**values, **sized, "strength": strength}, images=self.images)
        return imagine.fill_options(model, seed)

    def work_units(self, options: Mapping[str, Any]) -> tuple[int, float, int]:
        if options["method"] == RESIZE:
            return 0, 0.0, 1
        if options["method"] == UPSCALER:
            return enlarging_units(options)
        steps, area, _ = Imagine(values={}).work_units(options)
        plan = plan_refinement(options, self.model) if self.model is not None else None
        if plan is None or self.model is None:
            return steps, area, 1
        width, height = plan.tile_size
        with_control = 1 + CONTROL_COST if has_tile_control(self.model) else 1
        return steps, width * height * with_control, len(plan.boxes)


def enlarging_units(options: Mapping[str, Any]) -> tuple[int, float, int]:
    """Of an upscaling model: see `Command.work_units`."""
    per_scale = (PRICED_SCALE / options["scale"]) ** 2
    return 1, float(options["width"] * options["height"] * per_scale), 1


def upscaler_for(models: ModelRegistry, picture_model: ModelSpec | None = None) -> ModelSpec | None:
    """The upscaling model that suits a model's images, or is that model itself; else the default one."""
    if picture_model is not None and IMAGE_UPSCALING in picture_model.tasks:
        return picture_model
    own = _own_upscaler(models, picture_model) if picture_model is not None else None
    return own or models.default_for(IMAGE_UPSCALING)


def enlarging_model(models: ModelRegistry, refining: ModelSpec) -> ModelSpec | None:
    """The upscaling model that enlarges what a model refines; None: only Lanczos does. A demo does it for demos."""
    upscaler = upscaler_for(models, refining)
    if upscaler is None or (upscaler.demo and not refining.demo and _own_upscaler(models, refining) is None):
        return None
    return upscaler


def _own_upscaler(models: ModelRegistry, picture_model: ModelSpec) -> ModelSpec | None:
    """The upscaling model that a model names, if it is installed."""
    own = models.get(picture_model.upscaler) if picture_model.upscaler else None
    is_usable = own is not None and IMAGE_UPSCALING in own.tasks and own in models.installed()
    return own if is_usable else None


def _require_upscaler(models: ModelRegistry, named: ModelSpec | None) -> ModelSpec:
    """Raises: InvalidOption: there is none."""
    upscaler = upscaler_for(models, named)
    if upscaler is None:
        raise InvalidOption("method", "no_upscaler")
    return upscaler


def _refines_unasked(model: ModelSpec, size: tuple[int, int]) -> bool:
    return count_tiles(model, size) <= (1 if model.demo else MAX_UNASKED_TILES)


def _cannot_refine(model: ModelSpec) -> InvalidOption:
    if IMAGE_TO_IMAGE not in model.tasks:
        return InvalidOption("method", "model_lacks", value=model.name)
    if refines_in_tiles(model):
        return InvalidOption("method", "refine_small", value=model.name, allowed=str(model.min_size))
    sides, multiple = f"{model.min_size} to {model.max_size}", str(model.size_multiple)
    return InvalidOption("method", "cannot_refine", value=model.name, allowed=sides, nearest=multiple)


def describe_upscaling(model: ModelSpec, translate: Translate = str) -> str:
    """What becomes of the images that a model makes when they are enlarged without an upscaling model, or that this is
    one; empty if it makes none."""
    if IMAGE_UPSCALING in model.tasks:
        return translate("upscale enlarges pictures with it")
    if not {TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE} & set(model.tasks):
        return ""
    if IMAGE_TO_IMAGE not in model.tasks:
        return translate("upscale only resizes: it cannot start from a picture")
    if refines_in_tiles(model) and not model.demo:
        return translate("upscale refines pictures of any size with it")
    largest = max(model.width, model.height)
    template = (
        N_("upscale refines up to {limit} px a side")
        if model.max_size >= 2 * largest
        else N_("upscale only resizes pictures of {size} px: it draws at most {limit} px a side")
    )
    return translate(template).format(limit=model.max_size, size=largest)


def explain_upscale(options: Mapping[str, Any], model: ModelSpec, translate: Translate = str) -> str:
    """Which model enlarged an image, and how; empty if none did."""
    templates = {UPSCALER: N_("Enlarged by {model}."), REFINE: N_("Refined by {model}.")}
    template = templates.get(str(options.get("method")))
    return translate(template).format(model=model.display_name) if template else ""


def explain_resize(models: Iterable[ModelSpec], width: int, height: int, translate: Translate = str) -> str:
    """Why an enlarged image was only resized."""
    able = [model for model in models if IMAGE_TO_IMAGE in model.tasks]
    if not able:
        return translate("Only resized: no model here can start from a picture.")
    refining = [model for model in able if can_refine_at(model, (width, height))]
    if any(_refines_unasked(model, (width, height)) for model in refining):
        return translate("Only resized, to {width}x{height}, without a model.").format(width=width, height=height)
    if any(not model.demo for model in refining):
        long = N_('Only resized: refining {width}x{height} takes long, so it must be asked for: method "refine".')
        return translate(long).format(width=width, height=height)
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


def keeps_content(command: str, options: Mapping[str, Any]) -> bool:
    """Whether the result shows what the input image does, whatever the prompt says."""
    return command == Upscale.name and options.get("method") in (RESIZE, UPSCALER)


def is_resize(command: str, options: Mapping[str, Any]) -> bool:
    """Whether the job needs no model."""
    return command == Upscale.name and options.get("method") == RESIZE
