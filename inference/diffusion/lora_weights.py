"""Turns a LoRA's file of any supported format into plain factors, one pair a module, that peft adds to the weights.

Each algorithm is a formula for the change of a weight W. What has no two small factors (LoKr, DoRA, whole differences)
becomes the change itself times an identity: exact, but as large as the weights that it changes.

Sources: LyCORIS 3 (`lycoris/functional`), kohya's sd-scripts, ComfyUI's `weight_adapter`, peft's `LoraConfig`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from bot.model_install.addon_files import read_adapter_config
from inference.checkpoints.lora_layout import (
    TEXT_ENCODER,
    TEXT_ENCODER_2,
    UNET,
    algorithm_of,
    group_by_module,
    read_adapter_configs,
    read_layout,
)
from inference.diffusion.unet_names import original_to_diffusers
from inference.memory.quantization import compute_dtype, read_weight

Tensors = Mapping[str, torch.Tensor]


class UnsupportedLora(ValueError):
    """The file fits no model, or not this one."""


@dataclass(frozen=True)
class Factors:
    """The change of a weight is `up @ down`; `bias` is that of the bias."""

    down: torch.Tensor
    up: torch.Tensor
    bias: torch.Tensor | None = None


def load_factors(path: Path, pipeline: Any) -> dict[str, torch.Tensor]:
    """The LoRA's factors for the pipeline's UNet and text encoders, as a state dict of peft.

    Raises: UnsupportedLora: the file has weights that this model lacks or that cannot be computed.
    """
    with safe_open(path, framework="pt") as file:
        stored = list(file.keys())
        tensors = {name: file.get_tensor(name) for name in stored}
        metadata = file.metadata() or {}
    layout = read_layout({name: list(tensor.shape) for name, tensor in tensors.items()}, metadata)
    if layout.problem:
        raise UnsupportedLora(f"it {layout.problem}")
    configs = read_adapter_configs(metadata)
    of_peft = read_adapter_config(path)
    modules = {name: _target_modules(pipeline, name) for name in (UNET, TEXT_ENCODER, TEXT_ENCODER_2)}
    state: dict[str, torch.Tensor] = {}
    found: dict[tuple[str, str], Factors] = {}
    for (component, module), names in group_by_module(tensors).items():
        target = modules[component].get(_key_of(component, module))
        if target is None:
            raise UnsupportedLora(f"this model has no {component}.{module}")
        name, layer = target
        parts = {parameter: tensors[tensor] for parameter, tensor in names.items()}
        found[component, name] = _factors(parts, layer, configs.get(component, of_peft), name)
    has_bias = {component for (component, _), factors in found.items() if factors.bias is not None}
    for (component, name), factors in found.items():
        state[f"{component}.{name}.lora_A.weight"] = factors.down.contiguous()
        state[f"{component}.{name}.lora_B.weight"] = factors.up.contiguous()
        if component in has_bias:
            bias = factors.bias if factors.bias is not None else factors.up.new_zeros(factors.up.shape[0])
            state[f"{component}.{name}.lora_B.bias"] = bias.contiguous()
    return state


# ---------------------------------------------------------------- modules


def _target_modules(pipeline: Any, component: str) -> dict[str, tuple[str, torch.nn.Module]]:
    """The component's layers with weights, by their names with `_` only."""
    module = getattr(pipeline, component, None)
    if module is None:
        return {}
    layers = {}
    for name, layer in module.named_modules():
        base = getattr(layer, "base_layer", layer)
        is_inside_adapter = ".lora_" in name or ".base_layer" in name
        if not is_inside_adapter and isinstance(base, (torch.nn.Linear, torch.nn.Conv2d)):
            layers[_key_of(component, name)] = (name, base)
    if component == UNET:
        for original, name in original_to_diffusers(module.config).items():
            prefix = name.replace(".", "_")
            layers |= {
                original + key[len(prefix) :]: target for key, target in layers.items() if key.startswith(prefix)
            }
        layers |= _original_resnets(layers)
    return layers


