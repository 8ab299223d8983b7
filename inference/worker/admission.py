"""Pure: in which order waiting tasks begin, so that models which cannot be loaded together do not push each other out.

What is loaded goes on; a task whose model needs the place of a busy one waits until that is done. It waits only so
long: then nothing more begins on the busy models, and at the next quiet moment the place is its.
"""

from collections.abc import Callable, Iterable

from bot.models import ModelSpec
from bot.ports import Task

PATIENCE_S = 20.0
"""What the queue waits for a warm model by default (`queue.swap_wait_s`)."""


class Turns:
    """`patience_s`: how long a task waits behind others that came after it."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._held_since: dict[str, float] = {}

    def sort(
        self, waiting: Iterable[Task], can_load: Callable[[ModelSpec], bool], *, now: float
    ) -> tuple[list[Task], list[Task]]:
        """Those that may begin now and those that are held, in the order in which they came. `now`: any clock's."""
        waiting = list(waiting)
        ready = [task for task in waiting if can_load(task.model)]
        taken = {task.id for task in ready}
        held = [task for task in waiting if task.id not in taken]
        since = self._held_since
        self._held_since = {task.id: since.get(task.id, now) for task in held}
        overdue = [task for task in held if now - self._held_since[task.id] >= self._patience_s]
        if overdue:
            return [], waiting
        return ready, held
