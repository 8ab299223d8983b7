"""Why a model cannot have the number format that its table asks for, in a sentence. Pure."""

from dataclasses import dataclass

from bot.memory.weights import (
    EIGHT_BIT,
    FOUR_BIT,
    FP8,
    LONG_DTYPES,
    NUMBER_FORMATS,
    has_bitsandbytes,
    has_gguf,
    has_torchao,
    supports_fp8,
)
from bot.models import IMAGE_TASKS, IMAGE_TO_TEXT, TORCH, VISUAL_QUESTION_ANSWERING, ModelSpec

KERNEL_REPO, KERNEL_VERSION = "rootonchair/nunchaku-lite-kernels", 2
"""Where Diffusers 0.42 takes SVDQuant's kernels from."""
GGUF, SVDQUANT = "gguf", "svdquant"
"""Formats in which a denoiser's files are quantized already."""
_TEXT_TASKS = frozenset((IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING))


@dataclass(frozen=True, kw_only=True)
class FormatSupport:
    """What is installed, and the device: its kind, "" if it is unknown, and an NVIDIA card's compute capability."""

    kind: str = ""
    capability: tuple[int, int] | None = None
    torchao: bool = True
    bitsandbytes: bool = True
    gguf: bool = True
    kernels: bool = True


def installed_support(kind: str = "", capability: tuple[int, int] | None = None) -> FormatSupport:
    """With what is installed here."""
    from importlib.util import find_spec

    return FormatSupport(
        kind=kind,
        capability=capability,
        torchao=has_torchao(),
        bitsandbytes=has_bitsandbytes(),
        gguf=has_gguf(),
        kernels=find_spec("kernels") is not None,
    )


def format_problem(model: ModelSpec, support: FormatSupport, prequantized: str = "", precision: str = "") -> str:
    """A sentence without its beginning and its full stop; "": the model can have its format.

    Args:
        prequantized: `GGUF` or `SVDQUANT`, if the denoiser's files are quantized.
        precision: that of an SVDQuant denoiser, "int4" or "nvfp4".
    """
    if LONG_DTYPES.get(model.dtype, model.dtype) not in NUMBER_FORMATS["dtype"]:
        return unknown_dtype(model.dtype)
    prequantized = prequantized or (GGUF if model.is_gguf else "")
    if prequantized == GGUF and not support.gguf:
        return "a .gguf file needs gguf: install Easel with the extra `gguf`"
    if prequantized == SVDQUANT and (problem := _kernel_problem(model, support, precision)):
        return problem
    if prequantized and model.loras:
        advice = "name them in prompts" if prequantized == GGUF else "take the repository of the plain model"
        return f"LoRAs cannot be fused into a denoiser whose files are quantized: remove `loras`, and {advice}"
    problems = {EIGHT_BIT: _problem_of_8bit, FP8: _problem_of_fp8, FOUR_BIT: _problem_of_4bit}
    problem_of = problems.get(model.quantize)
    return problem_of(model, support, prequantized) if problem_of is not None else ""


def unknown_dtype(dtype: str) -> str:
    return f"dtype = {dtype[:40]!r} is none of: {', '.join(NUMBER_FORMATS['dtype'])}"


def _problem_of_8bit(model: ModelSpec, support: FormatSupport, prequantized: str) -> str:
    if model.backend != TORCH and support.kind in ("", "cpu") and IMAGE_TASKS & set(model.tasks):
        return ""  # of its build
    return "" if support.torchao else "quantize = '8bit' needs torchao: install Easel with the extra `quant`"


def _problem_of_fp8(model: ModelSpec, support: FormatSupport, prequantized: str) -> str:
    if not IMAGE_TASKS & set(model.tasks):
        return "quantize = 'fp8' is for models that make images: set '8bit', '4bit' or 'auto'"
    if prequantized:
        return "quantize = 'fp8' cannot change a denoiser whose files are quantized: set 'auto'"
    if support.kind and not supports_fp8(support.kind):
        return "this device has no 8-bit floats: set quantize = '8bit' or 'auto'"
    return ""


def _problem_of_4bit(model: ModelSpec, support: FormatSupport, prequantized: str) -> str:
    tasks = set(model.tasks)
    if IMAGE_TASKS & tasks and not prequantized:
        return (
            "quantize = '4bit' needs a denoiser in 4 bits: add a .gguf file or an SVDQuant repository of this model, "
            "or set '8bit' or 'fp8'"
        )
    if not (IMAGE_TASKS | _TEXT_TASKS) & tasks:
        return "quantize = '4bit' is for text encoders and language models, which it does not have: set 'auto'"
    return "" if support.bitsandbytes else "quantize = '4bit' needs bitsandbytes: install Easel with the extra `bnb`"


def _kernel_problem(model: ModelSpec, support: FormatSupport, precision: str) -> str:
    """Source: `NunchakuLiteQuantizer.validate_environment` of Diffusers 0.42."""
    if not model.allow_hub_kernels:
        return (
            "its denoiser is in SVDQuant, which runs compiled code from the Hub: "
            "set allow_hub_kernels = true in its table if you trust that code, and use the model again"
        )
    if support.kind and support.kind != "cuda":
        return "its denoiser is in SVDQuant, which needs an NVIDIA GPU: use a .gguf file or the plain model"
    if not support.kernels:
        return "its denoiser is in SVDQuant, which needs the package kernels: install Easel with the extra `kernels`"
    if support.capability is None:
        return ""
    if support.capability[0] == 9:
        return "its denoiser is in SVDQuant, which does not run on Hopper: use the plain model with quantize = 'fp8'"
    least, family = ((10, 0), "Blackwell") if precision == "nvfp4" else ((7, 5), "Turing")
    if support.capability < least:
        return f"its denoiser is in SVDQuant {precision or 'int4'}, which needs {family} or later: use a .gguf file"
    return ""
