"""Number formats of weights, and which of them the planner may choose for a model. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

EIGHT_BIT, FOUR_BIT, FP8 = "8bit", "4bit", "fp8"
"""Values of `quantize` beside "auto" and "none"."""
FORMATS = (EIGHT_BIT, FOUR_BIT, FP8)
FP8_DYNAMIC = "fp8-dynamic"
"""`quantize = "fp8"` on a card that multiplies such numbers: activations are 8-bit floats, too."""
NUMBER_FORMATS: Mapping[str, tuple[str, ...]] = {
    "quantize": ("auto", "none", *FORMATS),
    "dtype": ("auto", "float32", "float16", "bfloat16"),
}
"""Settings of a model's number formats, each with its values."""
LONG_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
FOUR_BIT_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per weight in NF4: each block of 64 has a scale of one byte, and 256 scales share one of their own."""
_ENCODER_8BIT, _CORE_8BIT, _ENCODER_4BIT, _CORE_4BIT, _CORE_FP8 = 3.0, 6.0, 7.0, 10.0, 13.0
"""Costs, on the scale of residencies: 8 bits change a result least. Float8 and 4 bits change it more than streaming a
text encoder, which changes nothing, but take less time than streaming all weights at every step."""


@dataclass(frozen=True)
class WeightChoice:
    """Formats of the components that are needed per prompt, and of those that are needed per step; "": the model's."""

    per_prompt: str = ""
    per_step: str = ""
    cost: float = 0.0


PLAIN = WeightChoice()
_IN_8_BITS = (
    WeightChoice(EIGHT_BIT, "", _ENCODER_8BIT),
    WeightChoice("", EIGHT_BIT, _CORE_8BIT),
    WeightChoice(EIGHT_BIT, EIGHT_BIT, _ENCODER_8BIT + _CORE_8BIT),
)
_IN_FP8 = WeightChoice("", FP8, _CORE_FP8)
_IN_4_BITS = (WeightChoice(FOUR_BIT, "", _ENCODER_4BIT), WeightChoice("", FOUR_BIT, _CORE_4BIT))
_MIXED = (WeightChoice(EIGHT_BIT, FP8, _ENCODER_8BIT + _CORE_FP8),)
_MIXED_4_BITS = (
    WeightChoice(FOUR_BIT, EIGHT_BIT, _ENCODER_4BIT + _CORE_8BIT),
    WeightChoice(FOUR_BIT, FP8, _ENCODER_4BIT + _CORE_FP8),
)


def weight_choices(quantize: str, *, has_8bit: bool, has_4bit: bool, has_fp8: bool) -> Iterator[WeightChoice]:
    """The choices for `quantize`; what the owner asked for costs nothing."""
    if quantize in FORMATS:
        yield WeightChoice("" if quantize == FP8 else quantize, quantize)
        return
    yield PLAIN
    if quantize == "none":
        return
    if has_8bit:
        yield from _IN_8_BITS
    if has_fp8:
        yield _IN_FP8
    if has_fp8 and has_8bit:
        yield from _MIXED
    if has_4bit:
        yield from _IN_4_BITS
        yield from (one for one in _MIXED_4_BITS if has_8bit if one.per_step == EIGHT_BIT or has_fp8)


def has_torchao() -> bool:
    """Whether torchao, which makes 8-bit weights, is installed."""
    return find_spec("torchao") is not None


def has_bitsandbytes() -> bool:
    """Whether bitsandbytes, which makes 4-bit weights, is installed."""
    return find_spec("bitsandbytes") is not None


def has_gguf() -> bool:
    """Whether gguf, which reads .gguf files, is installed."""
    return find_spec("gguf") is not None


def supports_fp8(kind: str) -> bool:
    """Whether the kind of device can store float8 numbers and convert them."""
    return kind != "mps"
