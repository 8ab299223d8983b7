"""`/v1/responses`: the same as chat completions in OpenAI's newer form; a response follows up on another by its id."""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from starlette.responses import JSONResponse, Response

from adapters.openai.conversations import Conversation, build_request, read_conversation, store_images
from adapters.openai.event_stream import EventStream, typed_event
from adapters.openai.fields import Fields
from adapters.openai.openai_errors import ResponseNotFound, to_answer
from adapters.openai.retries import is_retry
from adapters.openai.text_deltas import TextDeltas, follow_text
from adapters.openai.text_ends import is_cut, response_usage, text_of
from adapters.openai.text_options import AskedText, TextOrder, read_text_order
from adapters.web.client_calls import ClientCall, JobFailed
from bot import usecases
from bot.commands import Ask, Caption
from bot.commands.ask import chats
from bot.errors import InvalidOption, JobNotFound
from bot.jobs import Job, JobState

INPUT = "input"
PARAMS = {"question": INPUT, "images": INPUT, "max_new_tokens": "max_output_tokens", "parent": "previous_response_id"}
MAX_IMAGES = 3
_PREFIX = "resp_"
_JOB_ID = re.compile(r"[a-z2-7]{16}")
_STATUSES = {JobState.QUEUED: "queued", JobState.RUNNING: "in_progress", JobState.CANCELLED: "cancelled"}
_CUT = "incomplete"
_DONE = (JobState.RENDERED, JobState.DELIVERED)


async def create_response(call: ClientCall) -> Response:
    asked = await _read_response(call)
    (ticket,) = await call.submit(asked.request, is_retry=is_retry(call.request))
    if asked.order.is_stream:
        events = _ResponseStream(call, ticket.job, asked.order).events()
        return EventStream(events, asked.headers, call.holding([ticket.job.id]))
    (job,) = await call.wait([ticket])
    return JSONResponse(response_json(job, asked.order.stop), headers=asked.headers)


async def _read_response(call: ClientCall) -> AskedText:
    fields = Fields(await call.read_json(images=MAX_IMAGES))
    order = read_text_order(fields, call.context.usecases.models)
    given = fields.get(INPUT)
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else given
    conversation = read_conversation(messages, INPUT)
    if conversation.has_instructions:
        fields.ignore(f"{INPUT}.system")
    request = await _build_request(call, fields, conversation, order)
    return AskedText(request=request, order=order, headers=fields.headers)


async def _build_request(
    call: ClientCall, fields: Fields, conversation: Conversation, order: TextOrder
) -> usecases.Request:
    """A question that follows a response is about the images of that one as well, if the model sees several; else about
    its own image, if it has one."""
    earlier = fields.get("previous_response_id")
    if earlier is None:
        return await build_request(call, conversation, order.options, order.model, INPUT)
    parent = await _find_job(call, earlier, "previous_response_id")
    turn = conversation.turns[-1]
    if not turn.text:
        return await build_request(call, conversation, order.options, order.model, INPUT)
    images = list((await store_images(call, turn.images, INPUT)).values())
    if not images or (order.model is not None and chats(order.model)):
        images = list({image.id: image for image in (*parent.images, *images)}.values())
    question = {"question": turn.text, **order.options}
    return call.to_request(Ask.name, question, images, parent=parent.id, allows_no_image=True)


async def retrieve_response(call: ClientCall) -> Response:
    return JSONResponse(response_json(await _find_job(call, call.request.path_params["response_id"]), ()))


async def _find_job(call: ClientCall, response_id: object, param: str | None = None) -> Job:
    """Raises: InvalidOption, ResponseNotFound."""
    if not isinstance(response_id, str):
        raise InvalidOption("previous_response_id", "body", allowed="it must be a text")
    job_id = response_id.removeprefix(_PREFIX)
    if not _JOB_ID.fullmatch(job_id):
        raise ResponseNotFound(response_id, param)
    try:
        job = (await call.context.usecases.jobs.get_ticket(call.caller.person, job_id)).job
    except JobNotFound as error:
        raise ResponseNotFound(response_id, param) from error
    if job.command not in (Ask.name, Caption.name):
        raise ResponseNotFound(response_id, param)
    return job


