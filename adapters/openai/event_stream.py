"""Server-sent events as OpenAI's clients read them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from adapters.openai.openai_errors import to_answer

DONE = "data: [DONE]\n\n"
KEEP_ALIVE_S = 15.0
"""Proxies close connections on which nothing is sent for a minute; a job may wait longer for its turn."""
_COMMENT = ": waiting\n\n"


def format_event(content: Mapping[str, Any], name: str = "") -> str:
    data = f"data: {json.dumps(content)}\n\n"
    return f"event: {name}\n{data}" if name else data


def typed_event(content: Mapping[str, Any]) -> str:
    """An event that is named as its `type`."""
    return format_event(content, str(content["type"]))


class EventStream(StreamingResponse):
    """Its generator is closed as soon as the client is gone. `holding` lasts until then, also if the client is gone
    before the first event, so that the generator never starts."""

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        headers: Mapping[str, str],
        holding: AbstractAsyncContextManager[object],
    ) -> None:
        self._events = keep_alive(events)
        self._holding = holding
        more = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(self._events, 200, {**headers, **more}, "text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._holding:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._events):
            await super().stream_response(send)


async def with_errors(events: AsyncGenerator[str, None], params: Mapping[str, str]) -> AsyncGenerator[str, None]:
    """The events; an error is the last of them."""
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except Exception as error:  # the response has begun: its status can no longer say so
            yield format_event(to_answer(error, params).body, "error")


async def keep_alive(events: AsyncGenerator[str, None], interval_s: float = KEEP_ALIVE_S) -> AsyncGenerator[str, None]:
    """The events, with comments while there is none."""
    async with aclosing(events):
        while True:
            following = asyncio.ensure_future(anext(events))
            try:
                while not (await asyncio.wait({following}, timeout=interval_s))[0]:
                    yield _COMMENT
            finally:
                if not following.done():
                    following.cancel()
                    with suppress(asyncio.CancelledError, StopAsyncIteration):
                        await following
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            yield event
