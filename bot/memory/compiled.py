"""Memory of models whose denoiser is compiled. Pure."""

from collections.abc import Iterable

from bot.models import TORCH, ModelSpec

Format = tuple[str, int]
"""A number format on the CPU and the RAM that it needs, MiB."""


def with_compiled_denoiser(formats: Iterable[tuple[str, int, int]]) -> tuple[Format, ...]:
    """The formats of a model with a compiled denoiser, whose weights are as large as torch's.

    `formats`: each with the RAM of the torch model and that of its denoiser. Each format comes twice: with both
    denoisers, then with the compiled one alone, where torch's is loaded only for what the compiled one cannot compute.
    """
    doubled: list[Format] = []
    for name, size_mb, denoiser_mb in formats:
        doubled += [(name, size_mb + denoiser_mb), (name, size_mb)]
    return tuple(doubled)


def keeps_both_denoisers(model: ModelSpec, formats: tuple[Format, ...], chosen: Format) -> bool:
    """Whether the chosen one of a model's CPU formats has room for both denoisers; ("", 0): it is not on the CPU."""
    return model.backend == TORCH or not chosen[0] or chosen in formats[::2]
