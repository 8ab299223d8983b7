"""How many answers stay the same in another number format: the starter's, to a hundred questions about scenes."""

import io
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy
from PIL import Image

from benchmarks import blip
from bot.jobs import Media
from bot.ports import Task, TaskImage
from inference.engine.base import TaskDone
from training.draw import render_scene
from training.questions import QuestionGenerator
from training.scenes import SceneSampler

QUESTIONS, TOKENS, AT_ONCE = 100, 20, 8


@cache
def equal_answers(dtype: str, count: int = QUESTIONS) -> int:
    """Of `count` questions, those that the starter answers in this format as in float32."""
    tasks = questions(count)
    answers, expected = (answers_in(one, tasks) for one in (dtype, "float32"))
    return sum(one == other for one, other in zip(answers, expected, strict=True))


def questions(count: int) -> list[Task]:
    rng = numpy.random.default_rng(7)
    scenes, generator = SceneSampler(), QuestionGenerator(rng)
    tasks = []
    for number in range(count):
        scene = scenes.sample_scene(rng)
        question = generator.sample_question(scene).question
        task = blip.make_request(number, question, TOKENS, photo=0)
        options = {**task.options, "min_new_tokens": 1}
        tasks.append(replace(task, options=options, images=(TaskImage("init", _encode(render_scene(scene))),)))
    return tasks


def answers_in(dtype: str, tasks: Sequence[Task]) -> list[str]:
    """Several at the same time."""
    answers: dict[str, str] = {}
    with blip.open_engine(0.0, dtype=dtype) as engine:
        for start in range(0, len(tasks), AT_ONCE):
            group = tasks[start : start + AT_ONCE]
            for task in group:
                engine.add_task(task)
            while not all(task.id in answers for task in group):
                done = (event for event in engine.step() if isinstance(event, TaskDone))
                answers |= {event.task_id: event.result.text or "" for event in done}
    return [answers[task.id] for task in tasks]


def _encode(pixels: numpy.ndarray) -> Media:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return Media(out.getvalue(), "image/png")
