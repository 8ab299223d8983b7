"""Compiled blocks and attention kernels: every image stays what it is, whatever it has, and whatever fails."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from bot.ports import Measurement
from inference.backends import regional_compile
from inference.backends.regional_compile import FAILED, HAS_BACKEND, NO_COMPILER, STREAMED, RegionalCompile
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.execution import denoiser_execution
from inference.diffusion.execution.attention_kernels import ATTENTION_KERNELS, AttentionKernel, usable_kernels
from inference.diffusion.execution.denoiser_execution import COMPILED, UNCOMPILED, DenoiserExecution, fastest
from inference.engine.base import ImageReady
from inference.engine.cost_model import PassCostModel
from tests.inference.backends.test_regional_compile import Stack
from tests.inference.diffusion import test_ip_adapter
from tests.inference.diffusion.test_ip_adapter import CASES, difference
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"), pytest.mark.filterwarnings("ignore")]
OPTIONS = {"width": 16, "height": 16, "steps": 2, "guidance_scale": 3.0}
MIXED = ("plain", "style", "both", "lora")


@pytest.fixture(autouse=True)
def without_inductor(monkeypatch, tmp_path):
    torch.set_num_threads(1)
    monkeypatch.setattr(regional_compile, "COMPILER", "eager")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("models") / "tiny")


def engine_of(folder, **settings: Any) -> DiffusionEngine:
    engine = DiffusionEngine(make_model("tiny", repo=str(folder), **settings))
    engine.load_model("cpu")
    engine.load_costs([])
    return engine


def paint(engine: DiffusionEngine, *tasks: Any) -> list[bytes]:
    """The images of these tasks, which run together."""
    for task in tasks:
        engine.add_task(task)
    images: dict[str, bytes] = {}
    for _ in range(100):
        images |= {event.task_id: event.image.pixels for event in engine.step() if isinstance(event, ImageReady)}
        if len(images) == len(tasks):
            break
    return [images[task.id] for task in tasks]


def levels(one: bytes, other: bytes) -> int:
    first, second = (numpy.frombuffer(pixels, numpy.uint8).astype(int) for pixels in (one, other))
    return int(abs(first - second).max())


# ---------------------------------------------------------------- compiled blocks


def test_images_with_loras_and_references_are_the_stock_pipelines_beside_compiled_ones(tmp_path, monkeypatch):
    """They run uncompiled: what they add to the layers changes from call to call."""
    monkeypatch.setattr(PassCostModel, "best_size", lambda _self, limit, _unit=1: limit)
    folder = test_ip_adapter.save_with_adapters(tmp_path, "sd")
    peer = test_ip_adapter.Peer(folder, "float32", settings={"compile": "on"})
    execution = peer.engine._execution
    assert execution is not None
    assert execution.compiled is not None
    switched: list[bool] = []
    original = RegionalCompile.switched

    def record(self, *, is_on):
        switched.append(is_on)
        return original(self, is_on=is_on)

    monkeypatch.setattr(RegionalCompile, "switched", record)

    for names in (("plain",), ("style", "lora"), ("plain", "both")):
        images = peer.generated(*names)
        for name in names:
            assert difference(images[name], peer.expected(CASES[name])) <= 1, name
        if names == ("plain",):
            assert execution.compile_count > 0

    compiled = execution.compile_count
    peer.generated("plain")
    peer.generated("lora")
    peer.generated("plain")
    assert execution.compile_count - compiled <= 2, "switching LoRAs compiles again and again"
    assert True in switched
    assert False in switched
    assert peer.engine.capabilities["compile"] is True


def test_seamless_and_plain_images_compile_the_same_blocks(folder):
    """Only convolutions know of it, which are not in the blocks."""
    plain, compiled = engine_of(folder, compile="off"), engine_of(folder, compile="on")
    tasks = [make_task(id=name, options=OPTIONS | {"tiling": name == "seamless"}) for name in ("plain", "seamless")]

    images = [[paint(engine, task)[0] for task in tasks] for engine in (plain, compiled)]

    assert [levels(*pair) <= 1 for pair in zip(*images, strict=True)] == [True, True]
    assert images[0][0] != images[0][1]
    assert compiled._execution.compile_count > 0


def test_passes_that_compile_teach_no_costs(folder, monkeypatch):
    engine, typical = engine_of(folder, compile="on"), []
    charge = engine._step_loop._charge

    def record(*args: Any, is_typical: bool) -> None:
        typical.append(is_typical)
        charge(*args, is_typical=is_typical)

    monkeypatch.setattr(engine._step_loop, "_charge", record)

    paint(engine, make_task(options=OPTIONS | {"steps": 4}))

    assert (typical[0], typical[-1]) == (False, True)


def test_without_a_compiler_the_model_runs_uncompiled_and_the_log_says_what_to_install(folder, monkeypatch, capsys):
    monkeypatch.setattr(regional_compile, "has_compiler", lambda *, cpp: False)
    engine = engine_of(folder, compile="on")
    task = make_task(options=OPTIONS)

    images = [paint(one, task)[0] for one in (engine, engine_of(folder, compile="off"))]

    assert images[0] == images[1]
    assert engine.capabilities["compile_problem"] == NO_COMPILER
    assert "compile" not in engine.capabilities
    assert "install g++" in capsys.readouterr().err


@torch.no_grad()
def test_a_call_whose_compilation_fails_is_made_uncompiled_and_so_are_all_later_ones(monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("collect2: error: ld returned 1 exit status")

    monkeypatch.setattr(RegionalCompile, "_compile_graph", fail)
    denoiser, x = Stack(), torch.randn(3, 4)
    expected = denoiser(x)
    execution = DenoiserExecution(make_model("tiny", compile="on"), denoiser, "cpu")

    outputs = [execution.run(lambda: denoiser(x), is_plain=True) for _ in range(2)]

    assert all(torch.equal(output, expected) for output in outputs)
    assert execution.capabilities == {"compile_problem": FAILED}
    assert capsys.readouterr().err.count("torch.compile failed") == 1


def test_a_build_that_has_failed_is_reported_as_torch(folder):
    engine = engine_of(folder)
    engine._execution.build = SimpleNamespace(has_failed=False)
    before = engine.capabilities["backend"], engine.capabilities.get("backend_problem")
    engine._execution.build.has_failed = True

    assert before == ("torch", None)
    assert (engine.capabilities["backend"], engine.capabilities["backend_problem"]) == ("torch", "failed")


@pytest.mark.parametrize("compile", ["auto", "off"])
def test_nothing_is_compiled_on_the_cpu_unless_the_owner_asks(folder, compile):
    engine = engine_of(folder, compile=compile)

    assert engine._execution.compiled is None
    assert {"attention", "compile", "compile_problem"}.isdisjoint(engine.capabilities)


@pytest.mark.parametrize("blocker", [HAS_BACKEND, STREAMED])
def test_blocks_that_something_else_computes_or_moves_are_not_compiled(blocker):
    execution = make_execution("on", blocker=blocker)

    assert (execution.compiled, execution.problem) == (None, blocker)


def test_a_denoiser_that_is_moved_later_is_compiled_no_longer():
    execution: Any = make_execution("on")
    assert execution.compiled is not None

    execution.block_compiling(STREAMED)
    execution.start_compiling()

    assert (execution.compiled, execution.problem) == (None, STREAMED)


# ---------------------------------------------------------------- attention kernels


class FakeKernel(AttentionKernel):
    """Counts its calls; one that fails raises like a kernel that takes no mask."""

    calls: int = 0

    @contextmanager
    def active(self):
        object.__setattr__(self, "calls", self.calls + 1)
        yield
        if self.preferred == "fails":
            raise ValueError("`attn_mask` is not supported")


class Denoiser(torch.nn.Module):
    _repeated_blocks = ("Linear",)

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)


def make_execution(compile: Any = "auto", *, device: str = "cpu", **arguments: Any) -> DenoiserExecution:
    return DenoiserExecution(make_model("tiny", compile=compile), Denoiser(), device, **arguments)


def measured(what: str, backend: str, seconds: float) -> Measurement:
    return Measurement(
        device="cuda:0", model="tiny", dtype="bfloat16", shape="", batch_size=1, what=what, seconds=seconds,
        backend=backend,
    )  # fmt: skip


@pytest.fixture
def on_cuda(monkeypatch):
    monkeypatch.setattr(denoiser_execution, "compile_problem", lambda *_: "")
    return lambda: make_execution(device="cuda:0")


def test_what_a_trial_found_quickest_is_used_at_the_next_load(on_cuda):
    execution = on_cuda()
    seconds = {"native": 1.0, "native_cudnn": 0.9, "native_flash": 0.95, "gone_since": 0.1}
    found = [measured("attention", name, one) for name, one in seconds.items() if name != "gone_since"]
    execution.load_choices(
        [*found, measured("compile", UNCOMPILED, 0.9), measured("compile", COMPILED, 0.6), measured("pass", "torch", 1)]
    )

    assert execution.kernel.name == "native_cudnn"
    assert execution.compiled is not None
    assert execution.capabilities == {"attention": "native_cudnn", "compile": True}


@pytest.mark.parametrize(
    ("seconds", "choice"),
    [
        ({}, "native"),
        ({"quick": 0.1}, "native"),
        ({"native": 1.0, "quick": 0.98}, "native"),
        ({"native": 1.0, "quick": 0.96}, "quick"),
        ({"native": 1.0, "quick": 0.96, "quicker": 0.5}, "quicker"),
        ({"native": 1.0, "wrong": 3600.0}, "native"),
    ],
)
def test_a_choice_must_be_clearly_quicker(seconds, choice):
    assert fastest(seconds, "native") == choice


def test_a_kernel_that_was_uninstalled_since_is_not_used(on_cuda):
    execution = on_cuda()
    execution.load_choices([measured("attention", "native", 1.0), measured("attention", "sage", 0.5)])

    assert execution.kernel.name == "native"


def test_a_call_that_a_kernel_fails_is_made_with_torchs_own_from_then_on(capsys):
    execution = make_execution()
    execution.kernel = FakeKernel("flash", preferred="fails")

    assert execution.run(lambda: "output", is_plain=True) == "output"
    assert execution.kernel.name == "native"
    assert "flash failed" in capsys.readouterr().err


def test_a_call_that_fails_with_torchs_own_kernel_or_without_memory_is_not_repeated():
    execution, calls = make_execution(), []

    def fail() -> None:
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    for kernel in (execution.kernel, FakeKernel("flash")):
        execution.kernel = kernel
        with pytest.raises(torch.OutOfMemoryError):
            execution.run(fail, is_plain=True)
    assert len(calls) == 2


def test_on_a_cpu_torchs_own_kernel_stays():
    assert [kernel.name for kernel in usable_kernels(Denoiser(), "cpu")] == ["native"]


def test_kernels_of_packages_need_the_package_and_diffusers_dispatcher(monkeypatch):
    monkeypatch.setattr(
        "inference.diffusion.execution.attention_kernels.find_spec", lambda name: name == "flash_attn" or None
    )
    denoiser = Denoiser()
    plain = [kernel.name for kernel in usable_kernels(denoiser, "cuda:0")]
    denoiser.layer.processor = type("Processor", (), {"_attention_backend": None})()

    assert plain == ["native", "native_flash", "native_cudnn", "native_efficient"]
    assert [kernel.name for kernel in usable_kernels(denoiser, "cuda:0")] == [*plain, "flash"]


def test_no_kernel_comes_from_a_hub_and_names_fit_the_database():
    assert not [kernel.name for kernel in ATTENTION_KERNELS if "hub" in kernel.backend]
    assert max(len(kernel.name) for kernel in ATTENTION_KERNELS) <= 16
    assert len(COMPILED) <= len(UNCOMPILED) <= 16


@pytest.mark.parametrize("kernel", [one for one in ATTENTION_KERNELS if not one.package], ids=lambda one: one.name)
def test_torchs_kernels_are_preferred_and_fall_back(kernel):
    """A CPU has few of them; a mask needs others."""
    q = torch.randn(1, 2, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    expected = torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    with kernel.active():
        torch.testing.assert_close(torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask), expected)
