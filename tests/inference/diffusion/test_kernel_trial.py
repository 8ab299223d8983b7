"""The trial of attention kernels and compiled blocks: the quickest that changes no image is used from then on."""

import itertools
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy
import pytest
import torch

from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.execution import denoiser_execution
from inference.diffusion.execution.attention_kernels import ATTENTION_KERNELS, AttentionKernel
from inference.diffusion.execution.denoiser_execution import NEVER_S, DenoiserExecution
from inference.diffusion.execution.kernel_trial import TimedImage, UntriableImage, try_execution
from tests.inference.diffusion.test_denoiser_execution import Denoiser, engine_of, levels, paint
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"), pytest.mark.filterwarnings("ignore")]
OPTIONS = {"width": 16, "height": 16, "steps": 6, "guidance_scale": 3.0}
NATIVE = ATTENTION_KERNELS[0]


@dataclass(frozen=True)
class Way:
    """What an image made so is: seconds of a pass, levels off; or the error."""

    seconds: float
    levels: int = 0
    error: Exception | None = None


class Painter:
    """Paints by a table: by kernel, and "compiled"."""

    def __init__(self, execution: DenoiserExecution, ways: dict[str, Way]) -> None:
        self.execution, self.ways = execution, ways
        self.painted: list[str] = []

    def __call__(self) -> TimedImage:
        name = "compiled" if self.execution.compiled is not None else self.execution.kernel.name
        self.painted.append(name)
        way = self.ways[name]
        if way.error is not None:
            raise way.error
        return TimedImage(numpy.full((2, 2, 3), 100 + way.levels, numpy.uint8), way.seconds)


@pytest.fixture
def tried(monkeypatch):
    """The outcome of a trial of these ways on a GPU."""
    monkeypatch.setattr(denoiser_execution, "compile_problem", lambda *_: "")
    monkeypatch.setattr(denoiser_execution, "usable_kernels", lambda *_: kernels)
    kernels: list[AttentionKernel] = []

    def run(
        ways: dict[str, Way], *, dtype: torch.dtype = torch.float32, clock: Any = time.monotonic, **settings: Any
    ) -> tuple[DenoiserExecution, dict[tuple[str, str], float], Painter]:
        kernels[:] = [AttentionKernel(name) for name in ways if name != "compiled"]
        model = make_model("tiny", **({"compile": "auto" if "compiled" in ways else "off"} | settings))
        execution = DenoiserExecution(model, Denoiser().to(dtype), "cuda:0")
        painter = Painter(execution, ways)
        samples = {(one.what, one.backend): one.seconds for one in try_execution(execution, painter, clock)}
        return execution, samples, painter

    return run


def test_the_quickest_kernel_within_one_level_is_used(tried):
    ways = {"native": Way(1.0), "good": Way(0.8, levels=1), "better": Way(0.6), "wrong": Way(0.1, levels=2)}
    execution, samples, _ = tried(ways | {"broken": Way(0.1, error=ValueError("no such head size"))})

    assert execution.kernel.name == "better"
    assert samples == {
        ("attention", "native"): 1.0,
        ("attention", "good"): 0.8,
        ("attention", "better"): 0.6,
        ("attention", "wrong"): NEVER_S,
        ("attention", "broken"): NEVER_S,
    }


def test_a_kernel_without_memory_is_not_used(tried):
    execution, samples, _ = tried({"native": Way(1.0), "big": Way(0.1, error=torch.OutOfMemoryError())})

    assert execution.kernel.name == "native"
    assert samples["attention", "big"] == NEVER_S


def test_attention_gets_one_level_in_half_precision_too(tried):
    execution, _, _ = tried({"native": Way(1.0), "near": Way(0.5, levels=2)}, dtype=torch.bfloat16)

    assert execution.kernel.name == "native"


@pytest.mark.parametrize(
    ("dtype", "compiled", "is_used"),
    [
        (torch.float32, Way(0.5, levels=1), True),
        (torch.float32, Way(0.5, levels=2), False),
        (torch.bfloat16, Way(0.5, levels=4), True),
        (torch.bfloat16, Way(0.5, levels=5), False),
        (torch.float32, Way(0.79), False),
        (torch.float32, Way(0.1, error=RuntimeError("ptxas failed")), False),
    ],
)
def test_blocks_are_compiled_where_that_is_quicker_and_changes_no_image(tried, dtype, compiled, is_used):
    """Compared with the best kernel, which compiled blocks use as well."""
    execution, samples, painter = tried({"native": Way(1.0), "flash": Way(0.8), "compiled": compiled}, dtype=dtype)

    assert (execution.compiled is not None) == is_used
    assert execution.kernel.name == "flash"
    assert samples["compile", "uncompiled"] == 0.8
    assert painter.painted == ["native", "flash", "compiled"]


