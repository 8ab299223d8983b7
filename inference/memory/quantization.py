"""Weights in fewer bits than the model's number format, with optional libraries.

8 bits: torchao; each output channel has its own scale, and activations are not quantized, which works on every device.
Models that answer in text have layers of their own on processors that multiply 8-bit numbers (`int8_layers.py`).
4 bits: NF4 of bitsandbytes, for text encoders and language models. fp8: Diffusers' layerwise casting stores the weights
of a denoiser as 8-bit floats and casts them for each call; cards that multiply such floats do, if the owner chose fp8.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from bot.memory.placement import PlacementPlan
from bot.memory.weights import EIGHT_BIT, FOUR_BIT, FP8
from inference.engine.library_logs import mute_libraries
from inference.memory.int8_layers import Int8Linear
from inference.memory.planner import NOT_CAST, is_quantizable

_STORAGE = torch.float8_e4m3fn
_LARGEST = torch.finfo(_STORAGE).max
_ITSELF = ""
"""The name of a module that is a layer, which cannot be replaced in itself."""
_NOT_CAST = (*NOT_CAST, "lora_")


def quantize_module(module: nn.Module) -> int:
    """Quantize the weights of its large layers to 8 bits, in place; returns the number of layers.

    Raises: ImportError: torchao is not installed.
    """
    with _muted():
        from torchao.quantization import Int8WeightOnlyConfig, quantize_

        names = _quantizable_layers(module)
        quantize_(module, Int8WeightOnlyConfig(version=2), filter_fn=lambda _, name: name in names)
    return len(names)


def quantize_to_4bit(module: nn.Module) -> int:
    """Replace its large layers by layers in NF4; returns their number. Computes in their dtype.

    Raises: ImportError: bitsandbytes is not installed.
    """
    with _muted():
        from bitsandbytes.nn import Linear4bit, Params4bit

        names = _quantizable_layers(module) - {_ITSELF}
        for name in names:
            layer = module.get_submodule(name)
            weight = layer.weight.data
            replacement = Linear4bit(
                layer.in_features, layer.out_features, layer.bias is not None, weight.dtype, quant_type="nf4",
                device="meta",
            )  # fmt: skip
            replacement.weight = Params4bit(
                weight, requires_grad=False, quant_type="nf4", module=replacement, compress_statistics=True
            ).to(weight.device)
            replacement.bias = layer.bias
            # On some CPUs bitsandbytes would repack the weights, if their sizes allow it, and compute in bfloat16.
            replacement.support_avx512bf16_for_cpu = False
            module.set_submodule(name, replacement.eval())
    return len(names)


def cast_to_fp8(module: nn.Module, dtype: torch.dtype) -> None:
    """Store its layers' weights as 8-bit floats, and cast each layer to `dtype` while it computes.

    Layers with weights that such floats do not reach stay as they are.
    """
    too_large = [f"^{name}$" for name, layer in module.named_modules() if _has_large_weights(layer)]
    apply_layerwise_casting(
        module, storage_dtype=_STORAGE, compute_dtype=dtype, skip_modules_pattern=(*_NOT_CAST, *too_large)
    )
    for layer in module.modules():
        if getattr(getattr(layer, "weight", None), "dtype", None) == _STORAGE:
            layer.compute_dtype = dtype  # peft's name; it would give a LoRA the format of the weights


def quantize_to_dynamic_fp8(module: nn.Module) -> int:
    """Let its large layers multiply 8-bit floats, each row of the activations with its own scale.

    Raises: ImportError: torchao is not installed.
    """
    with _muted():
        from torchao.quantization import Float8DynamicActivationFloat8WeightConfig, PerRow, quantize_

        names = _quantizable_layers(module)
        config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow())
        quantize_(module, config, filter_fn=lambda _, name: name in names)
    return len(names)


def quantize_to_int8(module: nn.Module) -> int:
    """Replace its large layers by layers that multiply 8-bit numbers; returns their number."""
    names = _quantizable_layers(module) - {_ITSELF}
    for name in names:
        module.set_submodule(name, Int8Linear(module.get_submodule(name)))
    return len(names)


def quantize_planned(
    components: Mapping[str, nn.Module],
    plan: PlacementPlan,
    *,
    has_dynamic_fp8: bool = False,
    has_fast_int8: bool = False,
) -> None:
    """Give the components the formats of the plan. LoRAs must be fused into the weights before."""
    for name, placement in plan.placements.items():
        component = components.get(name)
        if component is None:
            continue
        if placement.weights == EIGHT_BIT and has_fast_int8:
            quantize_to_int8(component)
        elif placement.weights == EIGHT_BIT:
            quantize_module(component)
        elif placement.weights == FOUR_BIT:
            quantize_to_4bit(component)
        elif placement.weights == FP8 and has_dynamic_fp8:
            quantize_to_dynamic_fp8(component)
        elif placement.weights == FP8:
            cast_to_fp8(component, dtype_of(component))


def compute_dtype(layer: nn.Module) -> torch.dtype:
    """The number format that a layer with a weight computes in."""
    dtype: torch.dtype = getattr(layer, "compute_dtype", layer.weight.dtype)
    return dtype


def read_weight(layer: nn.Module) -> torch.Tensor:
    """The values of a layer's weight, in whatever format it is stored."""
    weight: torch.Tensor = layer.weight.detach()
    if type(weight) in (torch.Tensor, nn.Parameter):
        return weight
    if hasattr(weight, "quant_state"):
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    if hasattr(weight, "quant_type"):
        from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

        return dequantize_gguf_tensor(weight)
    return weight.dequantize()


def stores_fp8(module: nn.Module) -> bool:
    """Whether its weights are cast for each call, so that it must not make two calls at the same time."""
    return any(parameter.dtype == _STORAGE for parameter in module.parameters())


def _quantizable_layers(module: nn.Module) -> set[str]:
    return {
        name
        for name, layer in module.named_modules()
        if type(layer) is nn.Linear and is_quantizable(name, layer.weight.shape)
    }


def _has_large_weights(layer: Any) -> bool:
    return any(_is_large(parameter) for parameter in layer.parameters(recurse=False))


def _is_large(parameter: torch.Tensor) -> bool:
    return parameter.is_floating_point() and parameter.numel() > 0 and bool(parameter.abs().max() > _LARGEST)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The number format that it computes in."""
    return getattr(module, "dtype", None) or next(module.parameters()).dtype


@contextmanager
def _muted() -> Iterator[None]:
    """Without the warnings that the libraries give when they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mute_libraries()
        yield