def _original_resnets(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers of residual blocks and samplers under the names of Stable Diffusion's original code."""
    endings = {
        "_conv1": "_in_layers_2", "_conv2": "_out_layers_3", "_time_emb_proj": "_emb_layers_1",
        "_conv_shortcut": "_skip_connection",
    }  # fmt: skip
    return {
        key.removesuffix(ours) + theirs: target
        for key, target in layers.items()
        for ours, theirs in endings.items()
        if key.startswith(("input_blocks", "middle_block", "output_blocks")) and key.endswith(ours)
    }


def _key_of(component: str, module: str) -> str:
    key = module.replace(".", "_")
    return key if component == UNET else key.removeprefix("text_model_")


# ---------------------------------------------------------------- formulas


def _factors(parts: Tensors, layer: torch.nn.Module, config: Mapping[str, Any], name: str) -> Factors:
    """Raises: UnsupportedLora: the shapes do not fit the layer, or the numbers are not finite."""
    parts = {parameter: tensor.float() for parameter, tensor in parts.items()}
    weight = _shaped_weight(layer)
    try:
        down, up = _scaled_factors(parts, layer, config, name)
        if parts.keys() & {"dora_scale", "magnitude"}:
            change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
            down, up = _identity_factors(_decompose_weight(_plain_weight(layer), change, parts))
        up = up.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))
        bias = _like(layer, parts["diff_b"].reshape(weight.shape[0])) if "diff_b" in parts else None
        factors = Factors(_like(layer, down.reshape(-1, *weight.shape[1:])), _like(layer, up), bias)
    except RuntimeError as error:  # torch's, for shapes that do not fit
        raise UnsupportedLora(f"its {name} does not fit this model") from error
    if not all(part is None or torch.isfinite(part).all() for part in (factors.down, factors.up, factors.bias)):
        raise UnsupportedLora(f"the change of {name} is not finite")
    return factors


def _like(layer: torch.nn.Module, factor: torch.Tensor) -> torch.Tensor:
    """In the precision that the layer computes in, so that its inputs are not converted."""
    dtype = compute_dtype(layer)
    return factor.to(dtype) if dtype.is_floating_point else factor


