"""The main loop of a device's child process: loads models, admits tasks, steps engines, reports.

Run as `python -m inference.worker PARENT_PID NICENESS`. It knows nothing of chat. Orders arrive in a
thread while it computes and are obeyed between steps; its heart beats in another, so silence means that the
process is stopped or that something holds the interpreter.
"""

import faulthandler
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from statistics import median
from typing import Any

from bot.errors import Blocked
from bot.models import ModelSpec
from bot.ports import Measured, Progress, Task, step_of
from inference.engine.base import Engine, Failed, Made, Over, Reading, Step, find
from inference.engine.error_mapping import is_out_of_memory, task_fault
from inference.ipc import child, messages
from inference.safety.checker import Checker
from inference.worker.admission import Turns
from inference.worker.model_cache import Shelf, memory_mb, room_by_torch

BEAT_S = 1.0


@dataclass
class Admitted:
    """A task in an engine. `steps_s`: device-seconds from each step that was told to the next."""

    task: Task
    shape: str = ""
    used_s: float = 0.0
    told_s: float = 0.0
    steps_s: list[float] = field(default_factory=list)

    def stepped(self) -> None:
        self.steps_s.append(self.used_s - self.told_s)
        self.told_s = self.used_s

    @property
    def step_s(self) -> float:
        """A typical step, as far as it was this task's: not the first, which warms up."""
        steady = self.steps_s[1:] or self.steps_s
        return median(steady) if steady else 0.0

    @property
    def rest_s(self) -> float:
        """What the task took beside its steps, for each of its results.

        Beside its own part of them: alone a step costs more than a part of a shared one.
        """
        return max(0.0, self.used_s - self.step_s * len(self.steps_s)) / int(self.task.options.get("count", 1))


