"""Loads a Diffusers pipeline from a folder or a file: safetensors only, nobody else's code, nothing fetched."""

import inspect
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from diffusers import AutoencoderTiny, DiffusionPipeline, pipelines
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from bot.errors import ModelUnavailable
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelSpec
from inference.checkpoints.resolve import file_of, folder_of, require_safetensors
from inference.diffusion.pipeline_variants import from_words
from inference.diffusion.single_file import load_single_file
from inference.memory.offload import Placement, parts_of
from inference.memory.planner import Choice, choose
from inference.memory.precision import dtype_for, dtype_on_cpu
from inference.memory.quantization import shrink_seats


def load_pipeline(model: ModelSpec, folder: Path, device: str) -> Any:
    """The folder's or file's pipeline from text to image, or from a picture and an instruction, on the device.

    Where its parts are, `inference.memory.offload.placement_of` tells.

    Raises: ModelUnavailable, OutOfMemory; what Diffusers raises.
    """
    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()  # warnings quote the end of long prompts
        logging.disable_progress_bar()
    dtype = dtype_for(model, device)
    choice = choose(model, folder, dtype, device)
    dtype = dtype_on_cpu(choice.plan, dtype)
    pipeline = load_single_file(model, folder, dtype) if folder.is_file() else _load_folder(model, folder, dtype)
    for lora in model.loras:
        _fuse(pipeline, model, lora)
    _place(pipeline, choice, device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _load_folder(model: ModelSpec, folder: Path, dtype: Any) -> Any:
    require_safetensors(model, folder)
    index = _index(model, folder)
    kind = DiffusionPipeline if IMAGE_TEXT_TO_IMAGE in model.tasks else from_words(index["_class_name"])
    pipeline = kind.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        **({"variant": model.variant} if model.variant else {}),
        **_without_missing_checker(index, folder),
    )
    if IMAGE_TEXT_TO_IMAGE in model.tasks and not {"prompt", "image"} <= takes(pipeline):
        raise ModelUnavailable(model.name, f"{index['_class_name']} takes no instruction with a picture")
    return pipeline


def _place(pipeline: Any, choice: Choice, device: str) -> None:
    parts = parts_of(pipeline)
    shrink_seats(parts, choice.plan)
    pipeline.placement = Placement(pipeline, parts, choice, device)


def _fuse(pipeline: Any, model: ModelSpec, lora: str) -> None:
    """Make a LoRA part of the weights. Raises: ModelUnavailable."""
    path = file_of(lora, model.name)
    try:
        pipeline.load_lora_weights(path.parent, weight_name=path.name, local_files_only=True)
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
    except Exception as error:  # what does not fit is told in many ways
        raise ModelUnavailable(model.name, f"the LoRA {lora} does not fit it: {error}") from error


def _index(model: ModelSpec, folder: Path) -> dict[str, Any]:
    """`model_index.json`, if it names nothing but the libraries' own classes. Raises: ModelUnavailable."""
    try:
        index: dict[str, Any] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(model.name, f"{folder} has no readable model_index.json: {error}") from error
    if not isinstance(index.get("_class_name"), str):
        raise ModelUnavailable(model.name, "the pipeline brings its own code, which is refused")
    for name, part in index.items():
        library = part[0] if isinstance(part, list) and part else None
        if library not in (None, "diffusers", "transformers") and not hasattr(pipelines, str(library)):
            raise ModelUnavailable(model.name, f"the part {name} brings its own code ({library}), which is refused")
    return index


def _without_missing_checker(index: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A safety checker that the model names but does not bring is left out rather than asked of the hub."""
    if "safety_checker" not in index or (folder / "safety_checker").is_dir():
        return {}
    return {"safety_checker": None, "requires_safety_checker": False}


def load_tiny(model: ModelSpec, device: str) -> Any:
    """The small autoencoder that the owner chose for previews; None: none was chosen. Raises: ModelUnavailable."""
    if not model.preview:
        return None
    folder = folder_of(replace(model, repo=model.preview, revision=""))
    require_safetensors(model, folder)
    try:
        tiny = AutoencoderTiny.from_pretrained(
            folder, dtype=dtype_for(model, device), use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # what is no such autoencoder is told in many ways
        raise ModelUnavailable(model.name, f"{model.preview} is no small autoencoder: {error}") from error
    return tiny.to(device).eval()


def takes(pipeline: Any) -> frozenset[str]:
    """Names of what the pipeline's call takes."""
    return _parameters(type(pipeline))  # type: ignore[arg-type]


@cache
def _parameters(kind: Any) -> frozenset[str]:
    return frozenset(inspect.signature(kind.__call__).parameters) - {"self"}
