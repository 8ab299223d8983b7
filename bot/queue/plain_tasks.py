"""Tasks that belong to no job's main work, such as captions and rankings, and running one to its output."""

from collections.abc import Sequence
from contextlib import aclosing

from bot.commands import Caption
from bot.errors import EngineError
from bot.jobs import ImageRef, Media
from bot.models import IMAGE_TO_TEXT, ModelSpec
from bot.ports import RANK, Pool, Task, TaskImage, TaskOutput


async def run_to_output(pool: Pool, task: Task) -> TaskOutput:
    """Raises: what `Pool.run_task` does; EngineError: it ended without an output."""
    async with aclosing(pool.run_task(task)) as events:
        async for event in events:
            if isinstance(event, TaskOutput):
                return event
    raise EngineError(detail=f"{task.command} ended without an output")


def caption_task(model: ModelSpec, image: Media, *, id: str, fairness_key: str = "") -> Task:
    """What the vision model sees in one image, in its usual words."""
    return Task(
        id=id,
        command=Caption.name,
        task=IMAGE_TO_TEXT,
        model=model,
        options=Caption.from_options({}, (ImageRef(""),)).fill_options(model, 0),
        images=(TaskImage("init", image),),
        fairness_key=fairness_key,
    )


def ranking_task(judge: ModelSpec, text: str, pictures: Sequence[Media], *, id: str, fairness_key: str = "") -> Task:
    """How well each picture shows the text."""
    return Task(
        id=id,
        command=RANK,
        task=judge.tasks[0],
        model=judge,
        options={"text": text},
        images=tuple(TaskImage("init", picture) for picture in pictures),
        fairness_key=fairness_key,
    )
