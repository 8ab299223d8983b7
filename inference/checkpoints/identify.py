"""Identifies a model's folder or file by its configs and headers alone. Imports no torch and loads no weights.

All input is untrusted: sizes are limited before anything is read, and files that could run code are refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bot.errors import ModelRefused
from bot.memory.format_check import GGUF
from bot.model_install.addon_files import PEFT_CONFIG, read_adapter_config
from bot.model_install.gguf_header import GgufHeader, read_gguf_header
from bot.model_install.model_headers import DamagedModelFile, WeightsHeader, read_header, read_json_object
from bot.models import (
    DEPTH_ESTIMATION,
    GGUF_SUFFIX,
    IMAGE_SEGMENTATION,
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TEXT_TO_TEXT,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    IMAGE_UPSCALING,
    KEYPOINT_DETECTION,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
)
from bot.ports import CheckpointInfo
from inference.checkpoints import control_layout, gguf_layout, lora_layout, upscaler_layout
from inference.checkpoints.chat_families import FAMILY_BY_CLASS
from inference.checkpoints.file_filter import (
    CONFIG,
    INDEX,
    choose_variant,
    class_name_of,
    component_names,
    variant_of,
)
from inference.checkpoints.prequantized import read_prequantized

_CODE_SUFFIXES = (".py", ".pyc", ".so")
_IMAGE_TASKS = (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
_VISION_TASKS = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
_SD: Mapping[str, Any] = {"width": 512, "height": 512, "max_size": 1024, "steps": 25, "guidance_scale": 7.0}
_XL: Mapping[str, Any] = {"width": 1024, "height": 1024, "max_size": 1536, "steps": 30, "guidance_scale": 6.0}
_KLEIN: Mapping[str, Any] = {
    "width": 1024, "height": 1024, "max_size": 1536, "size_multiple": 16, "steps": 4, "guidance_scale": 1.0,
    "takes_guidance": False, "takes_negative": False, "dtype": "bfloat16",
}  # fmt: skip
_ZIMAGE: Mapping[str, Any] = {**_KLEIN, "steps": 8, "guidance_scale": 0.0}
_QWEN: Mapping[str, Any] = {**_KLEIN, "size_multiple": 32, "steps": 40, "max_images": 4}
_QWEN_EDIT: Mapping[str, Any] = {
    **_QWEN, "size_multiple": 16, "guidance_scale": 4.0, "takes_guidance": True, "takes_negative": True
}  # fmt: skip
_LCM: Mapping[str, Any] = {**_SD, "steps": 6, "guidance_scale": 8.0, "takes_negative": False}

PIPELINES: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "StableDiffusionPipeline": ("sd15", _IMAGE_TASKS, _SD),
    "LatentConsistencyModelPipeline": ("sd15", _IMAGE_TASKS, _LCM),
    "StableDiffusionXLPipeline": ("sdxl", _IMAGE_TASKS, _XL),
    "StableDiffusionInpaintPipeline": ("sd15", (IMAGE_TO_IMAGE,), _SD),
    "StableDiffusionXLInpaintPipeline": ("sdxl", (IMAGE_TO_IMAGE,), _XL),
    "Flux2KleinPipeline": ("flux2-klein", (TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), {**_KLEIN, "max_images": 4}),
    "Flux2KleinKVPipeline": ("flux2-klein", (TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), {**_KLEIN, "max_images": 4}),
    "Krea2Pipeline": ("krea2", (TEXT_TO_IMAGE,), {**_KLEIN, "steps": 8, "guidance_scale": 0.0}),
    "QwenImage21Pipeline": ("qwen-image-21", (TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), _QWEN),
    "QwenImageEditPlusPipeline": ("qwen-image", (IMAGE_TEXT_TO_IMAGE,), _QWEN_EDIT),
    "ErnieImagePipeline": ("ernie-image", (TEXT_TO_IMAGE,), {**_KLEIN, "steps": 8}),
    "ZImagePipeline": ("z-image", _IMAGE_TASKS, _ZIMAGE),
    "StableDiffusionInstructPix2PixPipeline": ("pix2pix", (IMAGE_TEXT_TO_IMAGE,), {**_SD, "max_size": 768}),
}
"""Tested pipelines: family, tasks and suitable settings by class name."""

_VISION_CLASSES = {
    "Blip2ForConditionalGeneration": ("blip2", _VISION_TASKS),
    "Blip2ForImageTextRetrieval": ("blip2", (ZERO_SHOT_IMAGE_CLASSIFICATION,)),
}
_CHAT_TASKS = (IMAGE_TEXT_TO_TEXT, *_VISION_TASKS)
_CHAT: Mapping[str, Any] = {
    "dtype": "bfloat16", "max_new_tokens": 80, "max_answer_tokens": 256, "activation_mb": 2000, "step_s": 0.03,
    "overhead_s": 0.5, "cpu_step_s": 1.0,
}  # fmt: skip
_MAP_CLASSES = {
    "DepthAnythingForDepthEstimation": ("depth-anything", DEPTH_ESTIMATION),
    "DPTForDepthEstimation": ("dpt", DEPTH_ESTIMATION),
    "VitPoseForPoseEstimation": ("vitpose", KEYPOINT_DETECTION),
}
"""Models that make control maps."""
_MAP: Mapping[str, Any] = {"step_s": 0.1, "overhead_s": 0.1, "cpu_step_s": 2.0}
_PERSON_DETECTOR = "PekingU/rtdetr_r18vd_coco_o365"
_DETECTOR = "IDEA-Research/grounding-dino-tiny"
_SEGMENTER: Mapping[str, Any] = {"step_s": 0.2, "overhead_s": 0.1, "cpu_step_s": 2.0}
_SEGMENTERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "CLIPSegForImageSegmentation": ("clipseg", _SEGMENTER),
    "GroundingDinoForObjectDetection": ("grounding-dino", _SEGMENTER),
    "Sam2Model": ("sam2", {**_SEGMENTER, "detector": _DETECTOR}),
    "Sam2VideoModel": ("sam2", {**_SEGMENTER, "detector": _DETECTOR}),
    "Sam3LiteTextModel": ("sam3", _SEGMENTER),
}
"""Models that make masks of texts: family and suitable settings by class name."""
_UPSCALER_CLASSES = ("Swin2SRForImageSuperResolution", upscaler_layout.RRDB, upscaler_layout.COMPACT)
_UPSCALER: Mapping[str, Any] = {"width": 1024, "height": 1024, "min_size": 1, "max_size": 16_000, "size_multiple": 1}
"""The size is that of a result, for prices until the first is measured."""


def identify_class(class_name: str) -> CheckpointInfo:
    """Identify a model by the class name in its index or config."""
    if class_name in PIPELINES:
        family, tasks, defaults = PIPELINES[class_name]
        return CheckpointInfo(
            kind="diffusers", class_name=class_name, family=family, tasks=tasks, defaults=dict(defaults)
        )
    if class_name in _VISION_CLASSES:
        family, tasks = _VISION_CLASSES[class_name]
        return CheckpointInfo(kind="blip2", class_name=class_name, family=family, tasks=tasks)
    if class_name in FAMILY_BY_CLASS:
        family = FAMILY_BY_CLASS[class_name]
        return CheckpointInfo(
            kind="chat", class_name=class_name, family=family, tasks=_CHAT_TASKS, defaults=dict(_CHAT)
        )
    if class_name in _MAP_CLASSES:
        family, task = _MAP_CLASSES[class_name]
        defaults = {**_MAP, **({"detector": _PERSON_DETECTOR} if task == KEYPOINT_DETECTION else {})}
        return CheckpointInfo(kind="map", class_name=class_name, family=family, tasks=(task,), defaults=defaults)
    if class_name in _SEGMENTERS:
        family, defaults = _SEGMENTERS[class_name]
        return CheckpointInfo(
            kind="segmenter",
            class_name=class_name,
            family=family,
            tasks=(IMAGE_SEGMENTATION,),
            defaults=dict(defaults),
        )
    if class_name in _UPSCALER_CLASSES:
        return CheckpointInfo(
            kind="upscaler", class_name=class_name, tasks=(IMAGE_UPSCALING,), defaults=dict(_UPSCALER)
        )
    if class_name in control_layout.CLASSES:
        return CheckpointInfo(kind="control", class_name=control_layout.CLASSES[class_name])
    if class_name.endswith("ForImageClassification"):
        return CheckpointInfo(kind="classifier", class_name=class_name)
    if class_name.endswith("Pipeline"):
        # Another pipeline that AutoPipeline may know as text-to-image: loading it will tell.
        return CheckpointInfo(kind="diffusers", class_name=class_name, tasks=(TEXT_TO_IMAGE,), defaults=dict(_SD))
    return CheckpointInfo(kind="unknown", class_name=class_name, reason=class_name or "it names no class")


def identify_path(path: Path) -> CheckpointInfo:
    """Identify a folder in Diffusers' or Transformers' layout, or one `.safetensors` or `.gguf` file.

    Raises: ModelRefused: it is damaged, could run code, or contains no safetensors.
    """
    if path.is_file():
        return _identify_file(path)
    if not path.is_dir():
        raise ModelRefused(path.name, "damaged", detail="it is neither a file nor a folder")
    return _identify_folder(path)


def _identify_folder(folder: Path) -> CheckpointInfo:
    index, config = _read_config(folder / INDEX), _read_config(folder / CONFIG)
    if index is None and config is None:
        raise ModelRefused(str(folder), "damaged", detail=f"it has neither {INDEX} nor {CONFIG}")
    if code := next((path.name for path in folder.rglob("*") if path.suffix in _CODE_SUFFIXES), ""):
        raise ModelRefused(str(folder), "damaged", detail=f"it contains code ({code}), which is refused")
    weights = [path for path in folder.rglob("*.safetensors") if path.is_file()]
    if not weights:
        raise ModelRefused(str(folder), "damaged", detail="it contains no safetensors; other formats are not loaded")
    for path in weights:
        _read_header(path)
    for path in folder.glob("*/*config.json"):
        _read_config(path)
    info = identify_class(class_name_of(index, config))
    if info.kind == "control":
        info = identify_shapes({name: shape for path in weights for name, shape in _read_header(path).shapes.items()})
    size = sum(path.stat().st_size for path in weights)
    info = replace(info, prequantized=read_prequantized(folder).method)
    return _with_size(info, size, _find_variant(folder, weights, index))


def _find_variant(folder: Path, weights: Iterable[Path], index: Mapping[str, Any] | None) -> str:
    """Raises: ModelRefused: its components have no variant in common."""
    names = component_names(index) if index is not None else [""]
    parents = {name: folder / name for name in names}
    found = {
        name: {variant_of(path.name) for path in weights if path.parent == parent} for name, parent in parents.items()
    }
    variant = choose_variant(found.values())
    if variant is None:
        parts = ", ".join(f"{name}: {max(variants)}" for name, variants in found.items() if variants)
        raise ModelRefused(folder.name, "damaged", detail=f"its parts are of different variants ({parts})")
    return variant


def _with_size(info: CheckpointInfo, size: int, variant: str = "") -> CheckpointInfo:
    return CheckpointInfo(**{**vars(info), "size_mb": -(-size // 2**20), "variant": variant})


def _read_config(path: Path) -> dict[str, Any] | None:
    """None when the file does not exist. Raises: ModelRefused."""
    try:
        return read_json_object(path)
    except FileNotFoundError:
        return None
    except (OSError, DamagedModelFile) as error:
        raise _refusal(path, error) from error


def _read_header(path: Path) -> WeightsHeader:
    """Raises: ModelRefused."""
    try:
        return read_header(path)
    except (OSError, DamagedModelFile) as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> ModelRefused:
    problem = str(error) if isinstance(error, DamagedModelFile) else "cannot be read"
    return ModelRefused(f"{path.parent.name}/{path.name}", "damaged", detail=f"it {problem}")


def _identify_file(path: Path) -> CheckpointInfo:
    if path.suffix == GGUF_SUFFIX:
        return _with_size(identify_gguf(_read_gguf_header(path), path.name), path.stat().st_size)
    if path.suffix != ".safetensors":
        raise ModelRefused(path.name, "damaged", detail="only .safetensors and .gguf files can be loaded")
    header = _read_header(path)
    info = identify_shapes(header.shapes, header.metadata)
    if info.kind == "lora" and info.family in lora_layout.TRANSFORMER_FAMILIES and _is_scaled_by_peft(path):
        info = replace(info, reason=f"has its scale in {PEFT_CONFIG}, which Easel reads for Stable Diffusion only")
    return _with_size(info, path.stat().st_size)


def _read_gguf_header(path: Path) -> GgufHeader:
    """Raises: ModelRefused."""
    try:
        return read_gguf_header(path)
    except (OSError, DamagedModelFile) as error:
        raise _refusal(path, error) from error


def identify_gguf(header: GgufHeader, name: str) -> CheckpointInfo:
    """Identify a `.gguf` file of this name by its header; its other components come from `base_model`."""
    layout = gguf_layout.read_gguf_layout(header.shapes, header.metadata, name)
    if layout.problem:
        return CheckpointInfo(kind="unknown", reason=layout.problem)
    info = identify_class(layout.pipeline_class)
    return replace(info, kind="gguf", prequantized=GGUF, defaults={**info.defaults, "base_model": layout.base_model})


def _is_scaled_by_peft(path: Path) -> bool:
    config = read_adapter_config(path)
    return config.get("lora_alpha") != config.get("r") or bool(config.get("use_rslora") or config.get("alpha_pattern"))


def identify_shapes(
    shapes: Mapping[str, list[int]], metadata: Mapping[str, str] = MappingProxyType({})
) -> CheckpointInfo:
    """Identify one file by the shapes of its tensors."""
    if lora_layout.is_lora(shapes):
        layout = lora_layout.read_layout(shapes, metadata)
        return CheckpointInfo(kind="lora", family=layout.family, reason=layout.problem)
    if (control := control_layout.read_control_layout(shapes)) is not None:
        return CheckpointInfo(kind="control", class_name=control.class_name, family=control.family)
    if (upscaler := upscaler_layout.read_layout(shapes)) is not None:
        return identify_class(upscaler.network)
    if _is_inversion(shapes):
        return _inversion_info(shapes)
    family = _checkpoint_family(shapes)
    if family not in _SINGLE_FILE_PIPELINES:
        return CheckpointInfo(
            kind="unknown", family=family, reason=f"single file of {_FAMILY_NAMES.get(family, 'an unknown family')}"
        )
    channels = shapes.get(_FIRST_LAYER, [])[1:2]
    if channels not in ([], [_LATENT_CHANNELS], [_INPAINTING_CHANNELS]):
        return CheckpointInfo(kind="unknown", family=family, reason="model for image editing")
    if missing := _missing_parts(shapes):
        return CheckpointInfo(kind="unknown", family=family, reason=f"model without its {' and '.join(missing)}")
    is_inpainting = channels == [_INPAINTING_CHANNELS]
    class_name = (_SINGLE_FILE_INPAINTING if is_inpainting else _SINGLE_FILE_PIPELINES)[family]
    tasks, defaults = PIPELINES[class_name][1:]
    return CheckpointInfo(
        kind="single-file",
        class_name=class_name,
        family=family,
        tasks=tasks,
        defaults=dict(defaults),
    )


_SINGLE_FILE_PIPELINES = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
_SINGLE_FILE_INPAINTING = {"sd15": "StableDiffusionInpaintPipeline", "sdxl": "StableDiffusionXLInpaintPipeline"}
"""Pipelines of the families whose complete models can be loaded from one file; for inpainting, if the denoiser also
takes the mask and the masked image."""
_FAMILY_NAMES = {"sd21": "Stable Diffusion 2"}
_FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
_LATENT_CHANNELS, _INPAINTING_CHANNELS = 4, 9
_FAMILY_BY_WIDTH = {192: "starter", 768: "sd15", 1024: "sd21", 1280: "sdxl"}
"""By the width of a text encoder's embeddings."""
_MAX_VECTORS = 75
"""Vectors of a textual inversion: as many tokens as fit in a prompt."""
_A1111_TENSORS = {"emb_params", "clip_l", "clip_g"}
_CLIP_WIDTHS = {"clip_l": 768, "clip_g": 1280}
_CROSS_ATTENTION_KEY = "attn2.to_k.weight"


