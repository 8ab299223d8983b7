"""The order in which tasks begin when their models cannot all be loaded."""

from inference.worker.admission import Turns
from tests.inference.support import make_model, make_task

WARM, COLD = make_model("warm"), make_model("cold")


def is_warm(model):
    return model.name == "warm"


def ids(tasks):
    return [task.id for task in tasks]


def task_of(name, model):
    return make_task(id=name, model=model)


def test_what_is_loaded_goes_on_before_what_has_to_wait_for_a_place():
    waiting = [task_of("a", COLD), task_of("b", WARM), task_of("c", WARM)]

    ready, held = Turns(20).sort(waiting, is_warm, now=100)

    assert ids(ready) == ["b", "c"]
    assert ids(held) == ["a"]


def test_after_its_patience_nothing_begins_before_the_task_that_waits():
    turns = Turns(20)
    waiting = [task_of("a", COLD), task_of("b", WARM)]
    turns.sort(waiting, is_warm, now=100)

    assert ids(turns.sort(waiting, is_warm, now=119)[0]) == ["b"]
    assert turns.sort(waiting, is_warm, now=120)[0] == []


def test_once_its_model_can_be_loaded_it_begins_in_its_old_place():
    turns = Turns(20)
    waiting = [task_of("a", COLD), task_of("b", WARM)]
    turns.sort(waiting, is_warm, now=100)

    ready, held = turns.sort(waiting, lambda model: True, now=130)

    assert ids(ready) == ["a", "b"]
    assert held == []


def test_waiting_is_counted_anew_for_each_time_it_is_held():
    turns = Turns(20)
    waiting = [task_of("a", COLD), task_of("b", WARM)]
    turns.sort(waiting, is_warm, now=100)
    turns.sort(waiting, lambda model: True, now=110)

    assert ids(turns.sort(waiting, is_warm, now=125)[0]) == ["b"]