def response_json(job: Job, stop: tuple[str, ...]) -> dict[str, Any]:
    """The job as a response, finished or not."""
    if job.state not in _DONE:
        return _response(job, _STATUSES.get(job.state, "failed"), [])
    status = _status_of_text(job, stop)
    return _response(job, status, [_message(job, text_of(job, stop), status)])


def _status_of_text(job: Job, stop: Sequence[str]) -> str:
    return _CUT if is_cut(job, stop) else "completed"


def _response(job: Job, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    options = job.options
    return {
        "id": f"{_PREFIX}{job.id}",
        "object": "response",
        "created_at": int(job.created_at.timestamp()),
        "status": status,
        "error": {"code": "server_error", "message": job.error.message} if job.error is not None else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == _CUT else None,
        "instructions": None,
        "max_output_tokens": options.get("max_new_tokens"),
        "metadata": {},
        "model": job.model,
        "output": output,
        "parallel_tool_calls": False,
        "previous_response_id": f"{_PREFIX}{job.parent}" if job.parent else None,
        "store": True,
        "temperature": options.get("temperature"),
        "text": {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [],
        "top_p": options.get("top_p"),
        "truncation": "disabled",
        "usage": response_usage(job) if status in ("completed", _CUT) else None,
    }


def _message(job: Job, text: str | None, status: str) -> dict[str, Any]:
    """`text` None: without content yet."""
    content = [] if text is None else [_part(text)]
    return {"id": f"msg_{job.id}", "type": "message", "role": "assistant", "status": status, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class _ResponseStream:
    """The events of one response, which are numbered."""

    def __init__(self, call: ClientCall, job: Job, order: TextOrder) -> None:
        self._call = call
        self._job = job
        self._deltas = TextDeltas(order.stop)
        self._stop = order.stop
        self._number = -1

    async def events(self) -> AsyncGenerator[str, None]:
        try:
            async for event in self._events():
                yield event
        except Exception as error:  # the response has begun: its status can no longer say so
            answer = to_answer(error, PARAMS)
            job = error.job if isinstance(error, JobFailed) else self._job
            failed = _response(job, "failed", [])
            failed["error"] = {"code": answer.code or "server_error", "message": answer.message}
            yield self._event("response.failed", {"response": failed})

    async def _events(self) -> AsyncGenerator[str, None]:
        job = self._job
        begun = _response(job, "in_progress", [])
        yield self._event("response.created", {"response": begun})
        yield self._event("response.in_progress", {"response": begun})
        yield self._event("response.output_item.added", {"output_index": 0, "item": _message(job, None, "in_progress")})
        yield self._part_event("response.content_part.added", {"part": _part("")})
        async with aclosing(follow_text(self._call, job, self._deltas)) as texts:
            async for text in texts:
                yield self._part_event("response.output_text.delta", {"delta": text, "logprobs": []})
        text = self._deltas.sent
        yield self._part_event("response.output_text.done", {"text": text, "logprobs": []})
        yield self._part_event("response.content_part.done", {"part": _part(text)})
        finished = self._deltas.job or job
        status = _status_of_text(finished, self._stop)
        message = _message(job, text, status)
        yield self._event("response.output_item.done", {"output_index": 0, "item": message})
        yield self._event(f"response.{status}", {"response": _response(finished, status, [message])})

    def _part_event(self, kind: str, content: Mapping[str, Any]) -> str:
        where = {"item_id": f"msg_{self._job.id}", "output_index": 0, "content_index": 0}
        return self._event(kind, {**where, **content})

    def _event(self, kind: str, content: Mapping[str, Any]) -> str:
        self._number += 1
        return typed_event({"type": kind, "sequence_number": self._number, **content})
