"""Loads a Diffusers pipeline from a folder or a file: safetensors only, no remote code, no downloads."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diffusers import AutoencoderTiny, DiffusionPipeline, pipelines
from diffusers.utils import constants as diffusers_constants
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from bot.errors import ModelUnavailable
from bot.memory.format_check import SVDQUANT
from bot.memory.weights import FP8
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelSpec
from inference.checkpoints.file_filter import INDEX, component_names, unused_components
from inference.checkpoints.prequantized import read_prequantized
from inference.checkpoints.resolve import base_model_path, lora_path, model_path, require_safetensors
from inference.diffusion.gguf_file import base_variant, load_gguf_denoiser
from inference.diffusion.lora import load_lora
from inference.diffusion.pipeline_variants import text_to_image_class
from inference.diffusion.processors import load_processors
from inference.diffusion.single_file import load_single_file
from inference.memory.formats import card_capability, uses_dynamic_fp8, weight_formats
from inference.memory.offload import ComponentOffloader, components_of
from inference.memory.planner import MemoryPlan, choose_plan, device_kind
from inference.memory.precision import dtype_for, planned_dtype
from inference.memory.quantization import quantize_planned

DENOISERS = ("unet", "transformer")
"""Components called at each step, by their names in Diffusers pipelines."""

_CHECKER = "safety_checker"
"""The one component that a folder may lack."""


def load_pipeline(model: ModelSpec, folder: Path, device: str) -> Any:
    """The text-to-image or image-editing pipeline of a folder or file, on the device.

    `inference.memory.offload.offloader_of` returns where its components are.

    Raises: ModelUnavailable, OutOfMemory; what Diffusers raises.
    """
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()  # warnings would log the end of long prompts
        logging.disable_progress_bar()
    dtype = dtype_for(model, device)
    choice = choose_plan(model, folder, dtype, device)
    dtype = planned_dtype(choice.plan, dtype)
    pipeline = _load(model, folder, dtype)
    for lora in model.loras:
        _fuse_lora(pipeline, model, lora)
    _set_up_scheduler(pipeline, model)
    _place(pipeline, model, choice, device, dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def denoiser_name(pipeline: Any) -> str:
    """The pipeline's component that is called at each step; empty: none that is known."""
    return next((name for name in DENOISERS if getattr(pipeline, name, None) is not None), "")


def load_denoiser(model: ModelSpec, folder: Path, device: str, name: str, kind: Any, dtype: Any) -> Any:
    """The denoiser alone, as `load_pipeline` loads it, with `kind` as its class. Raises: as `load_pipeline`."""
    is_plain = folder.is_dir() and not model.loras and model.quantize in ("auto", "none")
    if not is_plain:
        return getattr(load_pipeline(model, folder, device), name)
    require_safetensors(model, folder)
    variant = {"variant": model.variant} if model.variant else {}
    return (
        kind.from_pretrained(
            folder, subfolder=name, dtype=dtype, use_safetensors=True, local_files_only=True, **variant
        )
        .to(device)
        .eval()
    )


def _load(model: ModelSpec, path: Path, dtype: Any) -> Any:
    """The pipeline of a folder, of a single file, or of a `.gguf` file and its base model, in main memory."""
    if model.is_gguf:
        return _load_gguf(model, path, dtype)
    if path.is_file():
        return load_single_file(model, path, dtype)
    if read_prequantized(path).method == SVDQUANT:
        diffusers_constants.DIFFUSERS_TRUST_REMOTE_KERNELS = model.allow_hub_kernels
    return _load_folder(model, path, dtype)


def _load_gguf(model: ModelSpec, path: Path, dtype: Any) -> Any:
    base = base_model_path(model)
    index = _read_model_index(model, base)
    denoiser = load_gguf_denoiser(model, path, base, index, dtype)
    variant = base_variant(base, index, *denoiser)
    return _load_folder(replace(model, variant=variant), base, dtype, denoiser)


def _load_folder(model: ModelSpec, folder: Path, dtype: Any, given: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """`given`: components that are loaded already."""
    require_safetensors(model, folder)
    index = _read_model_index(model, folder)
    _require_components(model, folder, index, given)
    kind = DiffusionPipeline if IMAGE_TEXT_TO_IMAGE in model.tasks else text_to_image_class(index["_class_name"])
    pipeline = kind.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        **({"variant": model.variant} if model.variant else {}),
        **_omit_missing_checker(index, folder),
        **dict.fromkeys(unused_components(index)),
        **load_processors(index, folder),
        **given,
    )
    if IMAGE_TEXT_TO_IMAGE in model.tasks and not {"prompt", "image"} <= call_parameters(pipeline):
        raise ModelUnavailable(model.name, f"{index['_class_name']} does not edit images by instruction")
    return pipeline


