"""Checks of pictures that the device of a job's main task does not see: it gets only what was made of them."""

from collections.abc import Sequence

from bot.errors import Blocked
from bot.models import IMAGE_CLASSIFICATION, ModelSpec
from bot.ports import Task, TaskImage
from bot.queue.task_runner import RunPart
from bot.safety.policy import CLASSIFIER, check_input_score


async def check_pictures(task: Task, pictures: Sequence[TaskImage], run_part: RunPart) -> float | None:
    """The highest of their scores; None: they need no check, or nothing can check them. Raises: Blocked."""
    if task.rules is None:
        return None
    check = Task(
        id=f"{task.id}.inputs",
        command=task.command,
        task=IMAGE_CLASSIFICATION,
        model=ModelSpec(name=CLASSIFIER, tasks=(IMAGE_CLASSIFICATION,), repo=""),
        options=task.options,
        images=tuple(pictures),
        fairness_key=task.fairness_key,
    )
    scores = (await run_part(check)).scores
    if len(scores) != len(pictures):
        raise Blocked("unchecked")
    for score in scores:
        check_input_score(task.rules, score)
    return max((score for score in scores if score is not None), default=None)
