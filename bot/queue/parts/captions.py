"""Captions of images that are parts of a job: what a picture shows, where nobody said it."""

from dataclasses import replace

import structlog

from bot.commands import Caption
from bot.commands.parts import captioning_model
from bot.errors import Blocked, EaselError, Interrupted, JobCancelled
from bot.jobs import ImageRef, Media
from bot.models import IMAGE_TO_TEXT, ModelRegistry
from bot.options import clean_text
from bot.ports import Task, TaskImage
from bot.queue.task_runner import RunPart

log = structlog.get_logger()


async def caption_image(task: Task, image: Media, models: ModelRegistry, run_part: RunPart, number: int = 0) -> str:
    """What the vision model sees; empty if there is none, or if it fails: the task can do without.

    `number`: tells several captions of one task apart. Raises: Blocked: what is seen may not be asked for.
    """
    model = captioning_model(models, task.model)
    if model is None:
        return ""
    part = replace(
        task,
        id=f"{task.id}.caption{number}",
        command=Caption.name,
        task=IMAGE_TO_TEXT,
        model=model,
        options=Caption.from_options({}, (ImageRef(""),)).fill_options(model, 0),
        answers=Caption.answers.value,
        images=(TaskImage("init", image),),
        addons=(),
        wants_previews=False,
        rules=None,
    )
    try:
        return clean_text((await run_part(part)).text or "")
    except (Interrupted, JobCancelled, Blocked):
        raise
    except EaselError as error:
        log.warning("no caption for a part of a job", action="caption_skipped", error=str(error))
        return ""
