"""The main loop of a device's child process: loads models, starts tasks, steps engines, reports.

Run as `python -m inference.worker PARENT_PID NICE [MODULE]`; the module is imported early. It knows nothing of chat. A
thread receives messages during computation; they are handled between steps. Another thread sends heartbeats: if these
stop, the process is stopped or something holds the interpreter's lock.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any

from bot.errors import Blocked
from bot.models import ModelSpec
from bot.ports import Progress, Task, WorkerPlugin
from inference.engine.base import (
    CandidatesReady,
    ChoosesRows,
    CountsPasses,
    Engine,
    ImageReady,
    StepDone,
    TaskDone,
    TaskFailed,
    import_object,
)
from inference.engine.error_mapping import is_out_of_memory, to_task_error
from inference.engine.pass_counts import PassCounts
from inference.engine.plugins.decoded_images import change_decoded
from inference.engine.plugins.plugin_host import PluginHost
from inference.ipc import child, messages, sandbox
from inference.ipc.plugin_messages import SetPlugins
from inference.safety.checker import SafetyChecker
from inference.worker.admission import AdmissionQueue
from inference.worker.early_import import EarlyImport
from inference.worker.format_trial import FormatTrials
from inference.worker.heartbeat import start_heartbeat
from inference.worker.model_cache import ModelCache, torch_memory_budget
from inference.worker.running_task import RunningTask
from inference.worker.task_measurements import measure_task

CHOICE_POLL_S = 0.05
"""How long to wait for messages while tasks wait for a choice and others for room."""


class WorkerLoop:
    """Serves one device. `inbox` holds the parent's messages; `libraries`: what may still be being imported."""

    def __init__(
        self,
        pipes: child.PipeConnection,
        init: messages.Init,
        inbox: "SimpleQueue[Any]",
        libraries: EarlyImport | None = None,
        pass_counts: PassCounts | None = None,
    ) -> None:
        self._pipes = pipes
        self._init = init
        self._inbox = inbox
        libraries = libraries or EarlyImport("")
        self._libraries = libraries
        self._checker = SafetyChecker(init.classifiers, lambda spec: import_object(init.classifier_factory)(spec))
        self._plugins = PluginHost(pipes.send)
        budget = torch_memory_budget(init.device)
        self._models = ModelCache(
            import_object(init.engine_factory),
            init,
            pipes,
            self._checker,
            memory_budget=budget,
            libraries=libraries,
            plugins=self._plugins,
        )
        self._pass_counts = pass_counts or PassCounts()
        self._admission = AdmissionQueue()
        self._waiting: deque[Task] = deque()
        self._running: dict[str, RunningTask] = {}
        self._format_trials = FormatTrials(self._models, init.device, self._send_event)
        self._used_before_retry_s: dict[str, float] = {}
        """Device-seconds that tasks which start again have used before."""

    def run_until_shutdown(self) -> None:
        """Run until the parent sends Shutdown, or until the process is idle and needs a restart."""
        self._pipes.send(messages.Ready(slots=1))
        self._set_plugins(self._init.plugins)
        while self._drain_inbox() and not (self._models.needs_restart and self._is_idle()):
            self._start_ready_tasks()
            for engine, tasks in self._busy_engines():
                self._step_engine(engine, tasks)

    def _set_plugins(self, plugins: Sequence[WorkerPlugin]) -> None:
        if plugins:
            self._libraries.wait()  # plugins import them, too
        self._plugins.set_plugins(plugins)

    # ------------------------------------------------------------ messages

    def _drain_inbox(self) -> bool:
        """Handle all messages; wait for one when there is nothing to compute. False: Shutdown."""
        must_wait = (self._is_idle() and not self._models.needs_restart) or self._awaits_choices()
        limit_s = CHOICE_POLL_S if self._waiting else None
        while True:
            try:
                message = self._inbox.get(block=must_wait, timeout=limit_s)
            except Empty:
                return True
            must_wait = False
            if isinstance(message, messages.Shutdown):
                return False
            self._handle(message)

    def _awaits_choices(self) -> bool:
        """Whether all running tasks wait until the parent says which of their images go on."""
        return bool(self._running) and all(running.awaits_choice for running in self._running.values())

    def _handle(self, message: Any) -> None:
        match message:
            case messages.StartTask(task) if task.is_safety_check:
                self._score_images(task)
            case messages.StartTask(task):
                self._waiting.append(task)
            case messages.CancelTask(task_id):
                self._cancel_task(task_id)
            case messages.KeepRows(task_id, step, kept) if task_id in self._running:
                self._running[task_id].awaits_choice = False
                engine = self._engine_for(task_id)
                if isinstance(engine, ChoosesRows):
                    engine.keep_rows(task_id, step, kept)
            case messages.SetPreviews(task_id, is_enabled) if task_id in self._running:
                rules = self._running[task_id].task.rules
                self._engine_for(task_id).set_previews(task_id, is_enabled and (rules is None or rules.may_preview))
            case messages.UnloadModels(models=names):
                self._models.unload(names, busy=self._models_in_use())
            case SetPlugins(plugins):
                self._set_plugins(plugins)
            case messages.LoadModel(model) if not self._waiting:
                self._models.load_model(model, busy=self._models_in_use())

    def _score_images(self, task: Task) -> None:
        """Run a safety check: it needs neither an engine nor a slot."""
        self._libraries.wait()
        started = time.monotonic()
        self._pipes.send(messages.TaskStarted(task.id))
        outcome: messages.TaskResult | messages.PackedError
        try:
            outcome = messages.TaskResult(scores=self._checker.score_inputs(task))
        except Exception as error:
            outcome = messages.pack_error(to_task_error(error, task))
        used_s = time.monotonic() - started
        self._pipes.send(messages.TaskEnded(task_id=task.id, outcome=outcome, used_s=used_s))

    def _cancel_task(self, task_id: str) -> None:
        for task in list(self._waiting):
            if task.id == task_id:
                self._waiting.remove(task)
                self._pipes.send(
                    messages.TaskEnded(
                        task_id=task_id,
                        outcome=messages.Cancelled(),
                        used_s=self._used_before_retry_s.pop(task_id, 0.0),
                    )
                )
        if task_id in self._running:
            self._engine_for(task_id).cancel_task(task_id)
            self._end_task(task_id, messages.Cancelled())

    # ------------------------------------------------------------ starting tasks

    def _start_ready_tasks(self) -> None:
        ready, held = self._admission.split_ready(self._waiting, self._can_load, now=time.monotonic())
        self._waiting = deque([*ready, *held])
        for _ in range(len(ready)):
            task = self._waiting.popleft()
            if not self._can_load(task.model):  # one that has just started needs another
                self._waiting.append(task)
                continue
            failure = self._models.load_model(task.model, busy=self._models_in_use())
            if failure is not None:
                self._pipes.send(messages.TaskEnded(task_id=task.id, outcome=failure, used_s=0.0))
            elif not self._is_still_waiting(task):
                return
            elif self._models[task.model.name].free_slots > 0:
                self._start_task(task)
            else:
                self._waiting.append(task)

    def _is_still_waiting(self, task: Task) -> bool:
        """Handle the messages that arrived while the model was loading: the task may have been cancelled."""
        self._waiting.appendleft(task)
        while not self._inbox.empty():
            message = self._inbox.get()
            if isinstance(message, messages.Shutdown):
                self._inbox.put(message)
                return False
            self._handle(message)
        is_waiting = any(task is other for other in self._waiting)
        if is_waiting:
            self._waiting.remove(task)
        return is_waiting

    def _start_task(self, task: Task) -> None:
        shape = "{width}x{height}".format_map(task.options) if "width" in task.options else ""
        used_s = self._used_before_retry_s.pop(task.id, 0.0)
        self._running[task.id] = RunningTask(task, shape, used_s=used_s, reported_s=used_s)
        self._pipes.send(messages.TaskStarted(task.id))
        try:
            self._running[task.id].input_score = self._checker.check_inputs(task)
            self._plugins.start_task(task)
            self._models[task.model.name].add_task(task)
            self._format_trials.start(task)
        except Exception as error:
            self._fail_tasks([task.id], error)

    # ------------------------------------------------------------ computing

    def _busy_engines(self) -> list[tuple[Engine, list[str]]]:
        """The engines that have tasks to compute, with the ids of all of theirs."""
        by_model: dict[str, list[str]] = {}
        for task_id, running in self._running.items():
            by_model.setdefault(running.task.model.name, []).append(task_id)
        return [
            (self._models[name], tasks)
            for name, tasks in by_model.items()
            if not all(self._running[task_id].awaits_choice for task_id in tasks)
        ]

    def _step_engine(self, engine: Engine, tasks: list[str]) -> None:
        started = time.monotonic()
        try:
            events = engine.step()
        except Exception as error:
            self._charge({task_id: (time.monotonic() - started) / len(tasks) for task_id in tasks})
            self._fail_tasks(tasks, error)
            return
        self._charge(engine.take_usage())
        if isinstance(engine, CountsPasses):
            self._pass_counts.take_from(engine.pass_counts)
        for event in events:
            running = self._running.get(event.task_id)
            if isinstance(event, TaskFailed):
                self._fail_tasks([event.task_id], event.error)
            elif running is not None:
                try:
                    self._report(running, event)
                except Blocked as error:
                    self._fail_tasks([event.task_id], error)

    def _charge(self, used: Mapping[str, float]) -> None:
        for task_id, seconds in used.items():
            if task_id in self._running:
                self._running[task_id].used_s += seconds

    def _report(self, running: RunningTask, event: StepDone | ImageReady | CandidatesReady | TaskDone) -> None:
        task_id = event.task_id
        match event:
            case StepDone():
                running.record_step()
                if self._format_trials.is_hopeless(task_id, running.step_times_s):
                    self._end_second_run(task_id)
                    return
                rules = running.task.rules
                preview = event.preview if rules is None or rules.may_preview else None
                self._send_event(
                    task_id, Progress(step=event.step, steps=event.steps, preview=preview, text=event.text)
                )
            case ImageReady():
                self._format_trials.keep_image(task_id, event.image)
                if self._format_trials.is_repeating(task_id):
                    return
                started = time.monotonic()
                image = change_decoded(self._plugins, task_id, event.image)
                running.used_s += time.monotonic() - started
                self._send_event(task_id, self._checker.score_output(running.task, image, running.input_score))
            case CandidatesReady():
                running.awaits_choice = True
                self._send_event(task_id, event.candidates)
            case TaskDone():
                dtype = self._models.dtype_of(running.task.model.name)
                for measurement in measure_task(running, self._engine_for(task_id), self._init.device, dtype):
                    self._send_event(task_id, measurement)
                    self._models.remember(measurement)
                result = self._format_trials.end_run(running.task, event.result, running.step_times_s)
                if result is not None:
                    self._report_capabilities(running.task)
                    self._end_task(task_id, result)
                else:
                    running.start_again()

    def _report_capabilities(self, task: Task) -> None:
        """If they have changed since they were reported: a trial has chosen, or something was given up."""
        changed = self._models.take_changed_capabilities(task.model.name) if task.model.name in self._models else None
        if changed is not None:
            self._send_event(task.id, changed)

    def _send_event(self, task_id: str, event: Any) -> None:
        used_s = self._running[task_id].used_s
        self._pipes.send(messages.TaskEvent(task_id=task_id, event=event, used_s=used_s))

    # ------------------------------------------------------------ ending

    def _fail_tasks(self, tasks: list[str], error: Exception) -> None:
        repeating = [one for one in tasks if self._format_trials.is_repeating(one)]
        for task_id in repeating:
            error.__traceback__ = None  # its frames hold tensors
            self._end_second_run(task_id)
        tasks = [one for one in tasks if one not in repeating]
        if not tasks:
            return
        model = self._running[tasks[0]].task.model.name
        errors = {task_id: to_task_error(error, self._running[task_id].task) for task_id in tasks}
        for task_id in tasks:
            self._engine_for(task_id).cancel_task(task_id)
        if is_out_of_memory(error):
            error.__traceback__ = None  # its frames hold the tensors that filled the memory
            others = [running.task.model.name for task_id, running in self._running.items() if task_id not in tasks]
            if self._models.reduce_memory(model, busy=frozenset(others)) is not None:
                self._retry_tasks(tasks)
                return
        for task_id, task_error in errors.items():
            self._end_task(task_id, messages.pack_error(task_error))

    def _end_second_run(self, task_id: str) -> None:
        """End a trial with the result of its first run."""
        self._engine_for(task_id).cancel_task(task_id)
        task = self._running[task_id].task
        result = self._format_trials.end(task)
        self._report_capabilities(task)
        self._end_task(task_id, result)

    def _retry_tasks(self, tasks: list[str]) -> None:
        """Put the tasks back at the head of the queue, to start from their first step; the time used still counts."""
        for task_id in reversed(tasks):
            running = self._running.pop(task_id)
            self._used_before_retry_s[task_id] = running.used_s
            self._waiting.appendleft(running.task)

    def _end_task(self, task_id: str, outcome: Any) -> None:
        used_s = self._running.pop(task_id).used_s
        self._format_trials.forget(task_id)
        notes = self._plugins.take_notes(task_id)
        if notes and isinstance(outcome, messages.TaskResult):
            outcome = replace(outcome, notes=(*outcome.notes, *notes))
        self._pipes.send(messages.TaskEnded(task_id=task_id, outcome=outcome, used_s=used_s))

    def _engine_for(self, task_id: str) -> Engine:
        return self._models[self._running[task_id].task.model.name]

    def _is_idle(self) -> bool:
        return not self._running and not self._waiting

    def _can_load(self, model: ModelSpec) -> bool:
        return self._models.can_load(model, busy=self._models_in_use())

    def _models_in_use(self) -> frozenset[str]:
        return frozenset(running.task.model.name for running in self._running.values())


def main() -> None:
    parent_pid, nice, early = int(sys.argv[1]), int(sys.argv[2]), "".join(sys.argv[3:4])
    pipes = child.open_pipes()
    child.detach_from_terminal(parent_pid, nice)
    if early:  # an early worker is always the CPU's
        sandbox.forbid_new_privileges()
    libraries = EarlyImport(early)
    init = pipes.receive()
    if not isinstance(init, messages.Init):
        os._exit(0)
    if init.device == "cpu":  # CUDA may start nvidia-modprobe, which is setuid
        sandbox.forbid_new_privileges()
    inbox: SimpleQueue[Any] = SimpleQueue()

    def handle(message: Any) -> None:
        if isinstance(message, messages.StartTask):
            pipes.send(messages.TaskAccepted(message.task.id))
        inbox.put(message)

    child.start_reader(pipes, handle)
    counts = PassCounts()
    start_heartbeat(pipes, init, counts)
    WorkerLoop(pipes, init, inbox, libraries, counts).run_until_shutdown()
    os._exit(0)  # do not wait for the threads of engines and the exit handlers of their libraries
