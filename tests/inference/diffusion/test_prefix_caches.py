"""Prefix caches take gigabytes with real models: when they are freed, and how many there are at the same time."""

import sys
import weakref
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.transformers.transformer_flux2 import Flux2KVCache
from diffusers.models.transformers.transformer_qwenimage21 import QwenImage21KVCache

from inference.diffusion.prefix_caches import count_references, select_startable
from inference.engine.base import TaskDone, TaskFailed
from tests.inference.recent_presets import (
    LONG,
    SHORT,
    assert_as_alone,
    load_engine,
    make_folders,
    paint,
    request,
    small_references,
    spec_of,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
QWEN, KLEIN = "qwen-image-2-1", "flux2-klein-9b-kv"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad(), small_references():
        yield


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    folder_of = make_folders(tmp_path_factory)
    loaded = {name: load_engine(spec_of(name, folder_of(name))) for name in (QWEN, KLEIN)}
    yield loaded
    for engine in loaded.values():
        engine.unload_model()


@pytest.fixture
def caches(monkeypatch):
    """Those that exist now."""
    found: weakref.WeakSet[Any] = weakref.WeakSet()
    for kind in (QwenImage21KVCache, Flux2KVCache):

        def initialize(cache, *sizes, original=kind.__init__, **named_sizes):
            original(cache, *sizes, **named_sizes)
            found.add(cache)

        monkeypatch.setattr(kind, "__init__", initialize)
    return found


def two_edits(name):
    """Of different references, with previews; the second takes a step longer."""
    tasks = [request(name, "one", SHORT, "red"), request(name, "other", LONG, "blue", "teal", seed=2, steps=4)]
    return [replace(task, wants_previews=True) for task in tasks]


def start(engine, tasks):
    for task in tasks:
        engine.add_task(task)
    while any(running.reported_step < 1 for running in engine._tasks.values()):
        engine.step()


def step_to_end(engine):
    """The kinds of the tasks' last events."""
    ended = []
    while engine._tasks:
        ended += [type(event) for event in engine.step() if isinstance(event, TaskDone | TaskFailed)]
    return ended


@pytest.mark.parametrize("name", [QWEN, KLEIN])
def test_a_cache_is_freed_as_soon_as_its_image_is_finished(engines, caches, name):
    start(engines[name], two_edits(name))
    assert len(caches) == 2

    assert step_to_end(engines[name]) == [TaskDone, TaskDone]
    assert not caches


@pytest.mark.parametrize("name", [QWEN, KLEIN])
def test_a_cache_is_freed_when_its_task_is_cancelled_and_the_neighbour_goes_on(engines, caches, name):
    engine, (one, other) = engines[name], two_edits(name)
    start(engine, [one, other])

    engine.cancel_task("one")

    assert len(caches) == 1
    assert step_to_end(engine) == [TaskDone]
    assert not caches


@pytest.mark.parametrize("name", [QWEN, KLEIN])
def test_a_cache_is_freed_when_its_image_fails(engines, caches, name, monkeypatch):
    engine = engines[name]
    start(engine, two_edits(name))

    def fail(*_args, **_kwargs):
        raise RuntimeError("no such pass")

    monkeypatch.setattr(engine._step_loop.modules["transformer"].module, "forward", fail)
    assert step_to_end(engine) == [TaskFailed, TaskFailed]
    layers = [layer for cache in caches for some in vars(cache).values() if isinstance(some, list) for layer in some]
    assert not any(isinstance(value, torch.Tensor) for layer in layers for value in vars(layer).values())


# ---------------------------------------------------------------- how many there are


@pytest.mark.parametrize(("name", "most"), [(QWEN, 1), (KLEIN, 1), (KLEIN, 3)])
def test_images_wait_until_there_is_memory_for_their_references(engines, caches, name, most, monkeypatch):
    engine, counts = engines[name], Counter[int]()
    monkeypatch.setattr(engine, "_max_references", most)
    step = engine.step

    def step_and_count():
        events = step()
        counts[len(caches)] += 1
        return events

    monkeypatch.setattr(engine, "step", step_and_count)
    several = request(name, "several", SHORT, "red", count=3)
    drawn = request(name, "drawn", LONG, seed=5)

    painted = paint(engine, [several, drawn])

    own = 1 if name == QWEN else 0  # a prompt of Qwen-Image has a small cache, which is not counted
    assert 1 <= max(counts) <= most + own
    assert_as_alone(engine, [drawn], painted)
    assert not caches


def waiting(number, references, index=0):
    task = request(KLEIN, str(number), SHORT, *["red"] * references)
    return SimpleNamespace(task=task, index=index, arrival=number)


def test_the_first_image_of_each_task_comes_first_and_a_large_one_is_not_overtaken():
    first, second, large, free = waiting(1, 2), waiting(2, 2, index=1), waiting(3, 2), waiting(4, 0)
    queue = [first, second, large, free]

    assert select_startable(queue, queue, 3) == [first, free]
    assert select_startable(queue, queue, 4) == [first, large, free]
    assert select_startable([second, large], queue, 3) == []
    assert select_startable([second, large], [second, large], 1) == [large]  # alone, it may be too large
    assert select_startable(queue, queue, sys.maxsize) == queue


def test_a_guided_image_keeps_its_references_twice():
    plain = request(QWEN, "plain", SHORT, "red", "blue")
    spec = spec_of(QWEN, ".", takes_guidance=True)
    guided = [request(QWEN, "guided", SHORT, "red", "blue", guidance_scale=scale) for scale in (1.0, 4.0)]
    counts = [count_references(replace(one, model=spec)) for one in guided]

    assert (count_references(plain), counts) == (2, [2, 4])
