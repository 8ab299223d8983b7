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


def start_loop() -> tuple[SentMessages, WorkerLoop]:
    sent = SentMessages()
    init = messages.Init(device="cpu", engine_factory="tests.inference.engines:build")
    return sent, WorkerLoop(sent, init, SimpleQueue())  # type: ignore[arg-type]


def finish(loop: WorkerLoop) -> None:
    while not loop._is_idle():
        step(loop)


def order_of(sent: SentMessages) -> list[str]:
    """Tasks that started, and "loaded" for each load of a model."""
    reported = (one for one in sent if isinstance(one, messages.TaskStarted | messages.ModelLoaded))
    return [getattr(one, "task_id", "loaded") for one in reported]


def test_a_stream_of_tasks_does_not_keep_the_old_settings():
    sent, loop = start_loop()
    model = make_model("one", repo="slots=4")
    changed = replace(model, backend="openvino")
    for number in range(2):
        loop._handle(messages.StartTask(make_task(id=f"old{number}", model=model)))
    for number in range(8):
        loop._handle(messages.StartTask(make_task(id=f"new{number}", model=changed)))
        step(loop)
    finish(loop)

    order = order_of(sent)
    assert order[:4] == ["loaded", "old0", "old1", "loaded"]
    assert sorted(order[4:]) == [f"new{number}" for number in range(8)]
    outcomes = [one.outcome for one in sent if isinstance(one, messages.TaskEnded)]
    assert all(isinstance(one, messages.TaskResult) for one in outcomes)


def test_tasks_of_both_settings_that_arrive_together_each_have_theirs():
    sent, loop = start_loop()
    model = make_model("one", repo="slots=4")
    for id, spec in (("old", model), ("new", replace(model, generation=1))):
        loop._handle(messages.StartTask(make_task(id=id, model=spec)))
    finish(loop)

    order = order_of(sent)
    assert order == ["loaded", "old", "loaded", "new"]
