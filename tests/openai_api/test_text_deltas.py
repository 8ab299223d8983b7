"""What is new in a text that grows: stop texts, and texts that are rewritten."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from adapters.openai.event_stream import EventStream, keep_alive
from adapters.openai.text_deltas import TextDeltas


def deltas_of(texts, *stop):
    """For each text so far, what is sent; the last one is complete."""
    deltas = TextDeltas(stop)
    return [*(deltas.add(text) for text in texts[:-1]), deltas.finish(texts[-1])]


@pytest.mark.parametrize(
    ("texts", "stop", "sent"),
    [
        (["It", "It is", "It is red"], (), ["It", " is", " red"]),
        (["It", "It is", "It is red"], ("is",), ["It", " ", ""]),
        (["a#", "a##", "a##b"], ("##",), ["a", "", ""]),
        (["a#", "a#b"], ("##",), ["a", "#b"]),
        (["a#"], ("##",), ["a#"]),
        (["It is", "That was"], (), ["It is", ""]),
        (["", "", "x"], (), ["", "", "x"]),
        (["one END two", "one END two"], ("two", "END"), ["one ", ""]),
    ],
)
def test_what_was_sent_is_never_taken_back(texts, stop, sent):
    assert deltas_of(texts, *stop) == sent


async def test_a_stream_without_events_has_comments():
    seen, is_waiting = [], asyncio.Event()

    async def slow():
        yield "data: 1\n\n"
        await is_waiting.wait()
        yield "data: 2\n\n"

    async for event in keep_alive(slow(), interval_s=0.001):
        seen.append(event)
        if len(seen) == 3:
            is_waiting.set()

    assert (seen[0], seen[-1]) == ("data: 1\n\n", "data: 2\n\n")
    assert set(seen[1:-1]) == {": waiting\n\n"}


async def test_a_job_is_held_even_for_a_client_that_is_gone_before_the_first_event():
    """Its generator never starts, so nothing in it could let the job go."""
    steps = []

    @asynccontextmanager
    async def holding():
        steps.append("held")
        yield
        steps.append("let go")

    async def events():
        steps.append("asked")
        await asyncio.Event().wait()
        yield ""

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        await asyncio.Event().wait()

    await EventStream(events(), {}, holding())({"type": "http"}, receive, send)

    assert steps == ["held", "let go"]
