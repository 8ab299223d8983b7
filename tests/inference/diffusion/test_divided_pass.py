"""A pass divided among threads is one pass: the same images, scheduled, limited, charged and repeated as one."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bot.ports import Measurement, TaskAddon
from inference.diffusion.divided_pass import PassThreads, divide_batch, is_divisible
from inference.diffusion.engine import DiffusionEngine
from inference.engine.base import TaskDone, TaskFailed
from inference.engine.divided_costs import WHOLE, PassChoice, PassDivision
from tests.inference.diffusion.test_batching import REQUESTS, Peer, Request, check_stream, run_stream
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
HALVES = PassDivision(2, 1)
CHOOSE = "inference.engine.divided_costs.DividedPassCosts.choose"


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """With two threads."""
    torch.set_num_threads(2)
    peer = Peer(save_diffusion(tmp_path_factory.mktemp("models") / "tiny"))
    torch.set_num_threads(1)
    yield peer
    peer.engine.unload_model()
    torch.set_num_threads(1)


@pytest.fixture
def halves(peer, monkeypatch):
    """The engine, with all waiting images in each pass, in two parts where that is allowed."""

    def choose(_self, limit, _unit=1, *, may_divide=True):
        return PassChoice(limit, HALVES if may_divide else WHOLE)

    monkeypatch.setattr(CHOOSE, choose)
    monkeypatch.setattr(peer.engine._step_loop, "max_rows", 0)
    return peer.engine


@pytest.fixture
def calls(halves, monkeypatch):
    """Thread and rows of each call of the denoiser."""
    made: list[tuple[str, int]] = []
    unet = halves._step_loop.modules["unet"].module
    forward = unet.forward

    def record(sample, *args, **kwargs):
        made.append((threading.current_thread().name, len(sample)))
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", record)
    return made


def same_steps(count, **fields):
    return [Request(seed=seed, steps=3, **fields) for seed in range(1, count + 1)]


def test_images_of_divided_passes_equal_those_of_the_stock_pipeline(peer, halves, calls):
    check_stream(peer, REQUESTS[:8], [0, 0, 0, 1, 1, 2, 2, 3], [None] * 7 + [4])

    assert any(thread.startswith("pass") for thread, _ in calls)


def test_both_parts_have_about_the_same_size_and_none_runs_in_the_callers_thread(peer, calls):
    check_stream(peer, same_steps(3), [0, 0, 0], [None] * 3)

    assert sorted(rows for _, rows in calls) == [2, 2, 2, 4, 4, 4]
    assert all(thread.startswith("pass") for thread, _ in calls)


def test_parts_run_at_the_same_time(peer, halves, monkeypatch):
    unet = halves._step_loop.modules["unet"].module
    forward, meeting = unet.forward, threading.Barrier(2, timeout=20)

    def meet(*args, **kwargs):
        meeting.wait()  # breaks unless the other part has begun as well
        return forward(*args, **kwargs)

    monkeypatch.setattr(unet, "forward", meet)
    check_stream(peer, same_steps(2), [0, 0], [None, None])


def test_a_single_image_is_not_divided(peer, calls):
    check_stream(peer, same_steps(1), [0], [None])

    assert calls == [(threading.main_thread().name, 2)] * 3


def test_images_with_different_loras_never_compute_at_the_same_time(peer, halves, calls, tmp_path):
    save_lora(peer._stock, tmp_path / "ink.safetensors", 3)
    unet = halves._step_loop.modules["unet"].module
    active: list[tuple[str, bool]] = []
    handle = unet.register_forward_pre_hook(
        lambda *_: active.append((threading.current_thread().name, bool(halves._conditioner.loras._active)))
    )
    plain, other, *inked = (request.task(peer.model, str(n)) for n, request in enumerate(same_steps(4)))
    addon = TaskAddon(kind="lora", name="ink", path=str(tmp_path / "ink.safetensors"))
    inked = [replace(task, addons=(addon,), options={**task.options, "prompt": "a fox <lora:ink:1>"}) for task in inked]
    run_stream(halves, [plain, other, *inked], [0] * 4, [None] * 4)
    handle.remove()
    pairs = list(zip(active[::2], active[1::2], strict=True))

    assert len(active) == 12
    assert all(one[1] == two[1] for one, two in pairs)
    assert {one[1] for one in active} == {True, False}


def test_memory_that_runs_out_in_one_part_limits_the_whole_pass(peer, halves, monkeypatch):
    unet = halves._step_loop.modules["unet"].module
    forward = unet.forward

    def forward_two_rows(sample, *args, **kwargs):
        if len(sample) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", forward_two_rows)
    check_stream(peer, same_steps(8, guidance=1.0), [0] * 8, [None] * 8)

    assert halves._step_loop.max_rows == 4


def test_a_fault_in_one_part_fails_its_image_and_not_the_other(peer, halves, monkeypatch):
    unet = halves._step_loop.modules["unet"].module
    forward = unet.forward

    def refuse_guidance(sample, *args, **kwargs):
        if len(sample) > 1:
            raise ValueError("no")
        return forward(sample, *args, **kwargs)

    monkeypatch.setattr(unet, "forward", refuse_guidance)
    for name, guidance in (("bad", 3.0), ("good", 1.0)):
        halves.add_task(Request(guidance=guidance).task(peer.model, name))
    events: list[Any] = []
    while sum(isinstance(event, TaskDone | TaskFailed) for event in events) < 2:
        events += halves.step()

    assert [event.task_id for event in events if isinstance(event, TaskFailed)] == ["bad"]
    assert [event.task_id for event in events if isinstance(event, TaskDone)] == ["good"]


def test_cancelling_between_divided_passes_leaves_the_others_their_images(peer, halves):
    check_stream(peer, same_steps(4), [0, 0, 1, 1], [2, None, None, 2])


def test_a_divided_pass_is_charged_once_by_its_duration(peer, halves, monkeypatch):
    unet = halves._step_loop.modules["unet"].module
    forward = unet.forward

    def take_50_ms(*args, **kwargs):
        time.sleep(0.05)
        return forward(*args, **kwargs)

    monkeypatch.setattr(unet, "forward", take_50_ms)
    for task in (request.task(peer.model, str(n)) for n, request in enumerate(same_steps(2))):
        halves.add_task(task)
    halves.step()
    halves.take_usage()
    started = time.monotonic()
    halves.step()
    passed_s, used = time.monotonic() - started, halves.take_usage()
    halves.cancel_task("0")
    halves.cancel_task("1")

    assert sum(used.values()) <= passed_s
    assert used["0"] >= 0.024
    assert used["1"] >= 0.024


def test_costs_are_measured_for_each_division_and_start_the_next_process(peer):
    learned = [
        Measurement(device="cpu", model="", dtype="", shape="32x32", batch_size=rows, what=what, seconds=seconds)
        for what, rows, seconds in (("pass", 2, 0.1), ("pass", 8, 0.4), ("pass 2x1", 4, 0.1), ("pass 2x1", 8, 0.2))
    ]
    torch.set_num_threads(2)
    engine = DiffusionEngine(peer.model)
    engine.load_model("cpu")
    engine.load_costs(learned)
    tasks = [request.task(peer.model, str(n)) for n, request in enumerate(same_steps(4))]
    for task in tasks:
        engine.add_task(task)
    events: list[Any] = []
    while not any(isinstance(event, TaskDone) for event in events):
        events += engine.step()
        divisions = engine._step_loop._division
    samples = engine.cost_samples(tasks[0])
    engine.unload_model()
    torch.set_num_threads(1)

    assert divisions == HALVES
    assert {sample.what for sample in samples} >= {"pass", "pass 2x1", "step"}
    assert {sample.backend for sample in samples} == {"torch"}


def test_with_one_thread_nothing_is_divided(peer):
    engine = DiffusionEngine(peer.model)
    engine.load_model("cpu")
    run_stream(engine, [one.task(peer.model, str(n)) for n, one in enumerate(same_steps(3))], [0] * 3, [None] * 3)
    threads = engine._step_loop._threads
    engine.unload_model()

    assert threads._executor is None
    assert threads.threads == 1


# ---------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    ("tokens", "parts", "sums"),
    [([2, 2, 1, 1], 2, [3, 3]), ([4, 1, 1], 2, [4, 2]), ([1], 2, [1]), ([1] * 5, 4, [2, 1])],
)
def test_parts_are_balanced_and_never_empty(tokens, parts, sums):
    divided = divide_batch([SimpleNamespace(tokens=one) for one in tokens], parts)  # type: ignore[misc]

    assert sorted(index for part in divided for index in part) == list(range(len(tokens)))
    assert sorted((sum(tokens[index] for index in part) for part in divided), reverse=True)[: len(sums)] == sums
    assert all(divided)


def test_all_parts_end_before_the_first_error_is_raised():
    threads, ended = PassThreads(1), []

    def fail():
        raise ValueError("no")

    def run_out():
        time.sleep(0.02)
        ended.append(True)
        raise MemoryError

    with pytest.raises(MemoryError):  # the one that the step loop can do something about
        threads.run([fail, run_out], 1)
    threads.close()

    assert ended
    assert torch.get_num_threads() == 1


def test_calls_in_the_threads_keep_no_gradients():
    threads, weights = PassThreads(2), torch.ones(2, requires_grad=True)
    results = threads.run([lambda: weights * 2, lambda: weights * 3], 1)
    threads.close()
    torch.set_num_threads(1)

    assert not any(result.requires_grad for result in results)


@pytest.mark.parametrize("hook", ["_hf_hook", "_diffusers_hook"])
def test_a_module_whose_weights_move_around_each_call_is_not_divided(hook):
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))

    assert is_divisible(module)
    setattr(module[0], hook, object())
    assert not is_divisible(module)
