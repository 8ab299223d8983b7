"""Where components reside, what that costs, and how plans are described to people. Pure."""

from collections.abc import Iterable
from enum import StrEnum

from bot.i18n import N_
from bot.memory.weights import EIGHT_BIT, FOUR_BIT, FP8


class Residency(StrEnum):
    """Where a component resides.

    RESIDENT: always on the device. ON_DEMAND: moved to the device for each prompt or image, then back to RAM. STREAMED:
    moved block by block (group offload). MODEL_OFFLOAD: components replace one another on the device. CPU: computes in
    RAM.
    """

    RESIDENT = "resident"
    ON_DEMAND = "on_demand"
    STREAMED = "streamed"
    MODEL_OFFLOAD = "model_offload"
    CPU = "cpu"


RESIDENCY_COSTS = dict(zip(Residency, (0.0, 2.0, 5.0, 12.0, 40.0), strict=True))
"""Relative slowdown, on a scale where a tiled decode costs 1; only used to rank plans."""

_RESIDENCY_NOTES = {
    Residency.ON_DEMAND: N_(
        "Components that are needed once per prompt or picture are moved to the device for it, then back to RAM."
    ),
    Residency.STREAMED: N_(
        "Its text encoder is streamed through the device for each new prompt, which takes about a second."
    ),
    Residency.MODEL_OFFLOAD: N_(
        "Its components are moved to the device one after another, which takes seconds for each picture."
    ),
    Residency.CPU: N_("It runs on the CPU, which takes several times as long."),
}
GROUP_OFFLOAD_NOTE = N_("Its weights are streamed through the device at every step, which is slow.")
_FORMAT_NOTES = {
    EIGHT_BIT: N_("Some of its weights are quantized to 8 bits, which changes pictures and answers very little."),
    FOUR_BIT: N_("Some of its weights are quantized to 4 bits, which changes pictures and answers a little."),
    FP8: N_("The weights of its denoiser are stored as 8-bit floats, which changes pictures a little."),
}
BFLOAT16_NOTE = N_("It computes in bfloat16.")
TILING_NOTE = N_("Pictures are decoded in tiles, which takes a little longer.")


def residency_notes(residencies: Iterable[Residency]) -> list[str]:
    residencies = frozenset(residencies)
    return [note for residency, note in _RESIDENCY_NOTES.items() if residency in residencies]


def format_notes(formats: Iterable[str]) -> list[str]:
    formats = frozenset(formats)
    return [note for name, note in _FORMAT_NOTES.items() if name in formats]
