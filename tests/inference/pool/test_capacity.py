"""What a device takes beside what it has: a table of cases, no processes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.models import rows_of
from inference.pool.capacity import Room
from inference.settings import PoolSettings
from tests.inference.support import make_model

MODELS = {name: make_model(name, memory_mb=600) for name in ("fox", "owl", "bat")}


def make_room(*running, warm=("fox", "owl"), rows=None, is_closed=False, **settings):
    return Room(
        settings=PoolSettings(**settings),
        models=MODELS,
        tasks=Counter(running),
        warm=frozenset(warm),
        rows={"fox": 4} if rows is None else rows,
        is_closed=is_closed,
    )


def free(room):
    return {name: room.of(model) for name, model in MODELS.items()}


def test_an_idle_device_takes_as_many_of_a_model_as_it_said_and_one_of_those_that_said_nothing():
    assert free(make_room()) == {"fox": 4, "owl": 1, "bat": 1}


def test_what_runs_and_what_was_promised_takes_its_room():
    room = make_room("fox", max_warm=2).with_promised(["fox", "owl"])

    assert free(room) == {"fox": 2, "owl": 0, "bat": 0}


def test_no_more_tasks_than_the_device_has_places_for():
    assert free(make_room("fox", "fox", max_tasks=3)) == {"fox": 1, "owl": 1, "bat": 1}


def test_a_model_is_not_loaded_beside_those_in_use_when_one_of_them_would_have_to_go():
    busy = make_room("fox", "owl", max_warm=2)

    assert (busy.of(MODELS["bat"]), busy.may_load(MODELS["bat"])) == (0, False)


def test_a_model_is_loaded_beside_those_in_use_when_both_are_kept():
    assert make_room("fox").of(MODELS["bat"]) == 1
    assert make_room("fox", max_warm=1, warm=("fox",)).of(MODELS["bat"]) == 0


def test_a_model_is_not_loaded_beside_those_in_use_when_their_memory_does_not_suffice():
    assert make_room("fox", warm_memory_mb=1000).of(MODELS["bat"]) == 0
    assert make_room("fox", warm_memory_mb=1200).of(MODELS["bat"]) == 1


def test_an_idle_device_loads_a_model_however_large():
    assert make_room(warm_memory_mb=500, max_warm=1).of(MODELS["bat"]) == 1


def test_a_device_that_loads_takes_nothing():
    assert free(make_room("bat")) == {"fox": 0, "owl": 0, "bat": 0}


def test_a_device_with_a_task_that_must_be_alone_takes_nothing():
    assert free(make_room("fox", is_closed=True)) == {"fox": 0, "owl": 0, "bat": 0}


@pytest.mark.parametrize(("form", "rows"), [({}, 1), ({"rows": 8}, 8), ({"rows": 0}, 1), ({"rows": "many"}, 1)])
def test_a_model_says_how_many_tasks_it_takes(form, rows):
    assert rows_of(form) == rows


@given(
    st.lists(st.sampled_from(sorted(MODELS)), max_size=12),
    st.sets(st.sampled_from(sorted(MODELS))),
    st.dictionaries(st.sampled_from(sorted(MODELS)), st.integers(1, 9)),
    st.integers(1, 20),
    st.integers(1, 3),
)
def test_a_device_never_has_more_than_it_may(running, warm, rows, max_tasks, max_warm):
    """Filled until nothing more is taken; what is promised is loaded at once."""
    room = make_room(warm=warm, rows=rows, max_tasks=max_tasks, max_warm=max_warm)
    for name in running:
        if room.of(MODELS[name]):
            room = make_room(
                *room.with_promised([name]).tasks.elements(), warm={name, *room.tasks}, rows=rows, max_tasks=max_tasks,
                max_warm=max_warm,
            )  # fmt: skip

    assert room.tasks.total() <= max_tasks
    assert len(room.tasks) <= max_warm
    assert all(count <= rows.get(name, 1) for name, count in room.tasks.items())
