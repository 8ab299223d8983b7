"""Controls are recognised by the shapes of their tensors."""

import json

import pytest
import torch
from safetensors.torch import save_file

from bot.errors import ModelUnavailable
from inference.checkpoints.control_layout import read_control_files, read_control_layout
from inference.checkpoints.identify import identify_class, identify_path, identify_shapes

EMBEDDING = {
    "controlnet_cond_embedding.conv_in.weight": [16, 3, 3, 3],
    **{
        f"controlnet_cond_embedding.blocks.{index}.weight": [channels, 1, 3, 3]
        for index, channels in enumerate((16, 32, 32, 96, 96, 256))
    },
    "conv_in.weight": [320, 4, 3, 3],
}
TEXT = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"
ORIGINAL = {
    "input_hint_block.0.weight": [16, 3, 3, 3],
    "input_blocks.0.0.weight": [320, 4, 3, 3],
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, 768],
}
LAYOUTS = {
    "ControlNet of SD 1.5": (EMBEDDING | {TEXT: [320, 768]}, "ControlNetModel", "sd15"),
    "ControlNet of SDXL": (EMBEDDING | {TEXT: [640, 2048]}, "ControlNetModel", "sdxl"),
    "union": (EMBEDDING | {TEXT: [640, 2048], "task_embedding": [8, 320]}, "ControlNetUnionModel", "sdxl"),
    "original names": (ORIGINAL, "ControlNetModel", "sd15"),
    "original names with a prefix": (
        {f"control_model.{name}": shape for name, shape in ORIGINAL.items()},
        "ControlNetModel",
        "sd15",
    ),
    "adapter of SD 1.5": (
        {"adapter.conv_in.weight": [320, 192, 3, 3], "adapter.body.0.resnets.0.block1.weight": [320, 320, 3, 3]},
        "T2IAdapter",
        "sd15",
    ),
    "light adapter": ({"adapter.body.0.in_conv.weight": [80, 64, 1, 1]}, "T2IAdapter", "sd15"),
    "adapter of SDXL": (
        {"adapter.conv_in.weight": [320, 768, 3, 3], "adapter.body.0.resnets.0.block1.weight": [320, 320, 3, 3]},
        "T2IAdapter",
        "sdxl",
    ),
    "Z-Image": ({"control_layers.0.before_proj.weight": [8, 8]}, "ZImageControlNetModel", "z-image"),
    "IP-Adapter": (
        {"image_proj.proj.weight": [3072, 1024], "ip_adapter.1.to_k_ip.weight": [320, 768]},
        "IPAdapter",
        "sd15",
    ),
}


@pytest.mark.parametrize(("shapes", "class_name", "family"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_kind_and_the_family_of_a_control(shapes, class_name, family):
    info = identify_shapes(shapes)

    assert (info.kind, info.class_name, info.family) == ("control", class_name, family)


def test_what_a_controlnet_needs_to_be_built():
    layout = read_control_layout(EMBEDDING | {"task_embedding": [8, 320]})

    assert layout is not None
    assert layout.map_channels == (16, 32, 96, 256)
    assert (layout.latent_channels, layout.map_inputs, layout.modes) == (4, 3, 8)


def test_other_weights_are_no_control():
    assert read_control_layout({"conv_in.weight": [320, 4, 3, 3]}) is None
    assert read_control_layout({}) is None


def test_a_folder_with_a_control_is_recognised(tmp_path):
    tensors = {name: torch.zeros(shape) for name, shape in EMBEDDING.items()} | {TEXT: torch.zeros(8, 2048)}
    save_file(tensors, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "ControlNetModel"}))
    info = identify_path(tmp_path)

    assert (info.kind, info.class_name, info.family) == ("control", "ControlNetModel", "sdxl")
    assert read_control_files(tmp_path, "model").config["_class_name"] == "ControlNetModel"


@pytest.mark.parametrize("class_name", ["ControlNetModel", "ControlNetModel_Union", "T2IAdapter"])
def test_a_class_name_is_enough_before_the_download(class_name):
    assert identify_class(class_name).kind == "control"


@pytest.mark.parametrize("content", ["nothing", "other weights", "damage"])
def test_a_folder_without_a_control_is_refused(tmp_path, content):
    if content == "other weights":
        save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    if content == "damage":
        (tmp_path / "a.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(ModelUnavailable):
        read_control_files(tmp_path, "model")
