"""A model that asks for a build and for a number format: what computes it, and in which format torch is loaded."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bot.memory.format_check import FormatSupport, format_problem
from inference.diffusion.execution import compiled_denoiser
from inference.diffusion.execution.compiled_denoiser import NOT_BUILT, NOT_INSTALLED, REFUSED, find_denoiser
from tests.inference.support import make_model

BUILD = Path("build")


@pytest.fixture
def library(monkeypatch):
    """A backend whose library is installed, with a build of plain weights."""
    library = SimpleNamespace(is_installed=lambda: True, builds={"none": BUILD})
    monkeypatch.setattr(compiled_denoiser, "graph_backend", lambda _: library)
    weights_of = {"8bit": "8bit"}
    monkeypatch.setattr(
        compiled_denoiser, "find_build", lambda model, _: library.builds.get(weights_of.get(model.quantize, "none"))
    )
    return library


def asked(quantize, **settings):
    return make_model(backend="openvino", quantize=quantize, **settings)


def test_a_build_with_8_bit_weights_serves_8_bits(library):
    library.builds["8bit"] = BUILD / "8bit"

    found = find_denoiser(asked("8bit"), "cpu")

    assert (found.build, found.problem, found.model.quantize) == (BUILD / "8bit", "", "auto")


@pytest.mark.parametrize("is_installed", [True, False])
def test_without_a_build_in_8_bits_torch_needs_no_other_library_and_serves_on(library, is_installed):
    library.is_installed = lambda: is_installed
    model = asked("8bit", dtype="bfloat16")

    found = find_denoiser(model, "cpu")

    assert (found.build, found.problem) == (None, NOT_BUILT if is_installed else NOT_INSTALLED)
    assert (found.model.quantize, found.model.dtype) == ("auto", "bfloat16")
    assert format_problem(model, FormatSupport(torchao=False)) == ""


@pytest.mark.parametrize("quantize", ["fp8", "4bit"])
def test_formats_that_no_build_has_are_computed_by_torch_instead_of_left_out(library, quantize):
    found = find_denoiser(asked(quantize), "cpu")

    assert (found.build, found.problem, found.model.quantize) == (None, REFUSED, quantize)


@pytest.mark.parametrize("quantize", ["auto", "none"])
def test_plain_weights_run_on_a_plain_build(library, quantize):
    assert find_denoiser(asked(quantize), "cpu").build == BUILD
