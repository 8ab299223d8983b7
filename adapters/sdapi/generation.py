"""`txt2img` and `img2img`: their fields become requests of `imagine` or `edit`, at most as large as those may be."""

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.sdapi.call import SdCall
from adapters.sdapi.checkpoints import choose_checkpoint
from adapters.sdapi.control_units import ControlUnit, read_fit, read_units
from adapters.sdapi.detail_units import read_details
from adapters.sdapi.drawing_fields import (
    MAX_IMAGES,
    note_scripts,
    read_arguments,
    read_count,
    read_drawing,
    read_scripts,
    read_seeds,
    read_size,
)
from adapters.sdapi.fields import SdFields
from adapters.sdapi.fitting import fit_options
from adapters.sdapi.image_fields import decode_image
from bot import usecases
from bot.commands import Imagine, find_command
from bot.commands.edit import IMAGE_GUIDANCE, takes_image_guidance
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import ModelSpec
from bot.options import MAX_SEED
from bot.prompts.combinations import expand_combinations
from bot.usecases.media import Adjustment

MAX_STARTS = 8
"""Images that one call starts from."""
_UNSTORED = "0" * 64
_MASK_BLUR = 4.0
_MOST = next(int(spec.maximum or 1) for spec in Imagine.specs if spec.name == "count")
_LEAST_STRENGTH = 0.01


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """An image of a request before it is stored. `fit`: how it is fitted to the size of the result; "": its command
    does that. `mask`: what else happens to a mask."""

    data: bytes
    ref: ImageRef
    fit: str = ""
    mask: Mapping[str, Any] | None = None

    def adjustment(self, size: tuple[int, int] | None) -> Adjustment | None:
        values: dict[str, Any] = dict(self.mask or {})
        if self.fit and size is not None:
            values |= {"width": size[0], "height": size[1], "fit": self.fit}
        if not values:
            return None
        return Adjustment(tool="adjust_mask" if self.mask is not None else "fit_picture", values=values)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a call asks for. `starts`: the images that it starts from; each makes its own pictures. `images`: those that
    all of its jobs have."""

    command: str = Imagine.name
    options: Mapping[str, Any]
    seed: int
    count: int
    starts: Sequence[InputImage] = ()
    images: Sequence[InputImage] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the result; None: its command chooses them."""
        return (self.options["width"], self.options["height"]) if "width" in self.options else None

    def parts(self) -> Iterator[tuple[InputImage | None, dict[str, Any]]]:
        """For each job, what it starts from, and its options."""
        each: Sequence[InputImage | None] = self.starts or [None]
        rounds = math.ceil(self.count / len(each)) if len(each) > 1 else 1
        per_round = 1 if len(each) > 1 else self.count
        for place in range(rounds):
            for number, start in enumerate(each):
                offset = place * len(each) + number
                for first in range(0, per_round, _MOST):
                    yield start, self._options_from(offset + first, min(_MOST, per_round - first))

    def _options_from(self, offset: int, count: int) -> dict[str, Any]:
        options = {**self.options, "seed": self.seed + offset, "count": count}
        if "variation_seed" in options:
            options["variation_seed"] = (int(options["variation_seed"]) + offset) % (MAX_SEED + 1)
        return options


async def plan_txt2img(call: SdCall) -> Drawing:
    """Raises: InvalidOption."""
    fields = call.fields
    overrides, model, options = await _read_common(call)
    options |= read_size(fields) | _read_hires(fields)
    units = await _read_units(call)
    drawing = _assemble(fields, options, model, [_control_image(unit, None) for unit in units])
    fields.skip("denoising_strength")
    _note_overrides(overrides, fields)
    return _fit(drawing, call)


