"""Pure: which files of a repo are a model's, and wanted. Everything else is left where it is."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bot.errors import DownloadFailed
from bot.ports import Wanted

WEIGHTS = ".safetensors"
OTHER_WEIGHTS = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".gguf")
"""Formats that are never loaded: several of them can run code."""
INDEX, CONFIG = "model_index.json", "config.json"
ADAPTER = "pytorch_lora_weights.safetensors"
_TEXTS = (".json", ".txt", ".model", ".jinja")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_VARIANT = re.compile(r"^(?P<stem>[^.]+)\.(?P<variant>[a-z0-9_]+?)(?P<shard>-\d{5}-of-\d{5})?\.safetensors$")


@dataclass(frozen=True)
class Chosen:
    """`variant` is what was found, wanted or not. `refused`: weights that are left out for their format."""

    paths: tuple[str, ...]
    variant: str = ""
    refused: tuple[str, ...] = ()


def is_safe(path: str) -> bool:
    """A plain relative path: nothing that could leave its folder."""
    parts = PurePosixPath(path).parts
    return bool(parts) and "\\" not in path and ":" not in path and not path.startswith("/") and ".." not in parts


def choose(wanted: Wanted, paths: Iterable[str], index: Mapping[str, Any] | None) -> Chosen:
    """What to fetch of these paths. `index` is the content of model_index.json, None without one.

    Raises: DownloadFailed: "no_weights", "no_model".
    """
    known = sorted(path for path in paths if is_safe(path))
    refused = tuple(path for path in known if path.endswith(OTHER_WEIGHTS))
    if wanted.file:
        if wanted.file not in known or not wanted.file.endswith(WEIGHTS):
            raise DownloadFailed(wanted.repo, "no_file", detail=wanted.file)
        return Chosen((wanted.file,))
    if index is not None:
        picked, variant = _pipeline(wanted, known, index)
    elif CONFIG in known:
        picked, variant = _flat(known, wanted.variant)
    else:
        picked, variant = _adapter(wanted, known, refused), ""
    if not any(path.endswith(WEIGHTS) for path in picked):
        formats = ", ".join(sorted({PurePosixPath(path).suffix for path in refused})) or "no weights at all"
        raise DownloadFailed(wanted.repo, "no_weights", detail=formats)
    return Chosen(tuple(picked), variant, refused)


def _pipeline(wanted: Wanted, known: list[str], index: Mapping[str, Any]) -> tuple[list[str], str]:
    """Diffusers' layout: the index, and of each part that it names its configs and its weights."""
    parts = [name for name, value in index.items() if isinstance(value, list) and value and value[0] is not None]
    picked, variants = [INDEX], set()
    for part in parts:
        inside = [path for path in known if path.startswith(f"{part}/")]
        picked += [path for path in inside if _is_text(path)]
        weights, variant = _weights(inside, wanted.variant)
        picked += weights
        if weights:
            variants.add(variant)
    found = wanted.variant if wanted.variant in variants or not variants else max(variants)
    return sorted(set(picked)), found


def _flat(known: list[str], variant: str) -> tuple[list[str], str]:
    """Transformers' layout: everything lies at the top."""
    inside = [path for path in known if "/" not in path]
    weights, found = _weights([path for path in inside if path.startswith("model")], variant)
    return sorted({*(path for path in inside if _is_text(path)), *weights}), found


def _adapter(wanted: Wanted, known: list[str], refused: tuple[str, ...]) -> list[str]:
    """A LoRA or textual inversion: one file."""
    weights = [path for path in known if "/" not in path and path.endswith(WEIGHTS)]
    if ADAPTER in weights:
        return [ADAPTER]
    if len(weights) > 1:
        raise DownloadFailed(wanted.repo, "which_file", detail=", ".join(weights[:6]))
    if not weights and not refused:
        raise DownloadFailed(wanted.repo, "no_model")
    return weights


def _is_text(path: str) -> bool:
    return path.endswith(_TEXTS) and ".index." not in path


def _weights(inside: list[str], variant: str) -> tuple[list[str], str]:
    """The weights of one part in the variant, else the plain ones, else those of any one variant; and which it was."""
    by_variant: dict[str, list[str]] = {}
    for path in inside:
        if path.endswith(WEIGHTS):
            by_variant.setdefault(variant_of(path), []).append(path)
    found = next((one for one in (variant, "", *sorted(by_variant)) if one in by_variant), None)
    if found is None:
        return [], ""
    weights = by_variant[found]
    single = [path for path in weights if not _SHARD.search(PurePosixPath(path).stem)]
    if single:
        return single, found
    ending = f".safetensors.index.{found}.json" if found else ".safetensors.index.json"
    indexes = [path for path in inside if path.endswith(ending)]
    return [*indexes, *weights], found


def variant_of(path: str) -> str:
    """`unet/diffusion_pytorch_model.fp16.safetensors` is "fp16"; a plain one is ""."""
    match = _VARIANT.match(PurePosixPath(path).name)
    return match["variant"] if match else ""


def kind_of(index: Mapping[str, Any] | None, config: Mapping[str, Any] | None) -> str:
    """The class that the model's own description names."""
    if index is not None and isinstance(index.get("_class_name"), str):
        return str(index["_class_name"])
    names = (config or {}).get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def read_json(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
