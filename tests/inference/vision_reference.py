"""Requests for the vision engines, and the output of Transformers' own `generate` for them."""

import io
from typing import Any

import torch
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING
from bot.ports import Task, TaskImage
from inference.engine.base import Engine, EngineEvent, TaskDone
from inference.vision.generation_plan import first_line, prompt_for
from inference.vision.sequence import generation_arguments
from tests.inference.support import make_task, png

TASKS = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
OPTIONS = {"num_beams": 1, "temperature": 0.0, "top_p": 1.0, "min_new_tokens": 4, "max_new_tokens": 8}


def make_request(question: str = "", *, colour: str = "red", id: str = "job", **options: Any) -> Task:
    question_option = {"question": question} if question else {}
    return make_task(
        "",
        id=id,
        command="ask" if question else "caption",
        task=VISUAL_QUESTION_ANSWERING if question else IMAGE_TO_TEXT,
        options=OPTIONS | question_option | options,
        images=(plain_image(colour),),
    )


def plain_image(colour: str) -> TaskImage:
    return TaskImage("init", Media(png(Image.new("RGB", (24, 16), colour)), "image/png"))


def run_task(engine: Engine, task: Task) -> list[EngineEvent]:
    """All events of the task alone."""
    engine.add_task(task)
    events: list[EngineEvent] = []
    while not (events and isinstance(events[-1], TaskDone)):
        events += engine.step()
    return events


def answer(engine: Engine, task: Task) -> str:
    done = run_task(engine, task)[-1]
    assert isinstance(done, TaskDone)
    return done.result.text or ""


def inputs_of(engine: Any, task: Task) -> Any:
    """The inputs of BLIP-2's own processor for the task's first image and its prompt."""
    image = Image.open(io.BytesIO(task.images[0].media.data)).convert("RGB")
    return engine._processor(images=image, text=prompt_for(task, engine._model), return_tensors="pt")


@torch.no_grad()
def reference_answer(engine: Any, task: Task) -> str:
    """The answer of Transformers' own `generate` to the task alone."""
    blip, inputs = engine._blip, inputs_of(engine, task)
    torch.manual_seed(task.options["seed"])
    ids = blip.generate(**inputs, **generation_arguments(task.options, task.options["max_new_tokens"]))[0]
    if not blip.language_model.config.is_encoder_decoder:
        repeated = inputs["input_ids"].shape[1] if "input_ids" in inputs else blip.config.num_query_tokens + 1
        ids = ids[repeated:]
    return first_line(engine._processor.tokenizer.decode(ids, skip_special_tokens=True))
