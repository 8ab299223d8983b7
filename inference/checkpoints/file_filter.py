"""Selects the files of a repo that a model needs; other files are not downloaded. Pure."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bot.errors import DownloadFailed
from bot.memory.components import ComponentRole, component_role
from bot.model_install.addon_files import PEFT_CONFIG, PEFT_WEIGHTS
from bot.models import GGUF_SUFFIX
from bot.ports import RepoRef

WEIGHTS_SUFFIX = ".safetensors"
REFUSED_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".gguf")
"""Formats that are not loaded unless one file is asked for by name, a `.gguf`; several of the others can run code."""
INDEX, CONFIG = "model_index.json", "config.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
ENCODER_FOLDER = "image_encoder"
"""Where an IP-Adapter's repo has the image encoder that it was trained with."""
_UNUSED_COMPONENTS = {"ErnieImagePipeline": ("pe", "pe_tokenizer")}
"""Components that are neither downloaded nor loaded, by the pipeline's class: a model that rewrites prompts."""
_CONFIG_SUFFIXES = (".json", ".txt", ".model", ".jinja")
_CLASS_NAME = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_VARIANT = re.compile(r"^(?P<stem>[^.]+)\.(?P<variant>[a-z0-9_]+?)(?P<shard>-\d{5}-of-\d{5})?\.safetensors$")


@dataclass(frozen=True)
class FileSelection:
    """`variant`: of the selected weights, requested or not. `refused`: weights left out because of their format."""

    paths: tuple[str, ...]
    variant: str = ""
    rejected: tuple[str, ...] = ()


def is_safe_path(path: str) -> bool:
    """Whether it is a plain relative path that cannot leave its folder."""
    parts = PurePosixPath(path).parts
    return bool(parts) and "\\" not in path and ":" not in path and not path.startswith("/") and ".." not in parts


def select_files(ref: RepoRef, paths: Iterable[str], index: Mapping[str, Any] | None) -> FileSelection:
    """Select the files to download. `index`: the content of model_index.json; None if there is none.

    Raises: DownloadFailed: "no_weights", "no_model".
    """
    safe = sorted(path for path in paths if is_safe_path(path))
    refused = tuple(path for path in safe if path.endswith(REFUSED_SUFFIXES))
    if ref.file:
        if ref.file not in safe or not ref.file.endswith((WEIGHTS_SUFFIX, GGUF_SUFFIX)):
            raise DownloadFailed(ref.repo, "no_file", detail=ref.file)
        return FileSelection((ref.file, *_image_encoder_files(ref.file, safe)))
    if index is not None:
        selected, variant = _pipeline_files(ref, safe, index)
    elif CONFIG in safe:
        selected, variant = _transformers_files(safe, ref.variant)
    else:
        weights = _single_file(ref, safe, refused)
        selected, variant = [*weights, *(_image_encoder_files(weights[0], safe) if weights else ())], ""
    if not ref.without_denoiser and not any(path.endswith(WEIGHTS_SUFFIX) for path in selected):
        if quantized := [path for path in safe if path.endswith(GGUF_SUFFIX)]:
            raise DownloadFailed(ref.repo, "which_gguf", detail=", ".join(quantized[:6]))
        formats = ", ".join(sorted({PurePosixPath(path).suffix for path in refused})) or "no weights at all"
        raise DownloadFailed(ref.repo, "no_weights", detail=formats)
    return FileSelection(tuple(selected), variant, refused)


def _pipeline_files(ref: RepoRef, safe: list[str], index: Mapping[str, Any]) -> tuple[list[str], str]:
    """Diffusers' layout: the index, and the configs and weights of each component that it names."""
    by_component = {name: [path for path in safe if path.startswith(f"{name}/")] for name in component_names(index)}
    skipped = [name for name in by_component if ref.without_denoiser and component_role(name) is ComponentRole.DENOISER]
    found = [
        {variant_of(path) for path in paths if path.endswith(WEIGHTS_SUFFIX)}
        for name, paths in by_component.items()
        if name not in skipped
    ]
    variant = choose_variant(found, ref.variant)
    selected = [INDEX]
    for name, paths in by_component.items():
        selected += [path for path in paths if _is_config(path)]
        selected += [] if name in skipped else _select_weights(paths, variant or "")[0]
    return sorted(set(selected)), variant or ""