def _place(pipeline: Any, model: ModelSpec, choice: MemoryPlan, device: str, dtype: Any) -> None:
    components = components_of(pipeline)
    kind = device_kind(device)
    is_dynamic = model.quantize == FP8 and uses_dynamic_fp8(kind, card_capability(kind, device), dtype)
    quantize_planned(components, choice.plan, has_dynamic_fp8=is_dynamic)
    pipeline.offloader = ComponentOffloader(pipeline, components, choice, device)
    pipeline.offloader.formats = weight_formats(components, choice.plan, has_dynamic_fp8=is_dynamic)


def _fuse_lora(pipeline: Any, model: ModelSpec, lora: str) -> None:
    """Merge a LoRA into the weights. Raises: ModelUnavailable."""
    path = lora_path(lora, model.name)
    try:
        load_lora(pipeline, path, "fused")
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    except Exception as error:  # the libraries raise many types for a LoRA that does not fit
        raise ModelUnavailable(model.name, f"the LoRA {lora} does not fit it: {error}") from error


def _set_up_scheduler(pipeline: Any, model: ModelSpec) -> None:
    """Raises: ModelUnavailable: the scheduler has no such setting."""
    if not model.scheduler:
        return
    known = pipeline.scheduler.config
    if unknown := sorted(set(model.scheduler) - set(known)):
        kind = type(pipeline.scheduler).__name__
        raise ModelUnavailable(model.name, f"its scheduler ({kind}) has no setting {', '.join(unknown)}")
    pipeline.scheduler = type(pipeline.scheduler).from_config(known, **model.scheduler)


def _read_model_index(model: ModelSpec, folder: Path) -> dict[str, Any]:
    """`model_index.json`, if it names only classes of the libraries. Raises: ModelUnavailable."""
    try:
        index: dict[str, Any] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(model.name, f"{folder} has no readable model_index.json: {error}") from error
    if not isinstance(index.get("_class_name"), str):
        raise ModelUnavailable(model.name, "the pipeline needs custom code, which is not allowed")
    for name, entry in index.items():
        library = entry[0] if isinstance(entry, list) and entry else None
        if isinstance(library, int | float):
            continue  # a setting that is a list of numbers
        if library not in (None, "diffusers", "transformers") and not hasattr(pipelines, str(library)):
            raise ModelUnavailable(model.name, f"its {name} needs custom code ({library}), which is not allowed")
    return index


def _require_components(model: ModelSpec, folder: Path, index: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raises: ModelUnavailable, with the component that has no folder: the libraries' errors speak of other things."""
    for name in component_names(index):
        if name not in given and name != _CHECKER and not (folder / name).is_dir():
            raise ModelUnavailable(model.name, f"its {name} is missing: there is no folder {name} beside {INDEX}")


def _omit_missing_checker(index: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Loading arguments that leave out a safety checker that is in the index but not in the folder."""
    if _CHECKER not in index or (folder / _CHECKER).is_dir():
        return {}
    return {_CHECKER: None, "requires_safety_checker": False}


def load_tiny_autoencoder(model: ModelSpec, device: str) -> Any:
    """The tiny autoencoder configured for previews, if any. Raises: ModelUnavailable."""
    if not model.preview:
        return None
    folder = model_path(replace(model, repo=model.preview, revision=""))
    require_safetensors(model, folder)
    try:
        tiny = AutoencoderTiny.from_pretrained(
            folder, dtype=dtype_for(model, device), use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # the libraries raise many types for other models
        raise ModelUnavailable(model.name, f"{model.preview} is not a tiny autoencoder: {error}") from error
    return tiny.to(device).eval()


def call_parameters(pipeline: Any) -> frozenset[str]:
    """Parameter names of the pipeline's `__call__`."""
    return _call_parameters(type(pipeline))  # type: ignore[arg-type]


@cache
def _call_parameters(pipeline_class: Any) -> frozenset[str]:
    return frozenset(inspect.signature(pipeline_class.__call__).parameters) - {"self"}
