"""`/v1/chat/completions`: questions about images, and captions."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from starlette.responses import JSONResponse, Response

from adapters.openai.conversations import build_request, read_conversation
from adapters.openai.event_stream import DONE, EventStream, format_event, with_errors
from adapters.openai.fields import Fields
from adapters.openai.retries import is_retry
from adapters.openai.text_deltas import TextDeltas, follow_text
from adapters.openai.text_ends import chat_usage, is_cut, text_of
from adapters.openai.text_options import AskedText, read_text_order
from adapters.web.client_calls import ClientCall
from bot.jobs import Job

MESSAGES = "messages"
PARAMS = {"question": MESSAGES, "images": MESSAGES, "max_new_tokens": "max_tokens"}
MAX_IMAGES = 3
"""Images of the largest size that a body may have; of smaller ones, more."""


async def complete_chat(call: ClientCall) -> Response:
    asked = await _read_chat(call)
    (ticket,) = await call.submit(asked.request, is_retry=is_retry(call.request))
    if asked.order.is_stream:
        chunks = _chunks(call, ticket.job, asked.order.stop, has_usage=asked.has_usage)
        return EventStream(with_errors(chunks, PARAMS), asked.headers, call.holding([ticket.job.id]))
    (job,) = await call.wait([ticket])
    stop = asked.order.stop
    message = {"role": "assistant", "content": text_of(job, stop), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(job, stop)}
    body = {**_head(job, "chat.completion"), "choices": [choice], "usage": chat_usage(job)}
    return JSONResponse(body, headers=asked.headers)


async def _read_chat(call: ClientCall) -> AskedText:
    fields = Fields(await call.read_json(images=MAX_IMAGES))
    order = read_text_order(fields, call.context.usecases.models)
    conversation = read_conversation(fields.get(MESSAGES), MESSAGES)
    if conversation.has_instructions:
        fields.ignore(f"{MESSAGES}.system")
    stream_options = fields.get("stream_options")
    has_usage = isinstance(stream_options, dict) and bool(stream_options.get("include_usage"))
    request = await build_request(call, conversation, order.options, order.model, MESSAGES)
    return AskedText(request=request, order=order, headers=fields.headers, has_usage=has_usage)


def _head(job: Job, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{job.id}", "object": kind, "created": int(time.time()), "model": job.model}


def _finish_reason(job: Job, stop: Sequence[str]) -> str:
    return "length" if is_cut(job, stop) else "stop"


async def _chunks(call: ClientCall, job: Job, stop: Sequence[str], *, has_usage: bool) -> AsyncGenerator[str, None]:
    deltas = TextDeltas(stop)
    head = _head(job, "chat.completion.chunk")
    more = {"usage": None} if has_usage else {}

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return format_event({**head, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    async with aclosing(follow_text(call, job, deltas)) as texts:
        async for text in texts:
            yield chunk({"content": text})
    finished = deltas.job or job
    yield chunk({}, _finish_reason(finished, stop))
    if has_usage:
        yield format_event({**head, "choices": [], "usage": chat_usage(finished)})
    yield DONE
