"""torch.compile for repeated blocks: which, where, and how calls run with and without it."""

import pytest
import torch
from diffusers import Flux2Transformer2DModel, UNet2DConditionModel, ZImageTransformer2DModel

from bot.problem_texts.execution_problems import BACKEND_PROBLEMS, COMPILE_PROBLEMS
from inference.backends import compilers, regional_compile
from inference.backends.regional_compile import (
    NO_BLOCKS,
    NO_COMPILER,
    NO_TRITON,
    NOT_HERE,
    REASONS,
    RegionalCompile,
    compile_problem,
    is_compile_error,
    repeated_blocks,
)
from inference.diffusion.batching import BATCHING_RULES
from inference.diffusion.execution import compiled_denoiser
from inference.diffusion.execution.compiled_denoiser import DAMAGED, NOT_BUILT, NOT_INSTALLED, REFUSED, UNSUPPORTED


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(x)) + x


class Stack(torch.nn.Module):
    _repeated_blocks = ("Block",)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(Block() for _ in range(3))
        self.out = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.out(x)


@pytest.fixture(autouse=True)
def without_inductor(monkeypatch, tmp_path):
    monkeypatch.setattr(regional_compile, "COMPILER", "eager")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    yield
    torch._dynamo.reset()


def test_owners_are_told_each_reason_in_words():
    assert set(COMPILE_PROBLEMS) == set(REASONS)
    assert set(BACKEND_PROBLEMS) >= {
        NOT_INSTALLED,
        NOT_BUILT,
        compiled_denoiser.NOT_HERE,
        UNSUPPORTED,
        REFUSED,
        DAMAGED,
    }


@torch.no_grad()
def test_one_compilation_serves_all_blocks_and_numbers_of_rows():
    stack, x = Stack(), torch.randn(5, 4)
    expected, expected_two = stack(x), stack(x[:2])
    names = list(stack.state_dict())

    compiled = RegionalCompile(stack)

    assert torch.equal(stack(x), expected)
    assert compiled.count == 1
    assert torch.equal(stack(x[:2]), expected_two)
    assert compiled.count == 1
    assert list(stack.state_dict()) == names


@torch.no_grad()
def test_a_call_without_it_compiles_nothing_and_the_next_is_compiled():
    stack, x = Stack(), torch.randn(3, 4)
    expected = stack(x)
    compiled = RegionalCompile(stack)

    with compiled.switched(is_on=False):
        assert torch.equal(stack(x), expected)
    assert compiled.count == 0
    with compiled.switched(is_on=True):
        assert torch.equal(stack(x), expected)
    assert compiled.count == 1


@torch.no_grad()
def test_removed_blocks_run_as_before():
    stack, x = Stack(), torch.randn(3, 4)
    compiled = RegionalCompile(stack)
    compiled.remove()

    stack(x)

    assert compiled.count == 0


@torch.no_grad()
def test_a_failure_of_the_compiler_is_told_from_one_of_the_call(monkeypatch):
    def fail(*_):
        raise RuntimeError("ld: cannot find -lgomp")

    monkeypatch.setattr(RegionalCompile, "_compile_graph", fail)
    stack = Stack()
    RegionalCompile(stack)

    with pytest.raises(Exception, match="lgomp") as failed:
        stack(torch.randn(3, 4))
    assert is_compile_error(failed.value)
    assert not is_compile_error(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    ("device", "tools", "packages", "problem"),
    [
        ("cpu", ("g++",), (), ""),
        ("cpu", ("clang++",), (), ""),
        ("cpu", ("gcc",), (), NO_COMPILER),
        ("cuda:1", ("gcc",), ("triton",), ""),
        ("cuda:0", (), ("triton",), NO_COMPILER),
        ("cuda", ("gcc", "g++"), (), NO_TRITON),
        ("mps", ("clang++",), (), NOT_HERE),
        ("xpu", ("g++",), ("triton",), NOT_HERE),
    ],
)
def test_what_it_needs_on_a_device(monkeypatch, device, tools, packages, problem):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compilers.shutil, "which", lambda name: name if name in tools else None)
    monkeypatch.setattr(regional_compile, "find_spec", lambda name: name if name in packages else None)

    assert compile_problem(Stack(), device) == problem
    assert not problem or REASONS[problem]


def test_a_compiler_of_the_owners_counts(monkeypatch):
    monkeypatch.setenv("CXX", "my-c++")
    monkeypatch.setattr(compilers.shutil, "which", lambda name: name if name == "my-c++" else None)

    assert compile_problem(Stack(), "cpu") == ""


def test_a_module_without_repeated_blocks_is_not_compiled():
    assert compile_problem(torch.nn.Linear(2, 2), "cpu") == NO_BLOCKS
    assert repeated_blocks(object()) == []


@pytest.mark.parametrize("kind", [UNet2DConditionModel, Flux2Transformer2DModel, ZImageTransformer2DModel])
def test_diffusers_names_the_blocks_of_the_families_that_share_passes(kind):
    assert kind.__name__ in BATCHING_RULES
    assert kind._repeated_blocks


@pytest.mark.parametrize("own", ["", "/elsewhere"])
def test_what_was_compiled_is_kept_with_the_builds(monkeypatch, tmp_path, own):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(regional_compile, "builds_dir", lambda: tmp_path)
    if own:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", own)

    RegionalCompile(Stack())

    assert regional_compile.os.environ["TORCHINDUCTOR_CACHE_DIR"] == (own or str(tmp_path / "torch"))
