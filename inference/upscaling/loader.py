"""Loads an upscaler from a file or a folder: RRDBNet, SRVGGNetCompact, or Swin2SR through Transformers."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bot.errors import ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints.resolve import require_safetensors
from inference.checkpoints.upscaler_layout import RRDB, UpscalerLayout, read_layout
from inference.memory.precision import can_compute, dtype_for
from inference.upscaling.networks import RRDBNet, SRVGGNetCompact, Swin2SR, build_network, receptive_radius

SWIN2SR = "Swin2SRForImageSuperResolution"


@dataclass
class LoadedUpscaler:
    """A network on its device.

    Attributes:
        multiple: sides of its input must be multiples of it.
        radius: how far a result pixel depends on its surroundings, in pixels of the small image; 0: as far as it likes.
        is_heavy: a tile takes a processor seconds.
    """

    network: nn.Module
    scale: int
    multiple: int
    radius: int
    is_heavy: bool
    device: str
    dtype: torch.dtype

    def enlarge(self, images: Tensor) -> Tensor:
        """Images in [0, 1], shape (n, 3, height, width), float32 on the CPU, to `scale` times the size, the same way.

        What overflows in half precision is computed in full precision, from then on.
        """
        enlarged = self._compute(images)
        if not torch.isfinite(enlarged).all() and self.dtype != torch.float32:
            self.dtype = torch.float32
            self.network.float()
            enlarged = self._compute(images)
        return enlarged.clamp(0, 1)

    def _compute(self, images: Tensor) -> Tensor:
        result: Tensor = self.network(images.to(self.device)).float().cpu()
        return result


def load_upscaler(model: ModelSpec, path: Path, device: str) -> LoadedUpscaler:
    """Raises: ModelUnavailable: it is no upscaler that is known, or damaged."""
    if path.is_dir():
        require_safetensors(model, path)
        if _class_name(path) == SWIN2SR:
            return _load_swin2sr(model, path, device)
        path = _only_file(model, path)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable(model.name, f"{path.name} cannot be read ({error})") from error
    layout = read_layout({name: list(tensor.shape) for name, tensor in weights.items()})
    if layout is None:
        raise ModelUnavailable(model.name, f"{path.name} is not an upscaler that Easel knows")
    try:
        network = build_network(layout, weights)
    except RuntimeError as error:
        raise ModelUnavailable(model.name, f"{path.name} lacks weights, or has others: {error}") from error
    return _on_device(model, network, layout, device)


def _on_device(
    model: ModelSpec, network: RRDBNet | SRVGGNetCompact, layout: UpscalerLayout, device: str
) -> LoadedUpscaler:
    dtype = _choose_dtype(model, device)
    network.to(device, dtype)
    network.last_layer.float()  # bfloat16 has too few levels for the pixels of an image
    return LoadedUpscaler(
        network=network,
        scale=layout.scale,
        multiple=layout.unshuffle,
        radius=receptive_radius(layout),
        is_heavy=layout.network == RRDB,
        device=device,
        dtype=dtype,
    )


def _load_swin2sr(model: ModelSpec, folder: Path, device: str) -> LoadedUpscaler:
    from transformers import Swin2SRForImageSuperResolution

    load: Callable[..., Any] = Swin2SRForImageSuperResolution.from_pretrained
    dtype = _choose_dtype(model, device)
    try:
        network = load(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelUnavailable(model.name, str(error)) from error
    config = network.config
    if config.num_channels != 3:
        raise ModelUnavailable(model.name, f"it is for images of {config.num_channels} channels")
    return LoadedUpscaler(
        network=Swin2SR(network.to(device).eval().requires_grad_(False)),
        scale=int(config.upscale),
        multiple=int(config.window_size),
        radius=0,
        is_heavy=True,
        device=device,
        dtype=dtype,
    )


def _choose_dtype(model: ModelSpec, device: str) -> torch.dtype:
    """By default float16 rather than bfloat16, which has too few levels for the pixels of an image."""
    dtype = dtype_for(model, device)
    is_free = model.dtype == "auto" and dtype == torch.bfloat16
    return torch.float16 if is_free and can_compute(torch.float16, device) else dtype


def _class_name(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text())
        return str(config["architectures"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _only_file(model: ModelSpec, folder: Path) -> Path:
    """Raises: ModelUnavailable: which of the folder's files is meant is not clear."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        names = ", ".join(file.name for file in files[:6])
        raise ModelUnavailable(model.name, f"{folder} has several files ({names}): set `file` to one of them")
    return files[0]
