"""Pure: how much a device computes before one of its running tasks ends.

As the step loop schedules passes (`inference.diffusion.schedule_policy`): people share them equally, and of one
person's images those that are closest to their end go first.
"""

from collections import Counter
from collections.abc import Sequence

from bot.ports import TaskWork

PATIENCE = 16
"""Passes that an image waits at most before it goes ahead of others of its owner."""
MOST_OVERDUE = 0.5
"""The share of the passes that such images have, at most."""


def steps_until_end(task: str, work: Sequence[TaskWork], batch: float) -> float:
    """Steps of single images, of all tasks together, until this task ends. `batch`: images that share a pass."""
    own = next(one for one in work if one.task == task)
    others = [one for one in work if one is not own]
    ahead = [one for one in others if one.owner == own.owner and _goes_first(one, own, work)]
    images = sum(one.images_left for one in work)
    before = own.steps_left + sum(one.steps_left for one in ahead)
    all_own = sum(one.steps_left for one in work if one.owner == own.owner)
    overdue = min(MOST_OVERDUE, max(0.0, images / batch - 1) / PATIENCE)
    in_turn = min(all_own, before / (1 - overdue))
    of_people: Counter[str] = Counter()
    for one in others:
        of_people[one.owner] += one.steps_left if one.owner != own.owner else 0
    in_turn += sum(min(steps, in_turn) for steps in of_people.values())  # each as much as the owner
    in_every_pass = own.steps_left / max(1, own.images_left) * min(batch, images)
    return max(in_turn, in_every_pass)


def _goes_first(one: TaskWork, own: TaskWork, work: Sequence[TaskWork]) -> bool:
    order = {id(task): position for position, task in enumerate(work)}
    return (_steps_each(one), order[id(one)]) < (_steps_each(own), order[id(own)])


def _steps_each(one: TaskWork) -> float:
    """Those that an image of the task has left, on average."""
    return one.steps_left / max(1, one.images_left)
