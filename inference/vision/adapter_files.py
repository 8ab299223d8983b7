"""Reads a vision model's adapter: the factors of a LoRA on attention projections, from safetensors alone.

The configuration beside them is read as data: nothing in it is executed, and what is not understood is refused.
"""

import hashlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from bot.errors import InvalidOption
from bot.model_install.adapter_folders import adapter_weights, is_adapter_name
from bot.model_install.addon_files import PEFT_CONFIG
from bot.model_install.model_headers import DamagedModelFile, read_json_object, read_tensor_shapes
from bot.ports import TaskAdapter
from bot.settings import find_data_dir

MAX_RANK = 256
MAX_BYTES = 512 * 2**20
MAX_SCALE = 1e6
MAX_FACTOR = 6e4
"""Of a single number: beyond it, the product with a row that the adapter is not for would not be zero in float16."""
_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>[\w.]+)\.lora_(?P<factor>[AB])\.weight")
_TARGET = re.compile(
    r"language_projection"
    r"|qformer\..+\.(?:cross)?attention\.(?:attention\.(?:query|key|value)|output\.dense)"
    r"|language_model\..+\.self_attn\.(?:q|k|v|out)_proj"  # OPT
    r"|language_model\..+\.(?:SelfAttention|EncDecAttention)\.(?:q|k|v|o)"  # T5
)
"""Modules whose inputs are (rows, tokens, width). The vision encoder is none of them: all adapters share it."""
_PLAIN_SETTINGS: Mapping[str, Any] = {
    "peft_type": "LORA", "bias": "none", "use_dora": False, "fan_in_fan_out": False, "lora_bias": False,
    "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "layer_replication": None,
    "trainable_token_indices": None, "target_parameters": None,
}  # fmt: skip
"""Settings of PEFT that change what the factors mean, with the only value that is supported."""


class UnfitAdapter(ValueError):
    """Its shapes or modules do not fit the model."""


@dataclass(frozen=True)
class LoraFactors:
    """The change of a weight is `up @ down`: (rank, inputs) and (outputs, rank)."""

    down: torch.Tensor
    up: torch.Tensor


def is_target(module: str) -> bool:
    """Whether an adapter may change this module."""
    return _TARGET.fullmatch(module) is not None


def read_adapter(adapter: TaskAdapter, layers: Mapping[str, torch.nn.Module]) -> dict[str, LoraFactors]:
    """The factors by module, in float32, scaled. `layers`: the model's linear layers, by name.

    Raises: InvalidOption: it is missing, damaged, changed since its test, or does not fit.
    """
    path = weights_path(adapter)
    try:
        scale = _read_scale(path.with_name(PEFT_CONFIG))
        if path.stat().st_size > MAX_BYTES:
            raise DamagedModelFile("is too large")
        read_tensor_shapes(path)
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidOption("adapter", "adapter_missing", value=adapter.name) from error
    except (DamagedModelFile, OSError) as error:
        raise InvalidOption("adapter", "adapter_damaged", value=adapter.name) from error
    if hashlib.sha256(data).hexdigest() != adapter.sha256:
        raise InvalidOption("adapter", "adapter_changed", value=adapter.name)
    try:
        return _factors(load(data), layers, scale)
    except (UnfitAdapter, SafetensorError) as error:
        raise InvalidOption("adapter", "adapter_unfit", value=adapter.name) from error


def weights_path(adapter: TaskAdapter) -> Path:
    """In the data directory of this process. Raises: InvalidOption: no adapter can have this name."""
    if not is_adapter_name(adapter.name):
        raise InvalidOption("adapter", "adapter_missing", value=adapter.name)
    return adapter_weights(find_data_dir(os.environ), adapter.name)


def _read_scale(path: Path) -> float:
    """alpha / rank, or its root's. Raises: DamagedModelFile; OSError."""
    config = read_json_object(path)
    for name, supported in _PLAIN_SETTINGS.items():
        if config.get(name, supported) != supported and not (supported == {} and config[name] is None):
            raise DamagedModelFile(f"has the setting {name}, which is not supported")
    targets = config.get("target_modules")
    rank, alpha = _read_number(config, "r"), _read_number(config, "lora_alpha")
    is_named = isinstance(targets, str) or (isinstance(targets, list) and all(isinstance(one, str) for one in targets))
    if not (rank.is_integer() and 1 <= rank <= MAX_RANK and alpha > 0 and is_named):
        raise DamagedModelFile("has no valid r, lora_alpha and target_modules")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") is True else rank)


def _read_number(config: Mapping[str, Any], name: str) -> float:
    """Not a number, where there is none that is finite. `_read_scale` refuses it."""
    value = config.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_SCALE
    return float(value) if is_number and value is not None else math.nan


def _factors(
    tensors: Mapping[str, torch.Tensor], layers: Mapping[str, torch.nn.Module], scale: float
) -> dict[str, LoraFactors]:
    """Raises: UnfitAdapter."""
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        found = _TENSOR.fullmatch(name)
        if found is None or not is_target(found["module"]) or found["module"] not in layers:
            raise UnfitAdapter(f"{name[:200]} is no attention projection of this model")
        pairs.setdefault(found["module"], {})[found["factor"]] = tensor.float()
    if not pairs:
        raise UnfitAdapter("it is empty")
    return {module: _check_pair(module, pair, layers[module], scale) for module, pair in pairs.items()}


def _check_pair(module: str, pair: Mapping[str, torch.Tensor], layer: Any, scale: float) -> LoraFactors:
    """Raises: UnfitAdapter."""
    down, up = pair.get("A"), pair.get("B")
    if down is None or up is None or down.ndim != 2 or up.ndim != 2 or not 1 <= down.shape[0] <= MAX_RANK:
        raise UnfitAdapter(f"{module} lacks a factor")
    expected = (layer.in_features, layer.out_features, down.shape[0])
    if (down.shape[1], up.shape[0], up.shape[1]) != expected:
        raise UnfitAdapter(f"the shapes of {module} do not fit")
    up = up * scale
    if not all((factor.abs() <= MAX_FACTOR).all() for factor in (down, up)):
        raise UnfitAdapter(f"{module} is not finite in half precision")
    return LoraFactors(down, up)