def _scaled_factors(
    parts: Tensors, layer: torch.nn.Module, config: Mapping[str, Any], name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors of the change, times alpha / rank."""
    weight = _shaped_weight(layer)
    match algorithm_of(parts):
        case "lora":
            down, up = _lora(parts, weight)
            return down, up * _scale(
                parts, down.shape[0] if "mid" not in parts else parts["down"].shape[0], config, name
            )
        case "loha":
            down, up = _loha(parts, weight)
            return down, up * _scale(parts, parts["hada_w1_b"].shape[0], config, name)
        case "lokr":
            return _lokr(parts, weight, lambda rank: _scale(parts, rank, config, name))
        case "full":
            return _identity_factors(parts["diff"].reshape(weight.shape))
        case "ia3":
            is_input = bool(parts["on_input"].item())
            factor = parts["weight"].reshape((1, -1) if is_input else (-1, 1))
            return _identity_factors(_plain_weight(layer) * (factor if weight.ndim == 2 else factor[:, :, None, None]))
    return torch.zeros(1, weight[0].numel()), torch.zeros(weight.shape[0], 1)  # only the bias changes


def _scale(parts: Tensors, rank: int, config: Mapping[str, Any], name: str) -> float:
    """By the file's alpha, else by the configuration's; 1 without any. `rank`: 0 if the weights do not tell."""
    if "alpha" in parts:
        return float(parts["alpha"].item()) / rank if rank else 1.0
    alpha, rank = _configured_alpha(config, name), rank or int(config.get("r") or 0)
    if alpha is None or not rank:
        return 1.0
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _lora(parts: Tensors, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    down, up = parts["down"], parts["up"].flatten(1)
    if "mid" in parts:  # Tucker: (rank, rank, height, width) between the two
        change = torch.einsum("rshw,or,si->oihw", parts["mid"], up, down.flatten(1))
        return _identity_factors(change.reshape(weight.shape))
    return down.flatten(1), up


def _loha(parts: Tensors, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(w1_a w1_b) * (w2_a w2_b), elementwise."""
    a1, b1, a2, b2 = (parts[f"hada_{name}"] for name in ("w1_a", "w1_b", "w2_a", "w2_b"))
    rank = a1.shape[1] * a2.shape[1] if "hada_t1" not in parts else 0
    if rank and rank < min(weight.shape[0], weight[0].numel()):  # products of columns and of rows
        up = (a1[:, :, None] * a2[:, None, :]).flatten(1)
        return (b1[:, None, :] * b2[None, :, :]).flatten(0, 1), up
    if "hada_t1" in parts:
        tucker = "ijkl,jr,ip->prkl"
        first, second = (
            torch.einsum(tucker, parts[f"hada_t{half}"], b, a) for half, a, b in ((1, a1, b1), (2, a2, b2))
        )
        return _identity_factors((first * second).reshape(weight.shape))
    return _identity_factors(((a1 @ b1) * (a2 @ b2)).reshape(weight.shape))


def _lokr(parts: Tensors, weight: torch.Tensor, scale_of: Callable[[int], float]) -> tuple[torch.Tensor, torch.Tensor]:
    """The Kronecker product of w1 and w2, each whole or of two factors. Two whole ones have a scale in PEFT only."""
    ranks = [parts[f"lokr_{half}_b"].shape[0] for half in ("w2", "w1") if f"lokr_{half}_b" in parts]
    scale = scale_of(ranks[0] if ranks else 0)
    first = parts["lokr_w1"] if "lokr_w1" in parts else parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    first = first.flatten(1) * scale
    if "lokr_w2" in parts:
        second = parts["lokr_w2"]
    elif "lokr_t2" in parts:
        second = torch.einsum("ijkl,jr,ip->prkl", parts["lokr_t2"], parts["lokr_w2_b"], parts["lokr_w2_a"])
    else:
        a, b = parts["lokr_w2_a"], parts["lokr_w2_b"]
        rank = first.shape[1] * a.shape[1]
        if weight.ndim == 2 and rank < min(weight.shape):  # kron(w1, a b) = kron(w1, a) kron(1, b)
            return torch.kron(torch.eye(first.shape[1]), b.contiguous()), torch.kron(first, a.contiguous())
        second = a @ b
        if weight.ndim == 4:
            second = second.reshape(a.shape[0], -1, *weight.shape[2:])
    shape = (*first.shape, *[1] * (second.ndim - 2))
    return _identity_factors(torch.kron(first.reshape(shape).contiguous(), second.contiguous()).reshape(weight.shape))


def _decompose_weight(weight: torch.Tensor, change: torch.Tensor, parts: Tensors) -> torch.Tensor:
    """DoRA: the changed weight with rows of the given lengths, minus the weight; columns in early LyCORIS."""
    lengths = parts["magnitude"] if "magnitude" in parts else parts["dora_scale"]
    axis = 0 if "magnitude" in parts or lengths.shape[0] == weight.shape[0] else 1
    changed = weight + change
    other_axes = [dim for dim in range(weight.ndim) if dim != axis]
    norm = torch.linalg.vector_norm(changed, dim=other_axes, keepdim=True)
    norm = norm.clamp_min(torch.finfo(norm.dtype).tiny)  # a row of zeros stays one
    return changed * (lengths.reshape(norm.shape) / norm) - weight


def _identity_factors(change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The change and an identity, whichever order is smaller."""
    rows, flat = change.shape[0], change.flatten(1)
    if change.ndim == 2 and flat.shape[1] < rows:
        return torch.eye(flat.shape[1]), flat
    return flat, torch.eye(rows)


def _shaped_weight(layer: torch.nn.Module) -> torch.Tensor:
    """Its weight, or a tensor without values of the same shape where the weight is packed."""
    weight: torch.Tensor = layer.weight
    if isinstance(layer, torch.nn.Linear) and tuple(weight.shape) != (layer.out_features, layer.in_features):
        return torch.empty((layer.out_features, layer.in_features), device="meta")
    return weight


def _plain_weight(layer: torch.nn.Module) -> torch.Tensor:
    """In float32 on the CPU. Raises: UnsupportedLora: an offloaded weight that is not in memory."""
    if layer.weight.is_meta:
        raise UnsupportedLora("it needs the model's weights, which are streamed from the disk")
    return read_weight(layer).float().cpu()


# ---------------------------------------------------------------- configuration in the file


def _configured_alpha(config: Mapping[str, Any], name: str) -> float | None:
    patterns = config.get("alpha_pattern")
    for pattern, alpha in patterns.items() if isinstance(patterns, dict) else ():
        if name == pattern.lstrip("^") or (not pattern.startswith("^") and name.endswith(f".{pattern}")):
            return float(alpha)
    alpha = config.get("lora_alpha", config.get("alpha"))
    return float(alpha) if isinstance(alpha, (int, float)) else None
