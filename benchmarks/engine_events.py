"""Runs tasks on an engine in this process, as a device does."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy
from PIL import Image

from bot.jobs import Media
from bot.ports import Task
from inference.engine.base import Engine, EngineEvent, TaskDone, TaskFailed
from inference.ipc.messages import RawImage


def run_tasks(engine: Engine, tasks: Sequence[Task]) -> Iterator[EngineEvent]:
    """All events until each task is done. Raises: the error of a task that failed."""
    waiting, left = list(tasks), len(tasks)
    while left:
        while waiting and engine.free_slots:
            engine.add_task(waiting.pop())
        for event in engine.step():
            if isinstance(event, TaskFailed):
                raise event.error
            left -= isinstance(event, TaskDone)
            yield event


def pixels_of(image: RawImage) -> numpy.ndarray:
    """(height, width, 3), uint8."""
    return numpy.frombuffer(image.pixels, numpy.uint8).reshape(image.height, image.width, 3)


def encode_png(pixels: numpy.ndarray) -> Media:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Media(buffer.getvalue(), "image/png")
