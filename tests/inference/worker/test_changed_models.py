"""A model whose settings change while its tasks run is loaded anew when these have ended, however many more wait."""

from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from inference.ipc import messages
from inference.worker.loop import WorkerLoop
from tests.inference.support import make_model, make_task


class SentMessages(list[Any]):
    def send(self, message: object) -> None:
        self.append(message)


def step(loop: WorkerLoop) -> None:
    loop._start_ready_tasks()
    for engine, tasks in loop._busy_engines():
        loop._step_engine(engine, tasks)


def test_a_stream_of_tasks_does_not_keep_the_old_settings():
    sent = SentMessages()
    init = messages.Init(device="cpu", engine_factory="tests.inference.engines:build")
    loop = WorkerLoop(sent, init, SimpleQueue())  # type: ignore[arg-type]
    model = make_model("one", repo="slots=4")
    changed = replace(model, backend="openvino")
    for number in range(2):
        loop._handle(messages.StartTask(make_task(id=f"old{number}", model=model)))
    for number in range(8):
        loop._handle(messages.StartTask(make_task(id=f"new{number}", model=changed)))
        step(loop)
    while not loop._is_idle():
        step(loop)

    order = [
        getattr(one, "task_id", "loaded")
        for one in sent
        if isinstance(one, messages.TaskStarted | messages.ModelLoaded)
    ]
    assert order[:4] == ["loaded", "old0", "old1", "loaded"]
    assert sorted(order[4:]) == [f"new{number}" for number in range(8)]
    outcomes = [one.outcome for one in sent if isinstance(one, messages.TaskEnded)]
    assert all(isinstance(one, messages.TaskResult) for one in outcomes)


def test_tasks_of_both_settings_that_arrive_together_each_have_theirs():
    sent = SentMessages()
    init = messages.Init(device="cpu", engine_factory="tests.inference.engines:build")
    loop = WorkerLoop(sent, init, SimpleQueue())  # type: ignore[arg-type]
    model = make_model("one", repo="slots=4")
    for id, spec in (("old", model), ("new", replace(model, generation=1))):
        loop._handle(messages.StartTask(make_task(id=id, model=spec)))
    while not loop._is_idle():
        step(loop)

    order = [
        getattr(one, "task_id", "loaded")
        for one in sent
        if isinstance(one, messages.TaskStarted | messages.ModelLoaded)
    ]
    assert order == ["loaded", "old", "loaded", "new"]
