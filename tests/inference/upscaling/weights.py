"""Tiny random weights in the layouts of published upscalers."""

import itertools
import re

import torch
from torch import Tensor

FEATURES, GROWTH = 6, 3


def _conv(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    return torch.randn(outputs, inputs, 3, 3) / (3 * inputs**0.5), torch.randn(outputs) / 10


def rrdb_weights(*, channels: int = 3, upsamplings: int = 2, blocks: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """RRDBNet's, by BasicSR's names."""
    torch.manual_seed(seed)
    sizes = {"conv_first": (channels, FEATURES), "conv_body": (FEATURES, FEATURES)}
    for block in range(blocks):
        for dense in (1, 2, 3):
            inner = {number: (FEATURES + (number - 1) * GROWTH, GROWTH) for number in range(1, 5)}
            inner[5] = (FEATURES + 4 * GROWTH, FEATURES)
            sizes |= {f"body.{block}.rdb{dense}.conv{number}": size for number, size in inner.items()}
    sizes |= {f"conv_up{number}": (FEATURES, FEATURES) for number in range(1, upsamplings + 1)}
    sizes |= {"conv_hr": (FEATURES, FEATURES), "conv_last": (FEATURES, 3)}
    weights: dict[str, Tensor] = {}
    for name, size in sizes.items():
        weights[f"{name}.weight"], weights[f"{name}.bias"] = _conv(*size)
    return weights


def compact_weights(*, scale: int = 4, layers: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """SRVGGNetCompact's."""
    torch.manual_seed(seed)
    widths = [3, *[FEATURES] * (layers + 1), 3 * scale**2]
    weights: dict[str, Tensor] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        weights[f"body.{2 * number}.weight"], weights[f"body.{2 * number}.bias"] = _conv(inputs, outputs)
        if number <= layers:
            weights[f"body.{2 * number + 1}.weight"] = torch.rand(outputs)
    return weights


def as_first_esrgan(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of ESRGAN's first release."""
    pairs: tuple[tuple[str, str], ...] = ((r"^body\.", "RRDB_trunk."), (r"\.rdb", ".RDB"), ("conv_body", "trunk_conv"))
    pairs += (("conv_up", "upconv"), ("conv_hr", "HRconv"))
    renamed = {}
    for name, value in weights.items():
        for ours, theirs in pairs:
            name = re.sub(ours, theirs, name)
        renamed[name] = value
    return renamed


def as_original(weights: dict[str, Tensor], *, blocks: int = 2, upsamplings: int = 2) -> dict[str, Tensor]:
    """The names of ESRGAN's original code: numbers of layers, among them those without weights."""
    names = {"conv_first": "model.0", "conv_body": f"model.1.sub.{blocks}"}
    names |= {f"conv_up{number}": f"model.{3 * number}" for number in range(1, upsamplings + 1)}
    names |= {"conv_hr": f"model.{3 * upsamplings + 2}", "conv_last": f"model.{3 * upsamplings + 4}"}
    for block in range(blocks):
        for dense in (1, 2, 3):
            for number in range(1, 6):
                ours = f"body.{block}.rdb{dense}.conv{number}"
                names[ours] = f"model.1.sub.{block}.RDB{dense}.conv{number}.0"
    return {f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in weights.items()}