def test_the_owners_choice_is_not_tried(tried):
    on, samples, painter = tried({"native": Way(1.0), "good": Way(0.5)}, compile="on")
    off, _, _ = tried({"native": Way(1.0), "good": Way(0.5)}, compile="off")

    assert on.compiled is not None
    assert off.compiled is None
    assert painter.painted == ["native", "good"]
    assert {what for what, _ in samples} == {"attention"}


@pytest.mark.parametrize(("image_s", "tried_ways"), [(1.0, 4), (60.0, 2), (100.0, 1), (500.0, 1)])
def test_a_slow_models_trial_ends_in_time(tried, image_s, tried_ways):
    clock = iter(itertools.count(0.0, image_s))  # each look at the clock is an image later
    execution, samples, painter = tried(
        {"native": Way(9.0), "one": Way(8.0), "two": Way(7.0), "compiled": Way(6.0)}, clock=lambda: next(clock)
    )

    assert len(painter.painted) == tried_ways
    assert len(samples) == tried_ways + (tried_ways == 4)
    assert execution.kernel.name in painter.painted


def test_where_there_is_no_choice_nothing_is_painted():
    def paint() -> TimedImage:
        raise AssertionError

    for compile in ("auto", "on", "off"):
        model: Any = make_model("tiny", compile=compile)
        assert try_execution(DenoiserExecution(model, Denoiser(), "cpu"), paint) == []


def test_an_image_that_is_not_made_of_passes_leaves_all_as_it_was(tried):
    execution, samples, _ = tried({"native": Way(1.0, error=UntriableImage()), "good": Way(0.1)}, compile="on")

    assert samples == {}
    assert execution.kernel.name == "native"
    assert execution.compiled is not None


# ---------------------------------------------------------------- the whole engine


class WrongKernel(AttentionKernel):
    @contextmanager
    def active(self):
        original = torch.nn.functional.scaled_dot_product_attention
        torch.nn.functional.scaled_dot_product_attention = lambda *args, **kwargs: 2 * original(*args, **kwargs)
        try:
            yield
        finally:
            torch.nn.functional.scaled_dot_product_attention = original


class BrokenKernel(AttentionKernel):
    @contextmanager
    def active(self):
        yield
        raise ValueError("this card is too old")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def with_kernels(monkeypatch):
    torch.set_num_threads(1)
    kernels = [NATIVE, WrongKernel("wrong"), BrokenKernel("broken")]
    monkeypatch.setattr(denoiser_execution, "usable_kernels", lambda *_: kernels)


def trial_samples(engine: DiffusionEngine, task: Any) -> dict[str, float]:
    return {one.backend: one.seconds for one in engine.cost_samples(task) if one.what == "attention"}


def test_a_models_trial_tries_kernels_before_its_first_image_and_reports_them(with_kernels, folder):
    engine, plain = engine_of(folder), make_task(options=OPTIONS)
    trial = replace(plain, id="trial", is_trial=True)
    passes = []
    engine._pipelines[""].unet.register_forward_pre_hook(lambda *_: passes.append(1))

    images = [paint(engine, task)[0] for task in (trial, plain)]
    samples = trial_samples(engine, trial)

    assert levels(*images) == 0
    assert samples.pop("native") < NEVER_S
    assert samples == {"wrong": NEVER_S, "broken": NEVER_S}
    assert engine._execution.kernel is NATIVE
    assert len(passes) <= 3 * 4 + 2 * 6 + 1
    assert engine._step_loop.cost_model("16x16") is not None


def test_other_jobs_try_and_report_nothing(with_kernels, folder):
    engine, plain = engine_of(folder), make_task(options=OPTIONS)

    paint(engine, plain)

    assert trial_samples(engine, plain) == {}


def test_kernels_are_tried_once_for_all_of_a_models_trials(with_kernels, folder, monkeypatch):
    engine = engine_of(folder)
    first, second = (make_task(id=name, options=OPTIONS, is_trial=True) for name in ("first", "second"))
    paint(engine, first)
    monkeypatch.setattr("inference.diffusion.engine.try_execution", lambda *_: pytest.fail("tried again"))

    paint(engine, second)

    assert trial_samples(engine, second).keys() == {"native", "wrong", "broken"}
