"""`/v1/images/...`: images from prompts, edits and variations."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, Response

from adapters.openai.event_stream import EventStream, with_errors
from adapters.openai.fields import Fields
from adapters.openai.image_answers import ImageStream, images_json
from adapters.openai.image_inputs import read_image, read_mask, read_own_mask
from adapters.openai.image_orders import PARAMS, ImageOrder, read_order
from adapters.openai.retries import is_retry
from adapters.web.client_calls import ClientCall
from bot.commands import Caption, Edit, Imagine
from bot.errors import InvalidOption
from bot.jobs import ImageRef, StoredImage
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, ModelSpec
from bot.usecases.chat import VARY_STRENGTH

_MAX_FILES = 12
"""Of a form: more than a model takes, so that the refusal can say how many it does."""
_IMAGES = ("image", "image[]")
_NO_PROMPT = "a picture"
"""Of a variation, where nothing says what the image shows."""


async def generate_images(call: ClientCall) -> Response:
    fields = Fields(await call.read_json())
    order = _read_order(call, fields, (TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE))
    return await _answer(call, fields, order, Imagine.name, [], "image_generation")


async def edit_images(call: ClientCall) -> Response:
    async with _reading_form(call) as (fields, images):
        order = _read_order(call, fields, (IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE))
        stored = [await read_image(call, image, "image") for image in images]
        mask = fields.get("mask")
        refs = [ImageRef(one.id, "reference" if number else "init") for number, one in enumerate(stored)]
        refs += [await read_mask(call, mask)] if mask is not None else await _unsent_mask(call, order, stored)
    is_edit = any(ref.role == "mask" for ref in refs) or _edits_by_instruction(order.model)
    return await _answer(call, fields, order, Edit.name if is_edit else Imagine.name, refs, "image_edit")


async def vary_images(call: ClientCall) -> Response:
    async with _reading_form(call) as (fields, images):
        order = _read_order(call, fields, (IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), has_prompt=False)
        if len(images) != 1:
            raise InvalidOption("image", "too_many_images", value=len(images), allowed="1")
        image = await read_image(call, images[0], "image")
    if order.partial_images is not None:
        fields.ignore("stream")
    prompt = await _words_for(call, image)
    strength = {} if _edits_by_instruction(order.model) else {"strength": VARY_STRENGTH}
    options = {"prompt": prompt, **strength, **order.options}
    varied = ImageOrder(options=options, model=order.model, output=order.output)
    return await _answer(call, fields, varied, Imagine.name, [ImageRef(image.id, "init")], "")


def _read_order(call: ClientCall, fields: Fields, tasks: tuple[str, ...], *, has_prompt: bool = True) -> ImageOrder:
    core = call.context.usecases
    return read_order(fields, core.models, core.styles, tasks, has_prompt=has_prompt)


def _edits_by_instruction(model: ModelSpec | None) -> bool:
    return model is not None and IMAGE_TEXT_TO_IMAGE in model.tasks


async def _unsent_mask(call: ClientCall, order: ImageOrder, images: Sequence[StoredImage]) -> list[ImageRef]:
    """OpenAI documents for dall-e-2 alone that an image's own transparent part is the mask."""
    return await read_own_mask(call, images[0]) if order.named.casefold() == "dall-e-2" else []


async def _words_for(call: ClientCall, image: StoredImage) -> str:
    """What the file says that it was drawn from, else a caption, which is a job of its own."""
    drawn_from = ((image.parameters or {}).get("options") or {}).get("prompt")
    if drawn_from:
        return str(drawn_from)
    if call.context.usecases.models.default_for(IMAGE_TO_TEXT) is None:
        return _NO_PROMPT
    request = call.to_request(Caption.name, {}, [ImageRef(image.id)])
    (job,) = await call.wait(await call.submit(request, is_retry=is_retry(call.request)))
    return (job.result.text or "").strip() if job.result else _NO_PROMPT


@asynccontextmanager
async def _reading_form(call: ClientCall) -> AsyncIterator[tuple[Fields, Sequence[Any]]]:
    """The fields beside the images, and the images as they were sent. Raises: InvalidOption: there is none."""
    receiver = call.context.uploads
    async with receiver.receive_form(call.request, call.caller.person.id, max_files=_MAX_FILES) as form:
        images = [value for name, value in form.multi_items() if name in _IMAGES]
        if not images:
            raise InvalidOption("image", "missing")
        yield Fields(_single_values(form)), images


def _single_values(form: FormData) -> Mapping[str, Any]:
    """Without fields that were left empty. Raises: InvalidOption."""
    values: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in _IMAGES or value == "":
            continue
        if name in values:
            raise InvalidOption(name[:40], "twice")
        if isinstance(value, UploadFile) and name != "mask":
            raise InvalidOption(name[:40], "body", allowed="it must not be a file")
        values[name] = value
    return values


async def _answer(
    call: ClientCall, fields: Fields, order: ImageOrder, command: str, images: Sequence[ImageRef], kind: str
) -> Response:
    """`kind`: of its events, if it is asked for as a stream."""
    request = call.to_request(command, order.options, images, is_confirmed=order.is_batch)
    tickets = await call.submit(request, is_retry=is_retry(call.request))
    if order.partial_images is not None:
        stream = ImageStream(call=call, kind=kind, output=order.output, partial_images=order.partial_images)
        holding = call.holding([ticket.job.id for ticket in tickets])
        return EventStream(with_errors(stream.events(tickets), PARAMS), fields.headers, holding)
    jobs = await call.wait(tickets)
    return JSONResponse(await images_json(call, jobs, order.output), headers=fields.headers)
