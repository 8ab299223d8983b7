"""The beta schedule: noise levels at the quantiles of a beta distribution.

Source: Lee et al. 2024, "Beta Sampling is All You Need". Diffusers has it, with SciPy's quantiles.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy
import torch

ALPHA = BETA = 0.6
"""Of A1111, ComfyUI and Diffusers."""
_POINTS = 20_000
"""Of the numerical integral, whose error is then below 1e-6."""


def beta_sigmas(config: Mapping[str, Any], in_sigmas: torch.Tensor, num_inference_steps: int) -> numpy.ndarray:
    """What a scheduler's `_convert_to_beta` returns. `config`: the scheduler's. `in_sigmas`: the highest first."""
    lowest, highest = config.get("sigma_min"), config.get("sigma_max")
    low = float(in_sigmas[-1]) if lowest is None else lowest
    high = float(in_sigmas[0]) if highest is None else highest
    quantiles = beta_quantiles(1 - numpy.linspace(0, 1, num_inference_steps))
    sigmas: numpy.ndarray = low + quantiles * (high - low)
    return sigmas


def beta_quantiles(shares: numpy.ndarray) -> numpy.ndarray:
    """The values below which these shares of the distribution are."""
    values, cumulative = _distribution()
    quantiles: numpy.ndarray = numpy.interp(shares, cumulative, values)
    return quantiles


@cache
def _distribution() -> tuple[numpy.ndarray, numpy.ndarray]:
    """Values, and the share of the distribution below each.

    With x = sin(t)^2 the density has no poles: 2 sin(t)^(2 alpha - 1) cos(t)^(2 beta - 1) / B(alpha, beta).
    """
    angles = (numpy.linspace(0, 1, _POINTS + 1)) * (math.pi / 2)
    middles = (angles[1:] + angles[:-1]) / 2
    density = numpy.sin(middles) ** (2 * ALPHA - 1) * numpy.cos(middles) ** (2 * BETA - 1)
    cumulative = numpy.concatenate([[0.0], numpy.cumsum(density)])
    return numpy.sin(angles) ** 2, cumulative / cumulative[-1]
