"""The order in which waiting tasks start: models that cannot be loaded together do not evict each other in turn. Pure.

Tasks of loaded models go first; a task whose model would need the memory of a busy one waits. After the maximum wait no
further task starts on the busy models, and the waiting task's model is loaded as soon as they are idle.
"""

from collections.abc import Callable, Iterable

from bot.models import ModelSpec
from bot.ports import Task

MAX_WAIT_S = 20.0
"""The default of `queue.swap_wait_s`."""


class AdmissionQueue:
    """`max_wait_s`: how long later tasks may overtake a task."""

    def __init__(self, max_wait_s: float = MAX_WAIT_S) -> None:
        self._max_wait_s = max_wait_s
        self._held_since: dict[str, float] = {}

    def split_ready(
        self, waiting: Iterable[Task], can_load: Callable[[ModelSpec], bool], *, now: float
    ) -> tuple[list[Task], list[Task]]:
        """The tasks that may start now and those that must wait, in order of arrival. `now`: of any clock."""
        waiting = list(waiting)
        ready = [task for task in waiting if can_load(task.model)]
        ready_ids = {task.id for task in ready}
        held = [task for task in waiting if task.id not in ready_ids]
        since = self._held_since
        self._held_since = {task.id: since.get(task.id, now) for task in held}
        overdue = [task for task in held if now - self._held_since[task.id] >= self._max_wait_s]
        if overdue:
            return [], waiting
        return ready, held
