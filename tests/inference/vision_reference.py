"""Requests of the vision engines, and what the plain library answers to them."""

import io
from typing import Any

import torch
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING
from bot.ports import Task, TaskImage
from inference.engine.base import Engine, EngineEvent, Over
from inference.vision.generation_plan import prompt_of, tidy
from inference.vision.sequence import generation
from tests.inference.support import make_task, png

TASKS = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
OPTIONS = {"num_beams": 1, "temperature": 0.0, "top_p": 1.0, "min_new_tokens": 4, "max_new_tokens": 8}


def make_request(question: str = "", *, colour: str = "red", id: str = "job", **options: Any) -> Task:
    asked = {"question": question} if question else {}
    return make_task(
        "",
        id=id,
        command="ask" if question else "caption",
        task=VISUAL_QUESTION_ANSWERING if question else IMAGE_TO_TEXT,
        options=OPTIONS | asked | options,
        images=(picture(colour),),
    )


def picture(colour: str) -> TaskImage:
    return TaskImage("init", Media(png(Image.new("RGB", (24, 16), colour)), "image/png"))


def run(engine: Engine, task: Task) -> list[EngineEvent]:
    """Everything that the task alone gives."""
    engine.admit(task)
    events: list[EngineEvent] = []
    while not (events and isinstance(events[-1], Over)):
        events += engine.step()
    return events


def answer(engine: Engine, task: Task) -> str:
    over = run(engine, task)[-1]
    assert isinstance(over, Over)
    return over.finished.text or ""


def inputs_of(engine: Any, task: Task) -> Any:
    """What BLIP-2's own processor makes of the task's first picture and its words."""
    image = Image.open(io.BytesIO(task.images[0].media.data)).convert("RGB")
    return engine._processor(images=image, text=prompt_of(task, engine._model), return_tensors="pt")


@torch.no_grad()
def plain_answer(engine: Any, task: Task) -> str:
    """What the library's own `generate` answers to the task alone."""
    blip, inputs = engine._blip, inputs_of(engine, task)
    torch.manual_seed(task.options["seed"])
    ids = blip.generate(**inputs, **generation(task.options, task.options["max_new_tokens"]))[0]
    if not blip.language_model.config.is_encoder_decoder:
        repeated = inputs["input_ids"].shape[1] if "input_ids" in inputs else blip.config.num_query_tokens + 1
        ids = ids[repeated:]
    return tidy(engine._processor.tokenizer.decode(ids, skip_special_tokens=True))