def _inversion_info(shapes: Mapping[str, list[int]]) -> CheckpointInfo:
    shapes = {name: shapes[name] for name in inversion_tensors(shapes)}
    shape = next(iter(shapes.values()))
    family = "sdxl" if "clip_g" in shapes else _FAMILY_BY_WIDTH.get(_embedding_width(shapes), "")
    problem = ""
    if not all(1 <= len(shape) <= 2 and all(shape) for shape in shapes.values()):
        problem = "is not a textual inversion of a known form"
    elif any(len(shape) == 2 and shape[0] > _MAX_VECTORS for shape in shapes.values()):
        problem = f"has more than {_MAX_VECTORS} vectors, which do not fit in a prompt"
    elif odd := next((name for name, width in _CLIP_WIDTHS.items() if shapes.get(name, [width])[-1] != width), ""):
        problem = f"is damaged: its {odd} is not {_CLIP_WIDTHS[odd]} wide"
    elif not family:
        problem = f"is for a text encoder of an unknown width ({shape[-1]})"
    tokens = tuple(name for name in shapes if name not in _A1111_TENSORS and len(shapes) == 1)
    return CheckpointInfo(kind="inversion", family=family, reason=problem, spellings=tokens)


def inversion_tensors(names: Iterable[str]) -> list[str]:
    """The names of the tensors with its vectors; others, such as a training step, mean nothing."""
    every = list(names)
    return [name for name in every if name in _A1111_TENSORS] or every