async def plan_img2img(call: SdCall) -> Drawing:
    """Raises: InvalidOption."""
    fields = call.fields
    files = await asyncio.to_thread(_decode_starts, fields)
    overrides, model, options = await _read_common(call)
    strength = fields.number_or("denoising_strength", 0.75)
    options |= read_size(fields)
    options["strength"] = _LEAST_STRENGTH if strength == 0 else strength
    fit = _own_fit(read_fit(fields.raw("resize_mode") or 0))
    mask = await asyncio.to_thread(_read_mask, fields, fit)
    if mask is not None:
        is_masked = fields.flag("inpaint_full_res", default=True)
        options["inpaint_area"] = "masked" if is_masked else "whole"
        if is_masked:
            fit, mask = "", replace(mask, fit="")
    starts = [InputImage(data=one, ref=ImageRef(_UNSTORED), fit=fit) for one in files]
    units = await _read_units(call)
    images = [*([mask] if mask is not None else ()), *(_control_image(unit, starts[0]) for unit in units)]
    drawing = _assemble(fields, options, model, images, starts)
    _note_overrides(overrides, fields)
    return _fit(drawing, call)


async def _read_common(call: SdCall) -> tuple[SdFields, str | None, dict[str, Any]]:
    """The overriding settings, the model asked for, and the options that both calls have."""
    fields = call.fields
    overrides = SdFields(fields.object("override_settings"), prefix="override_settings.")
    overrides.skip("sd_model_checkpoint")
    model = await choose_checkpoint(call, call.body.get("override_settings") or {})
    styles = {one.name: one.style for one in call.context.usecases.names.list_styles()[0]}
    options = read_drawing(fields, overrides, styles)
    scripts = read_scripts(fields)
    note_scripts(scripts, fields)
    return overrides, model, options | read_details(read_arguments(scripts, "adetailer"), fields)


def _note_overrides(overrides: SdFields, fields: SdFields) -> None:
    for name in overrides.name_ignored():
        fields.note(name)


async def _read_units(call: SdCall) -> list[ControlUnit]:
    arguments = read_arguments(read_scripts(call.fields), "controlnet")
    return await asyncio.to_thread(read_units, arguments, call.context.usecases.models, call.fields)


def _decode_starts(fields: SdFields) -> list[bytes]:
    """Raises: InvalidOption."""
    values = fields.items("init_images")
    if not values:
        raise InvalidOption("init_images", "missing")
    if len(values) > MAX_STARTS:
        raise InvalidOption("init_images", "too_many_images", value=len(values), allowed=str(MAX_STARTS))
    return [decode_image("init_images", value) for value in values]


def _assemble(
    fields: SdFields,
    options: dict[str, Any],
    model: str | None,
    images: Sequence[InputImage],
    starts: Sequence[InputImage] = (),
) -> Drawing:
    count = max(read_count(fields), len(starts))
    seed, variation = read_seeds(fields, count)
    chosen = {"model": model} if model else {}
    return Drawing(options={**options, **variation, **chosen}, seed=seed, count=count, images=images, starts=starts)


def _require_few(count: int, prompt: str) -> None:
    """Raises: InvalidOption: a choice in the prompt makes more images than an answer may have."""
    combinations = len(expand_combinations(prompt))
    if combinations > 1 and count * combinations > MAX_IMAGES:
        made = f"its {combinations} combinations make {count * combinations} images"
        raise InvalidOption("prompt", "body", allowed=f"{made}, but a call may have at most {MAX_IMAGES}")


def _read_hires(fields: SdFields) -> dict[str, Any]:
    """Hires fix, by its factor or by the size of its result. Raises: InvalidOption."""
    if not fields.flag("enable_hr"):
        fields.skip("hr_second_pass_steps", "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt")
        fields.skip("hr_negative_prompt", "hr_additional_modules", "hr_cfg", "hr_distilled_cfg")
        return {}
    fields.skip("firstphase_width", "firstphase_height")
    factor = fields.number_or("hr_scale", 2.0)
    for name, side in (("hr_resize_y", "height"), ("hr_resize_x", "width")):
        larger, smaller = fields.integer_or(name, 0), fields.integer_or(side, 0)
        if larger > 0 and smaller > 0:
            factor = round(larger / smaller, 3)
    if factor == 1:
        return {}
    strength = fields.number_or("denoising_strength", 0.7)
    return {"hires": factor, "strength": _LEAST_STRENGTH if strength == 0 else strength}


