"""Reads from the shapes of a file's tensors what kind of control weights it holds, and for which models.

Imports no torch.

Programs name the same ControlNet differently: Diffusers (`controlnet_cond_embedding...`), and the original programs
(`input_hint_block...`, with or without `control_model.`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.errors import ModelUnavailable
from bot.model_install.model_headers import DamagedModelFile, read_tensor_shapes
from inference.checkpoints.file_filter import CONFIG

Shapes = Mapping[str, list[int]]

CONTROLNET, UNION, T2I_ADAPTER, Z_IMAGE, IP_ADAPTER = (
    "ControlNetModel",
    "ControlNetUnionModel",
    "T2IAdapter",
    "ZImageControlNetModel",
    "IPAdapter",
)
"""Kinds of control weights, by Diffusers' class; it has none for IP-Adapters."""
CLASSES: Mapping[str, str] = {
    **{name: name for name in (CONTROLNET, UNION, T2I_ADAPTER, Z_IMAGE)},
    "ControlNetModel_Union": UNION,
}
"""Kinds by the class names in configs."""
ORIGINAL_PREFIX = "control_model."
_TEXT_KEYS = ("attn2.to_k.weight", "to_k_ip.weight")
_FAMILY_BY_TEXT_WIDTH = {192: "starter", 768: "sd15", 1024: "sd21", 2048: "sdxl"}
_FAMILY_BY_UNSHUFFLED = {64: "sd15", 192: "sd15", 256: "sdxl", 768: "sdxl"}
"""T2I-Adapters, by the channels of an image whose pixels were gathered 8 x 8 or 16 x 16."""
_ORIGINAL_MAP_CHANNELS = (16, 32, 96, 256)


@dataclass(frozen=True, kw_only=True)
class ControlLayout:
    """Attributes:
    class_name: one of the kinds above.
    family: "sd15", "sd21", "sdxl", "z-image", "starter"; empty: unknown.
    is_original: a ControlNet in the layout of the original programs.
    map_channels: of a ControlNet's layers for the map; each but the first halves it.
    map_inputs: channels of the map itself.
    latent_channels: of the latents that a ControlNet takes.
    modes: kinds of control that a union knows; 0: not a union.
    """

    class_name: str
    family: str = ""
    is_original: bool = False
    map_channels: tuple[int, ...] = ()
    map_inputs: int = 3
    latent_channels: int = 4
    modes: int = 0


def read_control_layout(shapes: Shapes) -> ControlLayout | None:
    """None: these are not the weights of a control."""
    names = {name.removeprefix(ORIGINAL_PREFIX) for name in shapes}
    if any(name.startswith("ip_adapter.") for name in names):
        return ControlLayout(class_name=IP_ADAPTER, family=_text_family(shapes))
    if any(name.startswith("control_layers.") for name in names):
        return ControlLayout(class_name=Z_IMAGE, family="z-image")
    if "controlnet_cond_embedding.conv_in.weight" in names:
        return _diffusers_controlnet(shapes)
    if "input_hint_block.0.weight" in names:
        plain = {name.removeprefix(ORIGINAL_PREFIX): shape for name, shape in shapes.items()}
        return ControlLayout(
            class_name=CONTROLNET,
            family=_text_family(shapes),
            is_original=True,
            map_channels=_ORIGINAL_MAP_CHANNELS,
            map_inputs=_size(plain, "input_hint_block.0.weight", 1, 3),
            latent_channels=_size(plain, "input_blocks.0.0.weight", 1, 4),
        )
    if any(name.startswith("adapter.body.0.") for name in names):
        return _t2i_adapter(shapes)
    return None


def _diffusers_controlnet(shapes: Shapes) -> ControlLayout:
    prefix = "controlnet_cond_embedding."
    blocks = sum(1 for name in shapes if name.startswith(f"{prefix}blocks.") and name.endswith(".weight"))
    widened = (_size(shapes, f"{prefix}blocks.{index}.weight", 0, 0) for index in range(1, blocks, 2))
    return ControlLayout(
        class_name=UNION if "task_embedding" in shapes else CONTROLNET,
        family=_text_family(shapes),
        map_channels=(_size(shapes, f"{prefix}conv_in.weight", 0, 0), *widened),
        map_inputs=_size(shapes, f"{prefix}conv_in.weight", 1, 3),
        latent_channels=_size(shapes, "conv_in.weight", 1, 4),
        modes=_size(shapes, "task_embedding", 0, 0),
    )


def _t2i_adapter(shapes: Shapes) -> ControlLayout:
    first = "adapter.conv_in.weight" if "adapter.conv_in.weight" in shapes else "adapter.body.0.in_conv.weight"
    return ControlLayout(class_name=T2I_ADAPTER, family=_FAMILY_BY_UNSHUFFLED.get(_size(shapes, first, 1, 0), ""))


def _text_family(shapes: Shapes) -> str:
    """By the width of the text embeddings that its attention reads."""
    for name, shape in shapes.items():
        if name.endswith(_TEXT_KEYS) and len(shape) == 2:
            return _FAMILY_BY_TEXT_WIDTH.get(shape[1], "")
    return ""


def _size(shapes: Shapes, name: str, axis: int, default: int) -> int:
    shape = shapes.get(name, [])
    return shape[axis] if len(shape) > axis else default


# ---------------------------------------------------------------- files


@dataclass(frozen=True, kw_only=True)
class ControlFiles:
    """Control weights on the disk. `config`: of Diffusers, empty for a file that has none beside it."""

    path: Path
    weights: tuple[Path, ...]
    layout: ControlLayout
    config: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.stat().st_size for file in self.weights)


def read_control_files(path: Path, model: str) -> ControlFiles:
    """Raises: ModelUnavailable: there are no control weights as safetensors."""
    folder = path if path.is_dir() else path.parent
    weights = _weights_in(path) if path.is_dir() else ((path,) if path.suffix == ".safetensors" else ())
    if not all(file.is_file() for file in weights) or not weights:
        raise ModelUnavailable(model, f"{path} contains no safetensors")
    try:
        shapes = {name: shape for file in weights for name, shape in read_tensor_shapes(file).items()}
    except (OSError, DamagedModelFile) as error:
        raise ModelUnavailable(model, f"{path} is damaged: {error}") from error
    layout = read_control_layout(shapes)
    if layout is None:
        raise ModelUnavailable(model, f"{path} is no ControlNet, T2I-Adapter or IP-Adapter that Easel knows")
    return ControlFiles(path=path, weights=weights, layout=layout, config=_read_config(folder / CONFIG))


def _weights_in(folder: Path) -> tuple[Path, ...]:
    """The plain weights of a folder, else those of its half-precision variant."""
    files = sorted(folder.glob("*.safetensors"))
    plain = [file for file in files if ".fp16" not in file.name]
    return tuple(plain or files)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
