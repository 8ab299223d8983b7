"""What a model's folder or file is, by its descriptions and headers alone. Imports no torch, loads nothing.

Everything here comes from strangers: sizes are bounded before anything is read, and what could run code is refused.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bot.errors import ModelRefused
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
)
from bot.ports import Kind
from inference.checkpoints.file_filter import CONFIG, INDEX, kind_of, variant_of

_MAX_JSON = 8 * 2**20
_MAX_HEADER = 100 * 2**20
_LFS = b"version https://git-lfs"
_CODE = (".py", ".pyc", ".so")
_BOTH = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
_SEES = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
_SD: Mapping[str, Any] = {"width": 512, "height": 512, "max_size": 1024, "steps": 25, "guidance_scale": 7.0}
_XL: Mapping[str, Any] = {"width": 1024, "height": 1024, "max_size": 1536, "steps": 30, "guidance_scale": 6.0}
_KLEIN: Mapping[str, Any] = {
    "width": 1024, "height": 1024, "max_size": 1536, "size_multiple": 16, "steps": 4, "guidance_scale": 1.0,
    "takes_guidance": False, "takes_negative": False, "dtype": "bfloat16",
}  # fmt: skip
_ZIMAGE: Mapping[str, Any] = {**_KLEIN, "steps": 9, "guidance_scale": 0.0}
_LCM: Mapping[str, Any] = {**_SD, "steps": 6, "guidance_scale": 8.0, "takes_negative": False}

PIPELINES: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "StableDiffusionPipeline": ("sd15", _BOTH, _SD),
    "LatentConsistencyModelPipeline": ("sd15", _BOTH, _LCM),
    "StableDiffusionXLPipeline": ("sdxl", _BOTH, _XL),
    "Flux2KleinPipeline": ("flux2-klein", (TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), {**_KLEIN, "max_images": 4}),
    "ZImagePipeline": ("z-image", _BOTH, _ZIMAGE),
    "StableDiffusionInstructPix2PixPipeline": ("pix2pix", (IMAGE_TEXT_TO_IMAGE,), {**_SD, "max_size": 768}),
}
"""Pipelines that were tried: their family, tasks, and settings that suit them."""

_SEEING = {
    "Blip2ForConditionalGeneration": ("blip2", _SEES),
    "Blip2ForImageTextRetrieval": ("blip2", (ZERO_SHOT_IMAGE_CLASSIFICATION,)),
}


def of_class(class_name: str) -> Kind:
    """By the name that an index or config gives."""
    if class_name in PIPELINES:
        family, tasks, defaults = PIPELINES[class_name]
        return Kind(kind="diffusers", class_name=class_name, family=family, tasks=tasks, defaults=dict(defaults))
    if class_name in _SEEING:
        family, tasks = _SEEING[class_name]
        return Kind(kind="blip2", class_name=class_name, family=family, tasks=tasks)
    if class_name.endswith("ForImageClassification"):
        return Kind(kind="classifier", class_name=class_name)
    if class_name.endswith("Pipeline"):
        # What AutoPipeline knows besides: text to image, tried when it is loaded.
        return Kind(kind="diffusers", class_name=class_name, tasks=(TEXT_TO_IMAGE,), defaults=dict(_SD))
    return Kind(kind="unknown", class_name=class_name, reason=class_name or "it does not say what it is")


def recognise(path: Path) -> Kind:
    """A folder in Diffusers' or Transformers' layout, or one `.safetensors` file.

    Raises: ModelRefused: it is damaged, could run code, or holds no safetensors.
    """
    return _of_file(path) if path.is_file() else _of_folder(path)


def _of_folder(folder: Path) -> Kind:
    index, config = _json(folder / INDEX), _json(folder / CONFIG)
    if index is None and config is None:
        raise ModelRefused(str(folder), "damaged", detail=f"it has neither {INDEX} nor {CONFIG}")
    if code := next((one.name for one in folder.rglob("*") if one.suffix in _CODE), ""):
        raise ModelRefused(str(folder), "damaged", detail=f"it brings code of its own ({code}), which is refused")
    weights = [one for one in folder.rglob("*.safetensors") if one.is_file()]
    if not weights:
        raise ModelRefused(str(folder), "damaged", detail="it holds no safetensors, and nothing else is loaded")
    for one in weights:
        _header(one)
    found = of_class(kind_of(index, config))
    size = sum(one.stat().st_size for one in weights)
    variants = {variant_of(one.name) for one in weights}
    variant = "" if "" in variants else max(variants)
    return _with(found, size, variant)


def _with(kind: Kind, size: int, variant: str = "") -> Kind:
    return Kind(**{**vars(kind), "size_mb": -(-size // 2**20), "variant": variant})


def _json(path: Path) -> dict[str, Any] | None:
    """None when it is not there. Raises: ModelRefused."""
    try:
        if path.stat().st_size > _MAX_JSON:
            raise ModelRefused(str(path), "damaged", detail="it is far too long")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelRefused(str(path), "damaged", detail="it is not readable JSON") from error
    return found if isinstance(found, dict) else {}


def _header(path: Path) -> dict[str, list[int]]:
    """Each tensor's shape. Raises: ModelRefused."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise ModelRefused(path.name, "damaged", detail="it is only a pointer: fetch it with `git lfs pull`")
            file.seek(0)
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _MAX_HEADER):
                raise ModelRefused(path.name, "damaged", detail="it is cut short, or no safetensors file")
            header = json.loads(file.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        ends = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        shapes = {name: [int(side) for side in entry["shape"]] for name, entry in tensors.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise ModelRefused(path.name, "damaged", detail="it is no safetensors file") from error
    if 8 + length + ends != size:
        raise ModelRefused(path.name, "damaged", detail="it is cut short")
    return shapes


def _of_file(path: Path) -> Kind:
    if path.suffix != ".safetensors":
        raise ModelRefused(path.name, "damaged", detail="only .safetensors files are loaded")
    return _with(of_shapes(_header(path)), path.stat().st_size)


def of_shapes(shapes: Mapping[str, list[int]]) -> Kind:
    """One file, by the shapes of its tensors."""
    if _is_lora(shapes):
        return Kind(kind="lora", family=_lora_family(shapes))
    if _is_inversion(shapes):
        return Kind(kind="inversion", family="sdxl" if "clip_g" in shapes else _WIDTHS.get(_width(shapes), ""))
    family = _single_family(shapes)
    if family not in _WHOLE:
        return Kind(
            kind="unknown", family=family, reason=f"single file of {_FAMILIES.get(family, 'an unknown family')}"
        )
    channels = shapes.get(_FIRST, [])[1:2]
    if channels not in ([], [_LATENTS]):
        return Kind(kind="unknown", family=family, reason="model for inpainting, or of pictures to start from")
    tasks, defaults = PIPELINES[_WHOLE[family]][1:]
    return Kind(kind="single-file", class_name=_WHOLE[family], family=family, tasks=tasks, defaults=dict(defaults))


_WHOLE = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
"""Families whose whole models are loaded from one file: their pipelines."""
_FAMILIES = {"sd21": "Stable Diffusion 2"}
_FIRST, _LATENTS = "model.diffusion_model.input_blocks.0.0.weight", 4
_WIDTHS = {768: "sd15", 1024: "sd21", 1280: "sdxl"}
"""Of a text encoder's words, by family."""
_MOST_VECTORS = 75
"""Of an inversion: what a prompt has room for."""
_CONTEXT = "attn2.to_k.weight"


def _width(shapes: Mapping[str, list[int]]) -> int:
    first = next(iter(shapes.values()))
    return first[-1] if first else 0


def _is_inversion(shapes: Mapping[str, list[int]]) -> bool:
    """As A1111 saves them, or as Diffusers does: a few vectors for one word of any name."""
    if {"emb_params", "clip_l", "clip_g"} & set(shapes):
        return True
    (shape,) = shapes.values() if len(shapes) == 1 else ([],)
    return 1 <= len(shape) <= 2 and shape[-1] in _WIDTHS and (len(shape) == 1 or shape[0] <= _MOST_VECTORS)


def _is_lora(shapes: Mapping[str, list[int]]) -> bool:
    marks = (".lora_down.", ".lora_up.", ".lora_A.", ".lora_B.", ".lora.down.", ".lora.up.", "lora_linear_layer")
    return any(mark in name for name in shapes for mark in marks)


def _lora_family(shapes: Mapping[str, list[int]]) -> str:
    """By how wide the words are that its cross attention reads."""
    if any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in shapes):
        return "sdxl"
    downs = (".lora_down.", ".lora_A.", ".lora.down.")
    for name, shape in shapes.items():
        is_context = "attn2" in name and ("to_k" in name or "to_v" in name)
        if is_context and any(mark in name for mark in downs) and len(shape) >= 2:
            return {768: "sd15", 1024: "sd21", 2048: "sdxl"}.get(shape[1], "")
    return ""


def _single_family(shapes: Mapping[str, list[int]]) -> str:
    """The original layout of Stable Diffusion's checkpoints, by the width of the words that its first block reads."""
    if "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight" in shapes:
        return "sdxl"
    for name, shape in shapes.items():
        if name.startswith("model.diffusion_model.") and name.endswith(_CONTEXT) and len(shape) == 2:
            return {768: "sd15", 1024: "sd21", 2048: "sdxl"}.get(shape[1], "")
    return ""