def _embedding_width(shapes: Mapping[str, list[int]]) -> int:
    first = next(iter(shapes.values()))
    return first[-1] if first else 0


def _is_inversion(shapes: Mapping[str, list[int]]) -> bool:
    """In the format of A1111, or of Diffusers: a few vectors for one token of any name."""
    if _A1111_TENSORS & set(shapes):
        return True
    (shape,) = shapes.values() if len(shapes) == 1 else ([],)
    return 1 <= len(shape) <= 2 and shape[-1] in _FAMILY_BY_WIDTH and (len(shape) == 1 or shape[0] <= _MAX_VECTORS)


def _missing_parts(shapes: Mapping[str, list[int]]) -> list[str]:
    """What a complete model has besides the denoiser."""
    parts = {"text encoder": ("cond_stage_model.", "conditioner."), "VAE": ("first_stage_model.",)}
    return [part for part, prefixes in parts.items() if not any(name.startswith(prefixes) for name in shapes)]


def _checkpoint_family(shapes: Mapping[str, list[int]]) -> str:
    """Of Stable Diffusion's original layout, by the width of the text embeddings that the first block reads."""
    if "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight" in shapes:
        return "sdxl"
    for name, shape in shapes.items():
        if name.startswith("model.diffusion_model.") and name.endswith(_CROSS_ATTENTION_KEY) and len(shape) == 2:
            return {768: "sd15", 1024: "sd21", 2048: "sdxl"}.get(shape[1], "")
    return ""
