"""Denoisers in `.gguf` files are recognised by their tensors, with the repo of their other components."""

import os

import pytest

from bot.errors import ModelRefused
from inference.checkpoints.gguf_layout import PREFIX, read_gguf_layout
from inference.checkpoints.identify import identify_path
from inference.checkpoints.prequantized import Prequantized, parse_quantization
from tests.inference.gguf_files import header_bytes

UNET = {"input_blocks.0.0.weight": [320, 4, 3, 3]}


def attention(width):
    return {**UNET, "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [320, width]}


@pytest.mark.parametrize(
    ("shapes", "name", "pipeline", "base"),
    [
        (attention(768), "a", "StableDiffusionPipeline", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        (attention(2048), "a", "StableDiffusionXLPipeline", "stabilityai/stable-diffusion-xl-base-1.0"),
        ({"layers.0.adaLN_modulation.0.weight": [15360, 256]}, "a", "ZImagePipeline", "Tongyi-MAI/Z-Image-Turbo"),
        (
            {"double_stream_modulation_img.lin.weight": [1, 1], "img_in.weight": [3072, 128]},
            "a", "Flux2KleinPipeline", "black-forest-labs/FLUX.2-klein-4B",
        ),
        (
            {"double_stream_modulation_img.lin.weight": [1, 1], "img_in.weight": [4096, 128]},
            "a", "Flux2KleinPipeline", "black-forest-labs/FLUX.2-klein-9B",
        ),
        (
            {"double_stream_modulation_img.linear.weight": [1, 1], "x_embedder.weight": [64, 128]},
            "a", "Flux2KleinPipeline", "",
        ),
        ({"tmlp.0.weight": [1, 1]}, "a", "Krea2Pipeline", "krea/Krea-2-Turbo"),
        ({"layers.0.adaLN_sa_ln.weight": [1]}, "a", "ErnieImagePipeline", "baidu/ERNIE-Image-Turbo"),
        (
            {"transformer_blocks.0.img_mlp.gate_up.weight": [1, 1]},
            "a", "QwenImage21Pipeline", "Qwen/Qwen-Image-2.1",
        ),
        (
            {"transformer_blocks.0.img_mod.1.weight": [1, 1]},
            "Qwen-Image-Edit-2511-Q4.gguf", "QwenImageEditPlusPipeline", "Qwen/Qwen-Image-Edit-2511",
        ),
        ({"transformer_blocks.0.img_mod.1.weight": [1, 1]}, "q.gguf", "QwenImagePipeline", "Qwen/Qwen-Image"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_families_are_recognised_with_and_without_the_prefix_of_checkpoints(shapes, name, pipeline, base, prefix):
    layout = read_gguf_layout({f"{prefix}{key}": shape for key, shape in shapes.items()}, {}, name)

    assert (layout.pipeline_class, layout.base_model, layout.problem) == (pipeline, base, "")


@pytest.mark.parametrize(
    ("shapes", "architecture", "problem"),
    [
        ({"input_blocks.0.0.weight": [320, 9, 3, 3]}, "sd1", "model for inpainting in a .gguf file"),
        (attention(1024), "", "GGUF file of another Stable Diffusion than 1.x and XL"),
        (
            {"double_stream_modulation_img.lin.weight": [1, 1], "img_in.weight": [6144, 128]},
            "flux",
            "GGUF file of FLUX.2 dev",
        ),
        ({"double_blocks.0.img_attn.qkv.weight": [1, 1]}, "flux", "GGUF file of the architecture flux"),
        ({"blk.0.attn_q.weight": [1, 1]}, "lla\nma", "GGUF file of the architecture llama"),
        ({"blk.0.attn_q.weight": [1, 1]}, "", "GGUF file of no known architecture"),
    ],
)
def test_others_are_refused_with_what_they_are(shapes, architecture, problem):
    assert read_gguf_layout(shapes, {"general.architecture": architecture}).problem == problem


def test_a_file_is_identified_with_suitable_settings(tmp_path):
    path = tmp_path / "klein.gguf"
    path.write_bytes(header_bytes({"double_stream_modulation_img.lin.weight": [1, 1], "img_in.weight": [3072, 1]}))

    info = identify_path(path)

    assert (info.kind, info.family, info.prequantized, info.size_mb) == ("gguf", "flux2-klein", "gguf", 1)
    assert info.defaults["steps"] == 4


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Prequantized()),
        ({"quantization_config": []}, Prequantized()),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, Prequantized()),
        ({"quantization_config": {"quant_method": "nunchaku_lite"}}, Prequantized("svdquant")),
        (
            {"quantization_config": {"quant_method": "nunchaku_lite", "svdq_w4a4": {"precision": "int4"}}},
            Prequantized("svdquant", "int4"),
        ),
        (
            {"quantization_config": {"quant_method": "nunchaku_lite", "svdq_w4a4": {"precision": ["int4"]}}},
            Prequantized("svdquant"),
        ),
    ],
)
def test_svdquant_is_recognised_by_its_config(config, expected):
    assert parse_quantization(config) == expected


def test_what_is_neither_a_file_nor_a_folder_is_not_opened(tmp_path):
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)

    with pytest.raises(ModelRefused) as refused:
        identify_path(path)
    assert refused.value.detail == "it is neither a file nor a folder"
