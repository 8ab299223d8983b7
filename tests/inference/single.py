"""Complete tiny models in one file, with the weight names of Stable Diffusion's original code."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from inference.diffusion import single_file

UNET, VAE = "model.diffusion_model.", "first_stage_model."
SMALL: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {
        "unet": {
            "block_out_channels": [32, 32], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "layers_per_block": 1,
        },
        "text_encoder": {"num_hidden_layers": 1, "intermediate_size": 32},
    },
    "sdxl": {
        "unet": {
            "block_out_channels": [32, 32], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 1, "attention_head_dim": [2, 2],
            "transformer_layers_per_block": [1, 1], "cross_attention_dim": 160, "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 144,
        },
        "text_encoder": {"num_hidden_layers": 1, "intermediate_size": 32, "hidden_size": 64, "projection_dim": 64},
        "text_encoder_2": {"num_hidden_layers": 2, "intermediate_size": 32, "hidden_size": 96, "projection_dim": 96},
    },
}  # fmt: skip
"""Differences from the real layouts. The width of the text embeddings stays, because it identifies the family."""
DECODER = {
    "block_out_channels": [32, 32, 32, 32], "layers_per_block": 1, "sample_size": 64, "down_block_types": None,
    "up_block_types": None,
}  # fmt: skip
MERGES = 100


def make_layouts(folder: Path) -> Path:
    """The real layouts with small sizes."""
    shutil.copytree(single_file.LAYOUTS, folder)
    merges = (folder / single_file.BPE_MERGES_FILE).read_text(encoding="utf-8").splitlines()[:MERGES]
    (folder / single_file.BPE_MERGES_FILE).write_text("\n".join(merges), encoding="utf-8")
    for family, parts in SMALL.items():
        decoder = {key: value for key, value in DECODER.items() if value is not None}
        for part, values in {**parts, "vae": decoder}.items():
            path = folder / family / part / "config.json"
            vocabulary = {"vocab_size": 512 + MERGES + 2} if part.startswith("text_encoder") else {}
            heads = {"num_attention_heads": 2} if vocabulary and family == "sdxl" else {}
            path.write_text(json.dumps(json.loads(path.read_text()) | values | vocabulary | heads))
    return folder


def save_single(path: Path, layouts: Path, family: str, channels: int = 4) -> dict[str, torch.nn.Module]:
    """Save random weights of the family in one file; returns their components. `channels`: inputs of the denoiser."""
    torch.manual_seed(0)
    folder = layouts / family
    parts: dict[str, Any] = {
        "unet": UNet2DConditionModel.from_config(
            json.loads((folder / "unet/config.json").read_text()) | {"in_channels": channels}
        ),
        "vae": AutoencoderKL.from_config(json.loads((folder / "vae/config.json").read_text())),
        "text_encoder": CLIPTextModel(CLIPTextConfig.from_pretrained(folder / "text_encoder")),
    }
    if family == "sdxl":
        config = CLIPTextConfig.from_pretrained(folder / "text_encoder_2")
        parts["text_encoder_2"] = CLIPTextModelWithProjection(config)
    save_file(weights_of(parts), path)
    return {name: part.eval() for name, part in parts.items()}


def weights_of(parts: dict[str, Any]) -> dict[str, torch.Tensor]:
    unet, vae = parts["unet"], parts["vae"]
    layers = int(unet.config.layers_per_block)
    has_two = "text_encoder_2" in parts
    prefix = "conditioner.embedders.0." if has_two else "cond_stage_model."
    weights = {UNET + _unet_name(name, layers): value for name, value in unet.state_dict().items()}
    blocks = len(vae.config.block_out_channels)
    weights |= {VAE + _vae_name(name, blocks): _as_conv(name, value) for name, value in vae.state_dict().items()}
    text = parts["text_encoder"].state_dict()
    weights |= {f"{prefix}transformer.text_model.{name.removeprefix('text_model.')}": text[name] for name in text}
    if has_two:
        weights |= _open_clip(parts["text_encoder_2"])
    return {name: value.contiguous().clone() for name, value in weights.items()}


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
_UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def _unet_name(name: str, layers: int) -> str:
    """`down_blocks.1.resnets.0.norm1.weight` is `input_blocks.3.0.in_layers.0.weight` where a block has one layer."""
    for ours, theirs in _UNET.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    parts = name.split(".")
    if parts[0] == "mid_block":
        index = {"resnets": 2 * int(parts[2]), "attentions": 1}[parts[1]]
        return ".".join(["middle_block", str(index), *_inner(parts[1], parts[3:])])
    block, kind, number, rest = int(parts[1]), parts[2], int(parts[3]), parts[4:]
    if kind == "downsamplers":
        return ".".join(["input_blocks", str((layers + 1) * (block + 1)), "0.op", *rest[1:]])
    if kind == "upsamplers":
        at = (layers + 1) * block + layers
        return ".".join(["output_blocks", str(at), "2", *rest])  # after an optional attention
    side = "0" if kind == "resnets" else "1"
    if parts[0] == "down_blocks":
        at = (layers + 1) * block + number + 1
        return ".".join(["input_blocks", str(at), side, *_inner(kind, rest)])
    return ".".join(["output_blocks", str((layers + 1) * block + number), side, *_inner(kind, rest)])


def _inner(kind: str, rest: list[str]) -> list[str]:
    return [_RESNET.get(rest[0], rest[0]), *rest[1:]] if kind == "resnets" else rest


_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _vae_name(name: str, blocks: int) -> str:
    for place in ("encoder", "decoder"):
        name = name.replace(f"{place}.mid_block.attentions.0.", f"{place}.mid.attn_1.")
        for number in (0, 1):
            name = name.replace(f"{place}.mid_block.resnets.{number}.", f"{place}.mid.block_{number + 1}.")
    for number in range(blocks):
        name = name.replace(f"encoder.down_blocks.{number}.resnets.", f"encoder.down.{number}.block.")
        name = name.replace(f"encoder.down_blocks.{number}.downsamplers.0.", f"encoder.down.{number}.downsample.")
        name = name.replace(f"decoder.up_blocks.{number}.resnets.", f"decoder.up.{blocks - 1 - number}.block.")
        name = name.replace(f"decoder.up_blocks.{number}.upsamplers.0.", f"decoder.up.{blocks - 1 - number}.upsample.")
    if ".attn_1." in name:
        for ours, theirs in _VAE_ATTENTION.items():
            name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def _as_conv(name: str, value: torch.Tensor) -> torch.Tensor:
    """The decoder's attention originally consists of convolutions."""
    is_weight = ".attentions.0.to_" in name and name.endswith("weight")
    return value[:, :, None, None] if is_weight else value


_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def _open_clip(encoder: Any) -> dict[str, torch.Tensor]:
    prefix, found = "conditioner.embedders.1.model.", encoder.state_dict()
    weights = {
        f"{prefix}token_embedding.weight": found["text_model.embeddings.token_embedding.weight"],
        f"{prefix}positional_embedding": found["text_model.embeddings.position_embedding.weight"],
        f"{prefix}ln_final.weight": found["text_model.final_layer_norm.weight"],
        f"{prefix}ln_final.bias": found["text_model.final_layer_norm.bias"],
        f"{prefix}text_projection": found["text_projection.weight"].T,
    }
    for number in range(encoder.config.num_hidden_layers):
        ours, theirs = f"text_model.encoder.layers.{number}.", f"{prefix}transformer.resblocks.{number}."
        for kind in ("weight", "bias"):
            joined = [found[f"{ours}self_attn.{side}_proj.{kind}"] for side in "qkv"]
            weights[f"{theirs}attn.in_proj_{kind}"] = torch.cat(joined)
            for mine, other in _CLIP.items():
                weights[f"{theirs}{other}.{kind}"] = found[f"{ours}{mine}.{kind}"]
    return weights
