"""Answers with images: as one body, and as a stream with partial images."""

import base64
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request

from adapters.openai.event_stream import typed_event
from adapters.openai.image_orders import ImageOutput
from adapters.web.client_calls import ClientCall, succeeded
from bot.jobs import Job, StoredImage
from bot.ports import Progress
from bot.usecases import Ticket
from bot.usecases.follow_up_prompts import prompt_of_picture

NO_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Images here are not made of tokens."""


async def images_json(call: ClientCall, jobs: Sequence[Job], output: ImageOutput) -> dict[str, Any]:
    """The body of an answer with all images of the jobs."""
    pictures = [(job, image) for job in jobs for image in (job.result.media if job.result else ())]
    first = pictures[0][1] if pictures else None
    return {
        "created": int(time.time()),
        "data": [await _image_json(call, job, image, output) for job, image in pictures],
        "background": "opaque",
        "output_format": output.file_format,
        "quality": output.quality,
        "size": _size_of(first) if first is not None else "auto",
        "usage": NO_USAGE,
    }


async def _image_json(call: ClientCall, job: Job, image: StoredImage, output: ImageOutput) -> dict[str, Any]:
    """Beside OpenAI's fields, `alt` describes the image, `seed` makes it again, and `spoiler` says to hide it."""
    if output.is_url:
        shown = {"url": media_url(call.request, image, output)}
    else:
        shown = {"b64_json": await _base64_of(call, image, output)}
    number = image.number
    return {
        **shown,
        "revised_prompt": prompt_of_picture(job, number),
        "alt": image.alt,
        "seed": job.result.seed_of(number) if job.result else None,
        "spoiler": image.is_spoiler,
    }


async def _base64_of(call: ClientCall, image: StoredImage, output: ImageOutput) -> str:
    media = await call.read_image(image.id)
    shown = await call.context.usecases.media.convert(media, output.file_format, output.file_quality)
    return base64.b64encode(shown.data).decode("ascii")


def media_url(request: Request, image: StoredImage, output: ImageOutput) -> str:
    """Absolute, for the same key; the server cannot know the name that clients reach it by but from their requests."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().casefold()
    scheme = forwarded if forwarded in ("http", "https") else request.url.scheme
    quality = f"&compression={output.file_quality}" if output.file_quality else ""
    return f"{scheme}://{request.url.netloc}/v1/media/{image.id}?format={output.file_format}{quality}"


def _size_of(image: StoredImage) -> str:
    return f"{image.width}x{image.height}"


@dataclass(kw_only=True)
class ImageStream:
    """The events of one request. `kind`: "image_generation" or "image_edit"."""

    call: ClientCall
    kind: str
    output: ImageOutput
    partial_images: int
    _sent: int = 0

    async def events(self, tickets: Sequence[Ticket]) -> AsyncGenerator[str, None]:
        """Raises: like `ClientCall.follow`."""
        for ticket in tickets:
            async with aclosing(self.call.follow(ticket.job.id, wants_previews=self.partial_images > 0)) as followed:
                async for event in followed:
                    if event.kind == "progress" and event.ticket.progress is not None:
                        if partial := self._partial_event(event.ticket.job, event.ticket.progress):
                            yield partial
                    elif event.kind == "result":
                        job = succeeded(event.ticket.job)
                        for image in job.result.media if job.result else ():
                            yield await self._completed_event(job, image)

    def _partial_event(self, job: Job, progress: Progress) -> str:
        """A partial image: the first as soon as there is one, the others spread over the steps; "": none is due."""
        if not progress.preview or not progress.steps:
            return ""
        due = 1 + int(self.partial_images * progress.step / progress.steps)
        if min(due, self.partial_images) <= self._sent:
            return ""
        self._sent += 1
        size = f"{job.options['width']}x{job.options['height']}" if "width" in job.options else "auto"
        return self._event(
            "partial_image",
            {
                "b64_json": base64.b64encode(progress.preview).decode("ascii"),
                "partial_image_index": self._sent - 1,
                "output_format": "jpeg",
                "size": size,
            },
        )

    async def _completed_event(self, job: Job, image: StoredImage) -> str:
        shown = await _image_json(self.call, job, image, replace(self.output, is_url=False))
        more = {"output_format": self.output.file_format, "size": _size_of(image), "usage": NO_USAGE}
        return self._event("completed", shown | more)

    def _event(self, name: str, content: dict[str, Any]) -> str:
        common = {"created_at": int(time.time()), "quality": self.output.quality, "background": "opaque"}
        return typed_event({"type": f"{self.kind}.{name}", **content, **common})