def component_names(index: Mapping[str, Any]) -> list[str]:
    """The folders of a pipeline's components that are used."""
    unused = unused_components(index)
    named = [name for name, value in index.items() if isinstance(value, list) and value and isinstance(value[0], str)]
    return [name for name in named if name not in unused]


def unused_components(index: Mapping[str, Any]) -> tuple[str, ...]:
    """Components of a pipeline that are not needed."""
    return _UNUSED_COMPONENTS.get(class_name_of(index, None), ())


def choose_variant(components: Iterable[set[str]], requested: str = "") -> str | None:
    """The variant with which all components can be loaded, each from its files or else from the plain ones; None if
    there is none. `components`: the variants of each one's weights; the plain one is "".
    """
    found = [variants for variants in components if variants]
    candidates = dict.fromkeys((requested, "", *sorted(set().union(*found), reverse=True)))
    exists = [name for name in candidates if not name or any(name in variants for variants in found)]
    return next((name for name in exists if all({name, ""} & variants for variants in found)), None)


def _transformers_files(safe: list[str], variant: str) -> tuple[list[str], str]:
    """Transformers' layout: all files are at the top level."""
    paths = [path for path in safe if "/" not in path]
    weights, found_variant = _select_weights([path for path in paths if path.startswith("model")], variant)
    return sorted({*(path for path in paths if _is_config(path)), *weights}), found_variant


def _image_encoder_files(file: str, safe: list[str]) -> list[str]:
    """Of an IP-Adapter: the image encoder beside it, or that in `models`, if its name says that it takes that.

    Source: the layout of h94/IP-Adapter, whose SDXL adapters for ViT-H use the encoder in `models`.
    """
    path = PurePosixPath(file)
    beside = [f"{folder}/{ENCODER_FOLDER}/".removeprefix("./") for folder in (path.parent, ".")]
    shared = [f"models/{ENCODER_FOLDER}/"] if "vit-h" in path.name else []
    for folder in (*shared, *beside):
        found = [one for one in safe if one.startswith(folder)]
        if found:
            return [*filter(_is_config, found), *_select_weights(found, "")[0]]
    return []


def _single_file(ref: RepoRef, safe: list[str], refused: tuple[str, ...]) -> list[str]:
    """A LoRA or textual inversion: one file, and PEFT's configuration of it."""
    weights = [path for path in safe if "/" not in path and path.endswith(WEIGHTS_SUFFIX)]
    if LORA_FILE in weights:
        return [LORA_FILE]
    if len(weights) > 1:
        raise DownloadFailed(ref.repo, "which_lora" if ref.is_lora else "which_file", detail=", ".join(weights[:6]))
    if not weights and not refused:
        raise DownloadFailed(ref.repo, "no_model")
    return [*weights, PEFT_CONFIG] if weights == [PEFT_WEIGHTS] and PEFT_CONFIG in safe else weights


def _is_config(path: str) -> bool:
    return path.endswith(_CONFIG_SUFFIXES) and ".index." not in path


def _select_weights(paths: list[str], variant: str) -> tuple[list[str], str]:
    """A component's weights of the variant, otherwise the plain ones, otherwise those of any variant; and its name."""
    by_variant: dict[str, list[str]] = {}
    for path in paths:
        if path.endswith(WEIGHTS_SUFFIX):
            by_variant.setdefault(variant_of(path), []).append(path)
    selected = next((name for name in (variant, "", *sorted(by_variant)) if name in by_variant), None)
    if selected is None:
        return [], ""
    weights = by_variant[selected]
    single = [path for path in weights if not _SHARD.search(PurePosixPath(path).stem)]
    if single:
        return single, selected
    suffix = f".safetensors.index.{selected}.json" if selected else ".safetensors.index.json"
    indexes = [path for path in paths if path.endswith(suffix)]
    return [*indexes, *weights], selected


def variant_of(path: str) -> str:
    """ "fp16" for `unet/diffusion_pytorch_model.fp16.safetensors`; "" for a file without a variant."""
    match = _VARIANT.match(PurePosixPath(path).name)
    return match["variant"] if match else ""


def class_name_of(index: Mapping[str, Any] | None, config: Mapping[str, Any] | None) -> str:
    """The class that the model's index or config names; a single component of Diffusers names it as an index does."""
    name = None if index is None else index.get("_class_name")
    if not isinstance(name, str):
        names = (config or {}).get("architectures")
        name = names[0] if isinstance(names, list) and names else (config or {}).get("_class_name")
    return name if isinstance(name, str) and _CLASS_NAME.fullmatch(name) else ""


def parse_json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
