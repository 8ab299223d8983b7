"""Loads the weights of controls: ControlNets, T2I-Adapters, unions of several; safetensors only, no remote code.

Whether they fit the loaded model is decided by their configs and shapes before any weights are read.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import load_file

from inference.checkpoints.control_layout import (
    CONTROLNET,
    IP_ADAPTER,
    T2I_ADAPTER,
    UNION,
    Z_IMAGE,
    ControlFiles,
    ControlLayout,
)
from inference.diffusion.lora import base_model_family

UNION_MODES: Mapping[str, int] = {"pose": 0, "depth": 1, "scribble": 2, "canny": 3, "lineart": 3, "tile": 6}
"""Number of each kind in SDXL's union ControlNets. Source: the model card of xinsir/controlnet-union-sdxl-1.0."""
_COMPARED = ("block_out_channels", "layers_per_block", "cross_attention_dim", "addition_embed_type")
"""Settings of a ControlNet that must equal those of its UNet."""


def misfit(files: ControlFiles, kind: str, pipeline: Any) -> str:
    """Why the weights cannot serve this kind for the pipeline, for the owner; empty: they can."""
    layout, family = files.layout, base_model_family(pipeline)
    if layout.class_name == IP_ADAPTER:
        return "it is an IP-Adapter, which serves references"
    if layout.family and family and layout.family != family:
        return f"it is for {layout.family}, not for {family}"
    if layout.class_name == Z_IMAGE:
        return "" if hasattr(pipeline, "transformer") else "it is for Z-Image"
    unet = getattr(pipeline, "unet", None)
    if unet is None:
        return "it is for Stable Diffusion"
    if layout.class_name == T2I_ADAPTER:
        return _adapter_misfit(files.config, unet.config)
    if layout.class_name == UNION and UNION_MODES[kind] >= layout.modes:
        return f"it does not know {kind}"
    return _controlnet_misfit(files, pipeline)


def _controlnet_misfit(files: ControlFiles, pipeline: Any) -> str:
    layout, unet = files.layout, pipeline.unet.config
    factor = 2 ** (len(layout.map_channels) - 1)
    if factor != pipeline.vae_scale_factor:
        return f"it reduces maps {factor} times, but the model's autoencoder {pipeline.vae_scale_factor} times"
    if layout.latent_channels not in (unet.in_channels, pipeline.vae.config.latent_channels):
        return f"it takes {layout.latent_channels} channels of latents"
    for name in _COMPARED:
        own, needed = files.config.get(name), unet.get(name)
        if name in files.config and _as_list(own, unet) != _as_list(needed, unet):
            return f"its {name} is {own}, but the model's is {needed}"
    return ""


def _adapter_misfit(config: Mapping[str, Any], unet: Mapping[str, Any]) -> str:
    if not config:
        return "it has no config.json beside it"
    own, needed = list(config.get("channels", ())), list(unet["block_out_channels"])
    return "" if own == needed[: len(own)] else f"its channels are {own}, but the model's are {needed}"


def _as_list(value: Any, unet: Mapping[str, Any]) -> Any:
    """A number stands for each block."""
    if isinstance(value, int):
        return [value] * len(unet["block_out_channels"])
    return list(value) if isinstance(value, tuple | list) else value


def load_control(files: ControlFiles, pipeline: Any, dtype: torch.dtype) -> torch.nn.Module:
    """The module, in main memory. Raises: many types, if the weights do not fit."""
    layout = files.layout
    if files.path.is_dir() and not layout.is_original and files.config:
        variant = {"variant": "fp16"} if all(".fp16" in file.name for file in files.weights) else {}
        module = getattr(diffusers, layout.class_name).from_pretrained(
            files.path, dtype=dtype, use_safetensors=True, local_files_only=True, **variant
        )
    else:
        module = _load_weights(files, pipeline).to(dtype)
    if layout.class_name == Z_IMAGE:
        module = type(module).from_transformer(module, pipeline.transformer)
    loaded: torch.nn.Module = module.eval().requires_grad_(False)
    return loaded


def _load_weights(files: ControlFiles, pipeline: Any) -> torch.nn.Module:
    """From files without a config of their class: its settings are the UNet's, or stand in another folder's config."""
    weights: dict[str, torch.Tensor] = {}
    for file in files.weights:
        weights |= load_file(file)
    kind = getattr(diffusers, files.layout.class_name)
    config = dict(files.config)
    if files.layout.class_name in (CONTROLNET, UNION):
        if not str(config.get("_class_name")).startswith("ControlNet"):
            config = _config_like_unet(kind, files.layout, pipeline.unet.config)
        if files.layout.modes:
            config["num_control_type"] = files.layout.modes
    if files.layout.is_original:
        weights = convert_controlnet_checkpoint(weights, config)
    with torch.device("meta"):
        module: torch.nn.Module = kind.from_config(config)
    module.load_state_dict(weights, assign=True)
    return module


def _config_like_unet(kind: Any, layout: ControlLayout, unet: Mapping[str, Any]) -> dict[str, Any]:
    accepted = inspect.signature(kind.__init__).parameters
    own = {
        "in_channels": layout.latent_channels,
        "conditioning_channels": layout.map_inputs,
        "conditioning_embedding_out_channels": layout.map_channels,
    }
    return {name: value for name, value in unet.items() if name in accepted} | own
