"""The capacity of a device: a table of cases, without processes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.models import slots_of
from inference.pool.capacity import DeviceCapacity
from inference.settings import PoolSettings
from tests.inference.support import make_model

MODELS = {name: make_model(name, memory_mb=600) for name in ("fox", "owl", "bat")}


def make_capacity(*running, loaded=("fox", "owl"), slots=None, is_exclusive=False, **settings):
    return DeviceCapacity(
        settings=PoolSettings(**settings),
        models=MODELS,
        tasks=Counter(running),
        loaded=frozenset(loaded),
        slots={"fox": 4} if slots is None else slots,
        is_exclusive=is_exclusive,
    )


def free_slots(capacity):
    return {name: capacity.slots_for(model) for name, model in MODELS.items()}


def test_an_idle_device_accepts_as_many_tasks_as_a_model_reported_or_one():
    assert free_slots(make_capacity()) == {"fox": 4, "owl": 1, "bat": 1}


def test_running_and_reserved_tasks_use_slots():
    capacity = make_capacity("fox", max_loaded_models=2).with_reserved(["fox", "owl"])

    assert free_slots(capacity) == {"fox": 2, "owl": 0, "bat": 0}


def test_all_slots_but_two_are_spare():
    running = [["fox"] * count for count in range(5)]
    slots = {"fox": 4, "owl": 2}

    assert [make_capacity(*one, slots=slots).spare_models for one in running] == [{"fox"}, {"fox"}, set(), set(), set()]


@pytest.mark.parametrize(
    "capacity",
    [
        make_capacity(loaded=("owl",)),
        make_capacity("fox", max_tasks=3),
        make_capacity("fox", is_exclusive=True),
        make_capacity("bat"),
    ],
    ids=["not loaded", "two slots of the device are left", "it runs a task that must be alone", "a model loads"],
)
def test_nothing_is_spare_on_a_device_without_slots_to_spare(capacity):
    assert capacity.spare_models == frozenset()


def test_a_model_that_was_removed_while_it_runs_is_not_offered():
    offer = make_capacity("fox", slots={"fox": 8, "owl": 8}).to_offer("cpu", {"owl", "bat"}, 1.0)

    assert offer is not None
    assert (offer.models, offer.spare) == ({"owl", "bat"}, {"owl"})
    assert make_capacity("fox", max_tasks=1).to_offer("cpu", {"owl"}, 1.0) is None


def test_the_number_of_tasks_of_a_device_is_limited():
    assert free_slots(make_capacity("fox", "fox", max_tasks=3)) == {"fox": 1, "owl": 1, "bat": 1}


def test_a_model_is_not_loaded_if_a_model_in_use_would_be_evicted():
    busy = make_capacity("fox", "owl", max_loaded_models=2)

    assert (busy.slots_for(MODELS["bat"]), busy.can_load(MODELS["bat"])) == (0, False)


def test_a_model_is_loaded_beside_those_in_use_if_all_can_stay():
    assert make_capacity("fox").slots_for(MODELS["bat"]) == 1
    assert make_capacity("fox", max_loaded_models=1, loaded=("fox",)).slots_for(MODELS["bat"]) == 0


def test_a_model_is_not_loaded_beside_those_in_use_if_the_memory_does_not_suffice():
    assert make_capacity("fox", loaded_models_mb=1000).slots_for(MODELS["bat"]) == 0
    assert make_capacity("fox", loaded_models_mb=1200).slots_for(MODELS["bat"]) == 1


def test_an_idle_device_loads_a_model_however_large():
    assert make_capacity(loaded_models_mb=500, max_loaded_models=1).slots_for(MODELS["bat"]) == 1


def test_a_device_that_is_loading_accepts_no_tasks():
    assert free_slots(make_capacity("bat")) == {"fox": 0, "owl": 0, "bat": 0}


def test_a_device_with_an_exclusive_task_accepts_no_tasks():
    assert free_slots(make_capacity("fox", is_exclusive=True)) == {"fox": 0, "owl": 0, "bat": 0}


@pytest.mark.parametrize(
    ("capabilities", "slots"), [({}, 1), ({"rows": 8}, 8), ({"rows": 0}, 1), ({"rows": "many"}, 1)]
)
def test_a_models_capabilities_say_how_many_tasks_it_runs(capabilities, slots):
    assert slots_of(capabilities) == slots


@given(
    st.lists(st.sampled_from(sorted(MODELS)), max_size=12),
    st.sets(st.sampled_from(sorted(MODELS))),
    st.dictionaries(st.sampled_from(sorted(MODELS)), st.integers(1, 9)),
    st.integers(1, 20),
    st.integers(1, 3),
)
def test_a_device_never_exceeds_its_limits(running, loaded, slots, max_tasks, max_loaded_models):
    """Filled until it accepts no more; the models of reserved tasks are loaded immediately."""
    capacity = make_capacity(loaded=loaded, slots=slots, max_tasks=max_tasks, max_loaded_models=max_loaded_models)
    for name in running:
        if capacity.slots_for(MODELS[name]):
            reserved = capacity.with_reserved([name]).tasks.elements()
            capacity = make_capacity(
                *reserved,
                loaded={name, *capacity.tasks},
                slots=slots,
                max_tasks=max_tasks,
                max_loaded_models=max_loaded_models,
            )

    assert capacity.tasks.total() <= max_tasks
    assert len(capacity.tasks) <= max_loaded_models
    assert all(count <= slots.get(name, 1) for name, count in capacity.tasks.items())