def _read_mask(fields: SdFields, fit: str) -> InputImage | None:
    """Raises: InvalidOption."""
    blurs = [fields.number(name) for name in ("mask_blur", "mask_blur_x", "mask_blur_y")]
    blur = next((one for one in blurs if one is not None), _MASK_BLUR)
    is_inverted = fields.flag("inpainting_mask_invert")
    value = fields.raw("mask")
    if not value:
        return None
    if not 0 <= blur <= 64:
        raise InvalidOption("mask_blur", "range", value=blur, allowed="0 to 64")
    data = decode_image("mask", value)
    return InputImage(
        data=data, ref=ImageRef(_UNSTORED, role="mask"), fit=fit, mask={"invert": is_inverted, "blur": blur}
    )


def _control_image(unit: ControlUnit, start: InputImage | None) -> InputImage:
    """`start`: what the request starts from; a unit without an image of its own takes it as it is fitted there.

    Raises: InvalidOption: there is no image for it.
    """
    if unit.image is None and start is None:
        raise InvalidOption("ControlNet image", "missing")
    fit = unit.fit if unit.image is not None or start is None else start.fit or "crop"
    fit = "" if unit.role == "reference" else fit if unit.is_ready else _own_fit(fit)
    ref = ImageRef(_UNSTORED, role=unit.role, kind=unit.kind, weight=unit.weight)
    if unit.role == "control":
        ref = replace(ref, start=unit.start, end=unit.end, ready=unit.is_ready)
    return InputImage(data=unit.image or (start.data if start is not None else b""), ref=ref, fit=fit)


def _own_fit(fit: str) -> str:
    """Commands crop images themselves, from all their pixels."""
    return "" if fit == "crop" else fit


def _fit(drawing: Drawing, call: SdCall) -> Drawing:
    """The drawing as its model can do it. Raises: InvalidOption."""
    fields, models = call.fields, call.context.usecases.models
    refs = tuple(one.ref for one in [*drawing.starts[:1], *drawing.images])
    command = Imagine.from_options({**drawing.options, "seed": drawing.seed}, refs)
    _require_few(drawing.count, str(command.values["prompt"]))
    model = command.choose_model(models)
    options = fit_options(command, model, drawing.options, fields)
    if command.needs_references(model):
        return _as_edit(replace(drawing, options=options), model, fields)
    return replace(drawing, options=options)


def _as_edit(drawing: Drawing, model: ModelSpec, fields: SdFields) -> Drawing:
    """Of a model that follows instructions: how far it goes from the image has another scale."""
    guidance = fields.number("image_cfg_scale")
    options = {name: value for name, value in drawing.options.items() if name != "strength"}
    if guidance is not None and takes_image_guidance(model):
        options[IMAGE_GUIDANCE] = guidance
    known = {spec.name for spec in find_command("edit").specs}
    return replace(drawing, command="edit", options={key: value for key, value in options.items() if key in known})


async def to_requests(drawing: Drawing, call: SdCall) -> list[usecases.Request]:
    """Its images are stored. Raises: like `store_adjusted`."""
    common = [await _store(one, drawing, call) for one in drawing.images]
    stored: dict[int, ImageRef] = {}
    requests = []
    for start, options in drawing.parts():
        if start is not None and id(start) not in stored:
            stored[id(start)] = await _store(start, drawing, call)
        images = [*([stored[id(start)]] if start is not None else ()), *common]
        request = call.to_request(drawing.command, options, images)
        requests.append(replace(request, is_confirmed=True))
    return requests


def refit(requests: Sequence[usecases.Request], call: SdCall) -> list[usecases.Request]:
    """The same requests, as their model can do them by what is known of it now. Raises: InvalidOption."""
    fitted = []
    for request in requests:
        command = find_command(request.command).from_options(request.options, request.images)
        model = command.choose_model(call.context.usecases.models)
        fitted.append(replace(request, options=fit_options(command, model, request.options, call.fields)))
    return fitted


async def _store(image: InputImage, drawing: Drawing, call: SdCall) -> ImageRef:
    adjustment = image.adjustment(drawing.size)
    stored = await call.store_adjusted(image.data, adjustment)
    return replace(image.ref, id=stored.id)