class Worker:
    """Serves one device. `inbox` holds the parent's messages."""

    def __init__(self, line: child.Line, begin: messages.Begin, inbox: "SimpleQueue[Any]") -> None:
        self._line = line
        self._begin = begin
        self._inbox = inbox
        self._checker = Checker(begin.classifier, lambda spec: find(begin.checker)(spec))
        room = room_by_torch(begin.device)
        self._shelf = Shelf(find(begin.engines), begin, line, self._checker, room=room)
        self._turns = Turns()
        self._waiting: deque[Task] = deque()
        self._admitted: dict[str, Admitted] = {}
        self._spent: dict[str, float] = {}
        """Device-seconds of tasks that begin once more."""

    def serve(self) -> None:
        """Until the parent says Shutdown, or a new process would do better."""
        self._line.send(messages.Ready(slots=1))
        while self._obey() and not (self._shelf.is_worn_out and self._is_idle()):
            self._admit()
            for engine, tasks in self._busy():
                self._step(engine, tasks)

    # ------------------------------------------------------------ orders

    def _obey(self) -> bool:
        """Take every order there is; wait for one when there is nothing to compute."""
        must_wait = self._is_idle() and not self._shelf.is_worn_out
        while True:
            try:
                message = self._inbox.get(block=must_wait)
            except Empty:
                return True
            must_wait = False
            if isinstance(message, messages.Shutdown):
                return False
            self._take(message)

    def _take(self, message: Any) -> None:
        match message:
            case messages.Run(task):
                self._waiting.append(task)
            case messages.Cancel(task_id):
                self._cancel(task_id)
            case messages.Watch(task_id, watched) if task_id in self._admitted:
                rules = self._admitted[task_id].task.rules
                self._engine_of(task_id).watch(task_id, watched and (rules is None or rules.may_preview))
            case messages.Release(models=names):
                self._shelf.release(names, busy=self._models_in_use())
            case messages.Load(model) if not self._waiting:
                self._shelf.load(model, busy=self._models_in_use())

    def _cancel(self, task_id: str) -> None:
        for task in list(self._waiting):
            if task.id == task_id:
                self._waiting.remove(task)
                self._line.send(
                    messages.Ended(task_id=task_id, outcome=messages.Stopped(), used_s=self._spent.pop(task_id, 0.0))
                )
        if task_id in self._admitted:
            self._engine_of(task_id).cancel(task_id)
            self._end(task_id, messages.Stopped())

    # ------------------------------------------------------------ admitting

    def _admit(self) -> None:
        ready, held = self._turns.sort(self._waiting, self._can_load, now=time.monotonic())
        self._waiting = deque([*ready, *held])
        for _ in range(len(ready)):
            task = self._waiting.popleft()
            failure = self._shelf.load(task.model, busy=self._models_in_use())
            if failure is not None:
                self._line.send(messages.Ended(task_id=task.id, outcome=failure, used_s=0.0))
            elif not self._is_still_wanted(task):
                return
            elif self._shelf[task.model.name].free_rows > 0:
                self._begin_task(task)
            else:
                self._waiting.append(task)

    def _is_still_wanted(self, task: Task) -> bool:
        """Loading takes long: look at what was ordered meanwhile, before computing."""
        self._waiting.appendleft(task)
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, messages.Shutdown):
                self._inbox.put(message)
                return False
            self._take(message)
        is_wanted = any(task is waiting for waiting in self._waiting)
        if is_wanted:
            self._waiting.remove(task)
        return is_wanted

    def _begin_task(self, task: Task) -> None:
        shape = "{width}x{height}".format_map(task.options) if "width" in task.options else ""
        spent_s = self._spent.pop(task.id, 0.0)
        self._admitted[task.id] = Admitted(task, shape, used_s=spent_s, told_s=spent_s)
        self._line.send(messages.Started(task.id))
        try:
            self._checker.look_at_inputs(task)
            self._shelf[task.model.name].admit(task)
        except Exception as error:
            self._fail([task.id], error)

    # ------------------------------------------------------------ computing

    def _busy(self) -> list[tuple[Engine, list[str]]]:
        """The engines with admitted tasks."""
        by_model: dict[str, list[str]] = {}
        for task_id, admitted in self._admitted.items():
            by_model.setdefault(admitted.task.model.name, []).append(task_id)
        return [(self._shelf[name], tasks) for name, tasks in by_model.items()]

    def _step(self, engine: Engine, tasks: list[str]) -> None:
        started = time.monotonic()
        try:
            events = engine.step()
        except Exception as error:
            self._spend({task_id: (time.monotonic() - started) / len(tasks) for task_id in tasks})
            self._fail(tasks, error)
            return
        self._spend(engine.used())
        for event in events:
            admitted = self._admitted.get(event.task_id)
            if isinstance(event, Failed):
                self._fail([event.task_id], event.error)
            elif admitted is not None:
                try:
                    self._tell(admitted, event)
                except Blocked as error:
                    self._fail([event.task_id], error)

    def _spend(self, used: Mapping[str, float]) -> None:
        for task_id, seconds in used.items():
            if task_id in self._admitted:
                self._admitted[task_id].used_s += seconds

    def _tell(self, admitted: Admitted, event: Step | Made | Over) -> None:
        task_id = event.task_id
        match event:
            case Step():
                admitted.stepped()
                rules = admitted.task.rules
                preview = event.preview if rules is None or rules.may_preview else None
                told: Any = Progress(step=event.step, steps=event.steps, preview=preview)
            case Made():
                told = self._checker.checked(admitted.task, event.picture)
            case Over():
                for measured in self._measured(admitted):
                    self._send(task_id, measured)
                self._end(task_id, event.finished)
                return
        self._send(task_id, told)

    def _send(self, task_id: str, event: Any) -> None:
        used_s = self._admitted[task_id].used_s
        self._line.send(messages.Told(task_id=task_id, event=event, used_s=used_s))

    def _measured(self, admitted: Admitted) -> list[Measured]:
        """What the task's engine learned of such tasks, and what this one took beside its steps."""
        task = admitted.task
        readings = list(self._engine_of(task.id).readings(task)) or _typical(admitted)
        if not readings:
            return []
        has_rest = any(one.what == "job" for one in readings)
        return [
            Measured(
                device=self._begin.device,
                model=task.model.name,
                dtype=self._shelf.dtype(task.model.name),
                shape=admitted.shape,
                rows=one.rows,
                what=one.what,
                seconds=one.seconds,
            )
            for one in [*readings, *([] if has_rest else [Reading(what="job", rows=1, seconds=admitted.rest_s)])]
        ]

    # ------------------------------------------------------------ ending

    def _fail(self, tasks: list[str], error: Exception) -> None:
        model = self._admitted[tasks[0]].task.model.name
        faults = {task_id: task_fault(error, self._admitted[task_id].task) for task_id in tasks}
        for task_id in tasks:
            self._engine_of(task_id).cancel(task_id)
        if is_out_of_memory(error):
            error.__traceback__ = None  # its frames hold what there was no room for
            others = [one.task.model.name for name, one in self._admitted.items() if name not in tasks]
            if self._shelf.ease(model, busy=frozenset(others)) is not None:
                self._begin_again(tasks)
                return
        for task_id, fault in faults.items():
            self._end(task_id, messages.pack_error(fault))

    def _begin_again(self, tasks: list[str]) -> None:
        """From the first step, before all that waits; the time used counts on."""
        for task_id in reversed(tasks):
            admitted = self._admitted.pop(task_id)
            self._spent[task_id] = admitted.used_s
            self._waiting.appendleft(admitted.task)

    def _end(self, task_id: str, outcome: Any) -> None:
        used_s = self._admitted.pop(task_id).used_s
        self._line.send(messages.Ended(task_id=task_id, outcome=outcome, used_s=used_s))

    def _engine_of(self, task_id: str) -> Engine:
        return self._shelf[self._admitted[task_id].task.model.name]

    def _is_idle(self) -> bool:
        return not self._admitted and not self._waiting

    def _can_load(self, model: ModelSpec) -> bool:
        return self._shelf.can_load(model, busy=self._models_in_use())

    def _models_in_use(self) -> frozenset[str]:
        return frozenset(admitted.task.model.name for admitted in self._admitted.values())


def _typical(admitted: Admitted) -> list[Reading]:
    """For a task whose engine learns nothing."""
    is_text = admitted.task.task.endswith(("-to-text", "answering"))
    what = "token" if is_text else step_of(admitted.task.options)
    return [Reading(what=what, rows=1, seconds=admitted.step_s)] if admitted.steps_s else []


def _beat(line: child.Line, begin: messages.Begin) -> None:
    """Say every second that we live; if that stops, write down where everything hangs."""
    while True:
        faulthandler.dump_traceback_later(begin.silence_s * 0.7)
        line.send(messages.Beat(memory_mb(begin.device)))
        time.sleep(min(BEAT_S, begin.silence_s / 4))


def main() -> None:
    parent, niceness = int(sys.argv[1]), int(sys.argv[2])
    line = child.take_line()
    child.settle(parent, niceness)
    begin = line.receive()
    if not isinstance(begin, messages.Begin):
        os._exit(0)
    inbox: SimpleQueue[Any] = SimpleQueue()

    def take(message: Any) -> None:
        if isinstance(message, messages.Run):
            line.send(messages.Received(message.task.id))
        inbox.put(message)

    child.listen(line, take)
    threading.Thread(target=_beat, args=(line, begin), name="heart", daemon=True).start()
    Worker(line, begin, inbox).serve()
    os._exit(0)  # engines' threads and their libraries' exit handlers are not worth waiting for
