"""Loads the denoiser of a `.gguf` file, offline: its config comes from the folder of its base model.

Linear layers keep the file's format and are converted for each call; everything else is converted once.
"""

from pathlib import Path
from typing import Any, BinaryIO

import diffusers
import numpy
import torch

from bot.errors import ModelUnavailable
from bot.model_install.gguf_header import GgufHeader
from bot.models import ModelSpec
from inference.checkpoints.file_filter import choose_variant, component_names, variant_of
from inference.checkpoints.gguf_layout import PREFIX, GgufLayout, open_gguf
from inference.engine.error_mapping import is_out_of_memory

_PLAIN = {"F32": torch.float32, "F16": torch.float16}
"""Formats of the file that torch computes; Diffusers converts the others."""


def load_gguf_denoiser(
    model: ModelSpec, path: Path, base: Path, index: dict[str, Any], dtype: torch.dtype
) -> dict[str, Any]:
    """The denoiser by its name in the pipeline, in main memory. `index`: the base model's.

    Raises: ModelUnavailable: it is damaged, of an unknown architecture, or not of this base model.
    """
    header, layout = open_gguf(model.name, path)
    entry = index.get(layout.component)
    if not isinstance(entry, list) or entry[-1:] != [layout.denoiser_class]:
        raise ModelUnavailable(
            model.name, f"{path.name} is not of its base_model {model.base_model}, a {index.get('_class_name')}"
        )
    try:
        denoiser = _load(read_tensors(path, header), base, layout, dtype)
    except Exception as error:  # the libraries raise many types for weights that do not fit the config
        if is_out_of_memory(error):
            raise
        detail = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        raise ModelUnavailable(model.name, f"{path.name} does not fit {model.base_model}: {detail}") from error
    _require_all_weights(model, path, denoiser)
    return {layout.component: denoiser}


def base_variant(base: Path, index: dict[str, Any], component: str) -> str:
    """The variant with which the base model's other components are loaded."""
    names = [name for name in component_names(index) if name != component]
    found = ({variant_of(path.name) for path in (base / name).glob("*.safetensors")} for name in names)
    return choose_variant(found) or ""


def read_tensors(path: Path, header: GgufHeader) -> dict[str, torch.Tensor]:
    """The weights, where the checked header says. The library's reader would parse it once more, without limits.

    Raises: OSError; ValueError, RuntimeError: the file has changed.
    """
    with path.open("rb") as file:
        return {name: _read_tensor(file, header, name) for name in header.shapes}


def _read_tensor(file: BinaryIO, header: GgufHeader, name: str) -> torch.Tensor:
    from diffusers.quantizers.gguf.utils import GGUFParameter
    from gguf import GGMLQuantizationType

    number_format, shape = header.formats[name], header.shapes[name]
    file.seek(header.offsets[name])
    numbers = torch.from_numpy(numpy.fromfile(file, numpy.uint8, header.sizes[name]))
    if number_format in _PLAIN:
        return numbers.view(_PLAIN[number_format]).reshape(shape)
    stored = numbers.reshape(*shape[:-1], -1)
    return GGUFParameter(stored, quant_type=GGMLQuantizationType[number_format])


def _load(tensors: dict[str, torch.Tensor], base: Path, layout: GgufLayout, dtype: torch.dtype) -> torch.nn.Module:
    if layout.component == "unet":  # Diffusers' converter knows whole checkpoints only
        own = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
        tensors = own or {f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}
    denoiser: torch.nn.Module = getattr(diffusers, layout.denoiser_class).from_single_file(
        tensors,
        config=str(base),
        subfolder=layout.component,
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
        dtype=dtype,
        local_files_only=True,
    )
    _convert_other_weights(denoiser, dtype)
    return denoiser


def _convert_other_weights(denoiser: torch.nn.Module, dtype: torch.dtype) -> None:
    """Diffusers converts the matrices of linear layers; biases, norms and kernels must be plain numbers."""
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor

    for module in denoiser.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, GGUFParameter) and not (isinstance(module, GGUFLinear) and name == "weight"):
                plain = dequantize_gguf_tensor(parameter).to(dtype)
                setattr(module, name, torch.nn.Parameter(plain, requires_grad=False))


def _require_all_weights(model: ModelSpec, path: Path, denoiser: torch.nn.Module) -> None:
    """Raises: ModelUnavailable: weights are missing."""
    missing = next((name for name, value in denoiser.named_parameters() if value.is_meta), "")
    if missing:
        raise ModelUnavailable(model.name, f"{path.name} lacks weights, such as {missing}")
