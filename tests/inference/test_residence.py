"""Where weights live: by what they need and what there is; and LoRAs that become part of them."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from bot.errors import ModelUnavailable, OutOfMemory
from inference import residence
from inference.diffusion import loading
from inference.diffusion.engine import DiffusionEngine
from inference.residence import OFFLOAD, RESIDENT, choose, needed_mb
from tests.inference.support import make_model
from tests.inference.tiny import save_diffusion

KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.mark.parametrize(
    ("need_mb", "free_mb", "is_accelerator", "place"),
    [
        (3000, 8000, True, RESIDENT),
        (7500, 8000, True, OFFLOAD),
        (7399, 8000, True, RESIDENT),
        (99999, 0, True, RESIDENT),
        (99999, 100, False, RESIDENT),
    ],
)
def test_what_does_not_fit_takes_turns(need_mb, free_mb, is_accelerator, place):
    assert choose(need_mb, free_mb, is_accelerator=is_accelerator) == place


def test_what_main_memory_cannot_hold_is_refused_before_it_is_loaded(monkeypatch, tmp_path):
    monkeypatch.setattr(residence.psutil, "virtual_memory", lambda: SimpleNamespace(available=400 * 2**20, total=10**9))
    folder = save_diffusion(tmp_path)

    with pytest.raises(OutOfMemory, match="main memory"):
        loading.load_pipeline(make_model(repo=str(folder)), folder, "cpu")


def test_what_a_model_needs_follows_the_format_it_is_loaded_in(tmp_path):
    save_file({"a": torch.zeros(2**20, dtype=torch.float32)}, tmp_path / "model.safetensors")
    save_file({"a": torch.zeros(2**20, dtype=torch.float16)}, tmp_path / "model.fp16.safetensors")

    assert needed_mb(make_model(), tmp_path, torch.float32) == 4
    assert needed_mb(make_model(), tmp_path, torch.bfloat16) == 2
    assert needed_mb(make_model(variant="fp16"), tmp_path, torch.float16) == 2
    assert needed_mb(make_model(variant="fp16"), tmp_path, torch.float32) == 4


def test_a_pipeline_that_does_not_fit_the_device_takes_turns_there(monkeypatch, tmp_path):
    folder, took = save_diffusion(tmp_path), []
    monkeypatch.setattr(loading, "decide", lambda need_mb, device: OFFLOAD)
    monkeypatch.setattr(
        loading.DiffusionPipeline, "enable_model_cpu_offload", lambda self, device: took.append(device), raising=True
    )

    loading.load_pipeline(make_model(repo=str(folder)), folder, "cpu")

    assert took == ["cpu"]


def test_a_lora_becomes_part_of_the_weights(tmp_path):
    folder = save_diffusion(tmp_path / "sd")
    plain = loading.load_pipeline(make_model(repo=str(folder)), folder, "cpu")
    layer = plain.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k
    path = tmp_path / "style.safetensors"
    rows, width = layer.weight.shape
    save_file({f"{KEY}.lora_A.weight": torch.ones(2, width), f"{KEY}.lora_B.weight": torch.ones(rows, 2)}, path)

    fused = loading.load_pipeline(make_model(repo=str(folder), loras=(str(path),)), folder, "cpu")

    changed = fused.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.weight
    assert torch.allclose(changed, layer.weight + 2.0, atol=1e-5)


@pytest.mark.parametrize("what", ["missing", "wrong"])
def test_a_lora_that_does_not_fit_is_named(tmp_path, what):
    folder = save_diffusion(tmp_path / "sd")
    path = tmp_path / "style.safetensors"
    if what == "wrong":
        save_file({f"{KEY}.lora_A.weight": torch.ones(2, 5), f"{KEY}.lora_B.weight": torch.ones(7, 2)}, path)

    with pytest.raises(ModelUnavailable) as failed:
        loading.load_pipeline(make_model(repo=str(folder), loras=(str(path),)), folder, "cpu")
    assert "style" in failed.value.detail


def test_half_precision_files_are_loaded_by_their_variant(tmp_path):
    folder = save_diffusion(tmp_path / "sd")
    for path in [*folder.rglob("*.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))

    engine = DiffusionEngine(make_model(repo=str(folder), variant="fp16", dtype="float32"))
    engine.load("cpu")

    assert engine.form["dtype"] == "float32"
    engine.unload()
