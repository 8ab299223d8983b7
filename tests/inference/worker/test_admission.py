"""The order in which tasks start when their models cannot all be loaded."""

from inference.worker.admission import AdmissionQueue
from tests.inference.support import make_model, make_task

LOADED, OTHER = make_model("loaded"), make_model("other")


def is_loaded(model):
    return model.name == "loaded"


def ids(tasks):
    return [task.id for task in tasks]


def task_of(name, model):
    return make_task(id=name, model=model)


def test_tasks_of_loaded_models_start_before_those_that_must_wait():
    waiting = [task_of("a", OTHER), task_of("b", LOADED), task_of("c", LOADED)]

    ready, held = AdmissionQueue(20).split_ready(waiting, is_loaded, now=100)

    assert ids(ready) == ["b", "c"]
    assert ids(held) == ["a"]


def test_after_the_maximum_wait_no_task_starts_before_the_waiting_one():
    queue = AdmissionQueue(20)
    waiting = [task_of("a", OTHER), task_of("b", LOADED)]
    queue.split_ready(waiting, is_loaded, now=100)

    assert ids(queue.split_ready(waiting, is_loaded, now=119)[0]) == ["b"]
    assert queue.split_ready(waiting, is_loaded, now=120)[0] == []


def test_a_task_keeps_its_position_until_its_model_can_be_loaded():
    queue = AdmissionQueue(20)
    waiting = [task_of("a", OTHER), task_of("b", LOADED)]
    queue.split_ready(waiting, is_loaded, now=100)

    ready, held = queue.split_ready(waiting, lambda model: True, now=130)

    assert ids(ready) == ["a", "b"]
    assert held == []


def test_the_wait_is_counted_from_the_last_time_the_task_was_held():
    queue = AdmissionQueue(20)
    waiting = [task_of("a", OTHER), task_of("b", LOADED)]
    queue.split_ready(waiting, is_loaded, now=100)
    queue.split_ready(waiting, lambda model: True, now=110)

    assert ids(queue.split_ready(waiting, is_loaded, now=125)[0]) == ["b"]
