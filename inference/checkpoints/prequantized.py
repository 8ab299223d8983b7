"""Recognises denoisers whose files are quantized already: GGUF, and SVDQuant in Diffusers' layout. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.memory.components import ComponentRole, component_role
from bot.memory.format_check import GGUF, SVDQUANT
from bot.model_install.model_headers import DamagedModelFile, read_json_object

SVDQUANT_METHOD = "nunchaku_lite"
"""Source: `diffusers.quantizers.quantization_config.QuantizationMethod`."""


@dataclass(frozen=True)
class Prequantized:
    """`method`: `GGUF`, `SVDQUANT` or "": not quantized. `precision`: SVDQuant's, "int4" or "nvfp4"."""

    method: str = ""
    precision: str = ""


def read_prequantized(path: Path) -> Prequantized:
    """Of a model's file or folder."""
    if path.suffix == ".gguf":
        return Prequantized(GGUF)
    if not path.is_dir():
        return Prequantized()
    for folder in sorted(path.iterdir()):
        if component_role(folder.name) is ComponentRole.DENOISER:
            found = parse_quantization(_read_config(folder / "config.json"))
            if found.method:
                return found
    return Prequantized()


def parse_quantization(config: dict[str, Any]) -> Prequantized:
    """What a denoiser's config says."""
    settings = config.get("quantization_config")
    if not isinstance(settings, dict) or settings.get("quant_method") != SVDQUANT_METHOD:
        return Prequantized()
    main = settings.get("svdq_w4a4")
    precision = main.get("precision") if isinstance(main, dict) else ""
    return Prequantized(SVDQUANT, precision if precision in ("int4", "nvfp4") else "")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except (OSError, DamagedModelFile, json.JSONDecodeError):
        return {}
