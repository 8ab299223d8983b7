"""Checks of pictures that the device of a job's main task does not see: it gets only what was made of them."""

from collections.abc import Sequence

from bot.errors import Blocked
from bot.ports import Task, TaskImage
from bot.queue.task_runner import RunPart
from bot.safety.policy import build_check, check_input_score


async def check_pictures(task: Task, pictures: Sequence[TaskImage], run_part: RunPart) -> float | None:
    """The highest of their scores; None: they need no check, or nothing can check them. Raises: Blocked."""
    if task.rules is None:
        return None
    scores = (await run_part(build_check(task, "inputs", pictures))).scores
    if len(scores) != len(pictures):
        raise Blocked("unchecked")
    for score in scores:
        check_input_score(task.rules, score)
    return max((score for score in scores if score is not None), default=None)
