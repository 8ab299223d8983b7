"""What is done with images: `extra-single-image`, `extra-batch-images`, `png-info` and `interrogate`."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from starlette.routing import Route

from adapters.sdapi.call import Endpoints, SdCall
from adapters.sdapi.fields import SdFields
from adapters.sdapi.image_fields import decode_image, encode_image
from adapters.sdapi.infotext import read_infotext, write_infotext
from adapters.sdapi.routes_lists import RESIZERS
from bot import usecases
from bot.commands.upscale import RESIZE, UPSCALER
from bot.errors import InvalidOption
from bot.jobs import ImageRef, Job, StoredImage
from bot.models import IMAGE_TO_TEXT, IMAGE_UPSCALING, ModelRegistry

MAX_BATCH = 8
"""Images that are enlarged by one call."""
MAX_SCALE = 4
_RESIZERS = ("", "nearest", *(name.casefold() for name in RESIZERS))


def list_routes(endpoints: Endpoints) -> list[Route]:
    return [
        endpoints.post("/v1/extra-single-image", enlarge_one, images=1),
        endpoints.post("/v1/extra-batch-images", enlarge_batch, images=MAX_BATCH // 2),
        endpoints.post("/v1/png-info", read_png_info, images=1),
        endpoints.post("/v1/interrogate", interrogate, images=1),
    ]


async def _decode(field: str, value: Any) -> bytes:
    """Raises: InvalidOption."""
    return await asyncio.to_thread(decode_image, field, value)


async def _store(call: SdCall, field: str, value: Any) -> StoredImage:
    """Raises: InvalidOption; like `store_image`."""
    return await call.store_image(await _decode(field, value))


# ---------------------------------------------------------------- enlarging


@dataclass(frozen=True, kw_only=True)
class Enlarging:
    """`factor`: 0: it follows from `size`, in which the result fits; with `is_cropped`, it covers that size."""

    factor: float = 0.0
    size: tuple[int, int] = (0, 0)
    is_cropped: bool = False
    options: Mapping[str, Any]
    description: str

    def scale_of(self, image: StoredImage) -> tuple[int, tuple[int, int]]:
        """The scale of the command, and the size of the result. Raises: InvalidOption."""
        width, height = self.size
        factor = self.factor or max(width / image.width, height / image.height)
        if not 1 < factor <= MAX_SCALE:
            option = "upscaling_resize" if self.factor else "upscaling_resize_w"
            allowed = f"more than 1 and at most {MAX_SCALE} times the image"
            raise InvalidOption(option, "body", allowed=f"it must be {allowed}")
        if self.is_cropped:
            return max(2, math.ceil(factor)), self.size
        return max(2, math.ceil(factor)), (round(image.width * factor), round(image.height * factor))


async def enlarge_one(call: SdCall) -> dict[str, Any]:
    enlarging = _read_enlarging(call)
    [image] = await _enlarge(call, enlarging, [await _store(call, "image", call.fields.raw("image"))])
    return {"html_info": _html_info(enlarging, call.fields), "image": image}


async def enlarge_batch(call: SdCall) -> dict[str, Any]:
    enlarging = _read_enlarging(call)
    items = call.fields.items("imageList")
    if not 1 <= len(items) <= MAX_BATCH:
        raise InvalidOption("imageList", "range", value=len(items), allowed=f"1 to {MAX_BATCH}")
    values = [one.get("data") if isinstance(one, dict) else one for one in items]
    stored = [await _store(call, "imageList", value) for value in values]
    del values, items
    images = await _enlarge(call, enlarging, stored)
    return {"html_info": _html_info(enlarging, call.fields), "images": images}


def _read_enlarging(call: SdCall) -> Enlarging:
    """Raises: InvalidOption."""
    fields = call.fields
    options, description = _read_upscaler(fields, call.context.usecases.models)
    fields.skip("show_extras_results", "upscale_first", "codeformer_weight")
    if fields.integer_or("resize_mode", 0) == 1:
        size = (fields.integer_or("upscaling_resize_w", 512), fields.integer_or("upscaling_resize_h", 512))
        if min(size) < 1:
            raise InvalidOption("upscaling_resize_w", "range", value=min(size), allowed="at least 1")
        fields.skip("upscaling_resize")
        is_cropped = fields.flag("upscaling_crop", default=True)
        return Enlarging(size=size, is_cropped=is_cropped, options=options, description=description)
    fields.skip("upscaling_resize_w", "upscaling_resize_h", "upscaling_crop")
    factor = fields.number_or("upscaling_resize", 2.0)
    if not 1 < factor <= MAX_SCALE:
        allowed = f"more than 1 and at most {MAX_SCALE}"
        raise InvalidOption("upscaling_resize", "range", value=factor, allowed=allowed)
    return Enlarging(factor=factor, options=options, description=f"Postprocess upscale by: {factor:g}, {description}")


def _read_upscaler(fields: SdFields, models: ModelRegistry) -> tuple[dict[str, Any], str]:
    """The options that choose it, and its name for the answer. One that is not here gives way to the best that is."""
    name = fields.text("upscaler_1").strip()
    if name.casefold() in _RESIZERS:
        return {"method": RESIZE}, f"Postprocess upscaler: {name or 'None'}"
    spec = next((one for one in models.installed() if name.casefold() in (one.name, one.title.casefold())), None)
    if spec is not None and IMAGE_UPSCALING in spec.tasks:
        return {"method": UPSCALER, "model": spec.name}, f"Postprocess upscaler: {spec.name}"
    fields.note(f"upscaler_1 {name}")
    default = models.default_for(IMAGE_UPSCALING)
    if default is None:
        return {}, "Postprocess upscaler: the best available"
    return {"method": UPSCALER, "model": default.name}, f"Postprocess upscaler: {default.name}"


async def _enlarge(call: SdCall, enlarging: Enlarging, stored: Sequence[StoredImage]) -> list[str]:
    """The enlarged images in base64."""
    plans = [enlarging.scale_of(image) for image in stored]
    requests = [
        call.to_request("upscale", {**enlarging.options, "scale": scale}, [ImageRef(image.id)])
        for image, (scale, _) in zip(stored, plans, strict=True)
    ]
    jobs = await call.run(requests)
    by_input = {job.images[0].id: job for job in jobs}
    return [
        await _read_enlarged(call, by_input[image.id], size, is_cropped=enlarging.is_cropped)
        for image, (_, size) in zip(stored, plans, strict=True)
        if image.id in by_input
    ]


async def _read_enlarged(call: SdCall, job: Job, size: tuple[int, int], *, is_cropped: bool) -> str:
    assert job.result is not None
    image, media_usecases = job.result.media[0], call.context.usecases.media
    media = await media_usecases.convert(await call.read_image(image.id), "png")
    if (image.width, image.height) != size:
        media = await media_usecases.fit_size(call.caller.person, media, *size, is_cropped=is_cropped)
    return encode_image(media.data)


def _html_info(enlarging: Enlarging, fields: SdFields) -> str:
    ignored = fields.name_ignored()
    lines = [enlarging.description, *([f"Ignored: {', '.join(ignored)}"] if ignored else [])]
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


# ---------------------------------------------------------------- reading


async def read_png_info(call: SdCall) -> dict[str, Any]:
    """What a file says about itself, whichever program wrote it. It is not kept."""
    data = await _decode("image", call.fields.raw("image"))
    async with call.context.uploads.decoding(call.caller.person.id):
        image = await call.context.usecases.media.inspect(call.caller.person, data)
    options = (image.parameters or {}).get("options") or {}
    text = image.text
    parameters = read_infotext(text)
    if options and "Steps" not in parameters and "Seed" not in parameters:
        text = write_infotext(options)
        parameters = read_infotext(text)
    return {"info": text, "items": {"parameters": text} if text else {}, "parameters": parameters if text else {}}


async def interrogate(call: SdCall) -> dict[str, Any]:
    """A caption. `model` chooses one of the models here that write captions; other names mean the default one."""
    image = await _store(call, "image", call.fields.raw("image"))
    name = str(call.fields.raw("model")).strip().casefold()
    options = {"model": name} if name in call.context.usecases.models.names_for(IMAGE_TO_TEXT) else {}
    request: usecases.Request = call.to_request("caption", options, [ImageRef(image.id)])
    [job] = await call.run([request])
    return {"caption": job.result.text if job.result is not None else ""}
