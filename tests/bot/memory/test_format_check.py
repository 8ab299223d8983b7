"""Why a model cannot have a number format, and which formats the planner considers."""

import pytest

from bot.memory.format_check import GGUF, SVDQUANT, FormatSupport, format_problem
from bot.memory.weights import FORMATS, weight_choices
from bot.models import DEPTH_ESTIMATION, IMAGE_TO_TEXT, TEXT_TO_IMAGE
from tests.inference.support import make_model

NVIDIA = FormatSupport(kind="cuda", capability=(8, 9))


def picture(**settings):
    return make_model(tasks=(TEXT_TO_IMAGE,), **settings)


@pytest.mark.parametrize(
    ("model", "support", "prequantized", "words"),
    [
        (picture(), FormatSupport(), "", ""),
        (picture(quantize="8bit"), FormatSupport(), "", ""),
        (picture(quantize="8bit"), FormatSupport(torchao=False), "", "extra `quant`"),
        (picture(quantize="fp8"), FormatSupport(kind="cpu"), "", ""),
        (picture(quantize="fp8"), FormatSupport(kind="mps"), "", "this device has no 8-bit floats"),
        (picture(quantize="fp8"), FormatSupport(), GGUF, "cannot change a denoiser whose files are quantized"),
        (make_model(tasks=(IMAGE_TO_TEXT,), quantize="fp8"), FormatSupport(), "", "for models that make images"),
        (picture(quantize="4bit"), FormatSupport(), "", "add a .gguf file or an SVDQuant repository"),
        (picture(quantize="4bit"), FormatSupport(), GGUF, ""),
        (picture(quantize="4bit"), FormatSupport(bitsandbytes=False), GGUF, "extra `bnb`"),
        (make_model(tasks=(IMAGE_TO_TEXT,), quantize="4bit"), FormatSupport(), "", ""),
        (make_model(tasks=(DEPTH_ESTIMATION,), quantize="4bit"), FormatSupport(), "", "which it does not have"),
        (picture(repo="/models/a.gguf"), FormatSupport(gguf=False), "", "extra `gguf`"),
        (picture(repo="/models/a.gguf", loras=("org/lora",)), FormatSupport(), "", "name them in prompts"),
        (picture(), NVIDIA, SVDQUANT, "allow_hub_kernels = true"),
        (picture(allow_hub_kernels=True), NVIDIA, SVDQUANT, ""),
        (picture(allow_hub_kernels=True, quantize="4bit"), NVIDIA, SVDQUANT, ""),
        (picture(allow_hub_kernels=True), FormatSupport(kind="cpu"), SVDQUANT, "needs an NVIDIA GPU"),
        (picture(allow_hub_kernels=True), FormatSupport(kind="cuda", kernels=False), SVDQUANT, "extra `kernels`"),
        (picture(allow_hub_kernels=True, loras=("org/lora",)), NVIDIA, SVDQUANT, "repository of the plain model"),
    ],
)
def test_a_format_that_is_not_available_is_refused_in_one_sentence(model, support, prequantized, words):
    problem = format_problem(model, support, prequantized)

    assert words in problem
    assert bool(problem) == bool(words)
    assert not problem.endswith(".")
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("capability", "precision", "words"),
    [
        ((7, 0), "int4", "Turing"),
        ((7, 5), "int4", ""),
        ((8, 9), "nvfp4", "Blackwell"),
        ((9, 0), "int4", "Hopper"),
        ((10, 0), "nvfp4", ""),
    ],
)
def test_svdquant_runs_on_the_cards_that_its_kernels_know(capability, precision, words):
    support = FormatSupport(kind="cuda", capability=capability)

    problem = format_problem(picture(allow_hub_kernels=True), support, SVDQUANT, precision)
    assert words in problem
    assert bool(problem) == bool(words)


@pytest.mark.parametrize("quantize", ["auto", "none", *FORMATS])
def test_what_the_owner_asked_for_is_the_only_choice_and_costs_nothing(quantize):
    choices = list(weight_choices(quantize, has_8bit=True, has_4bit=True, has_fp8=True))

    if quantize == "auto":
        assert [one.cost for one in choices if not one.per_prompt and not one.per_step] == [0.0]
        assert {one.per_step for one in choices} == {"", *FORMATS}
    else:
        assert [one.cost for one in choices] == [0.0]
        assert choices[0].per_step == (quantize if quantize in FORMATS else "")


def test_formats_without_their_libraries_are_no_choice():
    choices = weight_choices("auto", has_8bit=False, has_4bit=False, has_fp8=True)

    assert {(one.per_prompt, one.per_step) for one in choices} == {("", ""), ("", "fp8")}
