"""Which plan a model gets, by its files and by what is free; and what a machine has free."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from bot.errors import ModelUnavailable, OutOfMemory
from bot.memory.placement import Place, Room
from inference.diffusion import loader
from inference.diffusion.engine import DiffusionEngine
from inference.memory import planner
from inference.memory.planner import choose, free_mb, kind_of, main_memory_mb, wanted_of, weights_of
from tests.inference.support import make_model
from tests.inference.tiny import save_blip, save_diffusion

KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.fixture
def room(monkeypatch):
    """What the machine seems to have."""

    def having(device_mb, *, kind="cuda", ram_mb=100_000, can_quantize=False):
        found = Room(kind=kind, device_mb=device_mb, ram_mb=ram_mb, can_quantize=can_quantize)
        monkeypatch.setattr(planner, "room_of", lambda device: found)

    return having


def save_parts(folder, **sizes_mb):
    """A pipeline's folder with parts of so many MiB in float16, all in matrices."""
    for name, size_mb in sizes_mb.items():
        (folder / name).mkdir(parents=True)
        save_file({"layer.weight": torch.zeros(size_mb * 512, 1024).half()}, folder / name / "model.safetensors")
    (folder / "model_index.json").write_text("{}")
    return folder


def test_what_parts_take_follows_the_format_they_are_loaded_in(tmp_path):
    folder = save_parts(tmp_path, unet=4, text_encoder=2, vae=1)

    half = wanted_of(make_model(), folder, torch.bfloat16, has_accelerator=True)
    full = wanted_of(make_model(), folder, torch.float32, has_accelerator=True)

    assert {part.name: part.size_mb for part in half.parts} == {"unet": 4, "text_encoder": 2, "vae": 1}
    assert {part.name: part.size_mb for part in full.parts} == {"unet": 8, "text_encoder": 4, "vae": 2}
    assert {part.name: part.small_mb for part in half.parts} == {"unet": 2, "text_encoder": 1, "vae": 1}


def test_only_the_files_of_the_variant_count(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    save_file({"a": torch.zeros(2**20)}, tmp_path / "unet" / "model.safetensors")
    save_file({"a": torch.zeros(2**20).half()}, tmp_path / "unet" / "model.fp16.safetensors")

    assert weights_of(make_model(), tmp_path)["unet"].size_mb(2) == 2
    assert weights_of(make_model(variant="fp16"), tmp_path)["unet"].size_mb(2) == 2


def test_embeddings_and_small_layers_are_not_shrunk(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "text_encoder").mkdir()
    tensors = {
        "embed_tokens.weight": torch.zeros(256, 256),
        "layers.0.mlp.weight": torch.zeros(256, 256),
        "layers.0.bias": torch.zeros(256),
        "layers.0.gate.weight": torch.zeros(2, 256),
    }
    save_file(tensors, tmp_path / "text_encoder" / "model.safetensors")

    assert weights_of(make_model(), tmp_path)["text_encoder"].shrinkable == 256 * 256


def test_a_vision_models_parts_are_told_apart_in_its_one_file(tmp_path):
    weights = weights_of(make_model(), save_blip(tmp_path))

    assert {"vision_model", "qformer", "language_model"} <= set(weights)
    assert min(one.all for one in weights.values()) > 0


@pytest.mark.parametrize(
    ("device_mb", "places", "is_tiled"),
    [
        (700, {Place.RESIDENT}, False),
        (635, {Place.RESIDENT, Place.STREAMED}, False),
        (620, {Place.STREAMED, Place.RESIDENT}, True),
    ],
)
def test_the_plan_follows_what_is_free(tmp_path, room, device_mb, places, is_tiled):
    folder = save_parts(tmp_path, unet=24, text_encoder=16, vae=1)
    room(device_mb)

    plan = choose(make_model(decode_mb=4), folder, torch.bfloat16, "cuda:0").plan

    assert plan.places == places
    assert plan.is_tiled is is_tiled


def test_what_takes_less_is_kept_for_when_memory_runs_out(tmp_path, room):
    room(700)

    choice = choose(make_model(decode_mb=4), save_parts(tmp_path, unet=24, text_encoder=16, vae=1), torch.half, "cuda")

    assert choice.plan.is_whole
    assert choice.more[0].is_tiled
    assert choice.more[-1].is_crawling
    assert all(one.peak_mb < choice.plan.peak_mb for one in choice.more)


def test_what_no_plan_fits_is_tried_with_the_least(tmp_path, room):
    room(601)

    assert choose(make_model(), save_parts(tmp_path, unet=24, vae=4), torch.half, "cuda").plan.is_crawling


def test_what_main_memory_cannot_hold_is_refused_before_it_is_loaded(tmp_path, room):
    folder = save_diffusion(tmp_path)
    room(0, kind="cpu", ram_mb=400)

    with pytest.raises(OutOfMemory, match="main memory"):
        loader.load_pipeline(make_model(repo=str(folder)), folder, "cpu")


def test_eight_bits_without_torchao_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(planner, "can_quantize", lambda: False)

    with pytest.raises(ModelUnavailable) as refused:
        choose(make_model(quantize="8bit"), tmp_path, torch.float32, "cpu")
    assert "extra `quant`" in refused.value.detail


# ---------------------------------------------------------------- what a machine has


@pytest.mark.parametrize(("kind", "name"), [("cuda", "cuda:1"), ("xpu", "xpu:0")])
def test_memory_that_a_card_has_free_counts_what_this_process_keeps_unused(monkeypatch, kind, name):
    backend = SimpleNamespace(
        mem_get_info=lambda device: (1000 * 2**20, 8000 * 2**20),
        memory_reserved=lambda device: 500 * 2**20,
        memory_allocated=lambda device: 200 * 2**20,
    )
    monkeypatch.setattr(planner.torch, kind, backend)

    assert free_mb(name) == 1300


def test_apples_memory_is_what_it_recommends(monkeypatch):
    mps = SimpleNamespace(recommended_max_memory=lambda: 9 * 2**30, current_allocated_memory=lambda: 2**30)
    monkeypatch.setattr(planner.torch, "mps", mps)

    assert free_mb("mps") == 8192
    assert free_mb("cpu") == 0


def test_amds_cards_are_told_from_nvidias(monkeypatch):
    monkeypatch.setattr(planner.torch.version, "hip", "6.4")

    assert [kind_of(name) for name in ("cuda:0", "xpu", "mps", "cpu")] == ["rocm", "xpu", "mps", "cpu"]


def test_a_container_has_no_more_memory_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(planner.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 2**30))
    (tmp_path / "memory.max").write_text(f"{4 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{3 * 2**30}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**30}\n")
    assert main_memory_mb(tmp_path) == 2048

    (tmp_path / "memory.max").write_text("max\n")
    assert main_memory_mb(tmp_path) == 8192
    assert main_memory_mb(tmp_path / "none") == 8192


# ---------------------------------------------------------------- LoRAs and variants


def test_a_lora_becomes_part_of_the_weights(tmp_path):
    folder = save_diffusion(tmp_path / "sd")
    plain = loader.load_pipeline(make_model(repo=str(folder)), folder, "cpu")
    layer = plain.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k
    path = tmp_path / "style.safetensors"
    rows, width = layer.weight.shape
    save_file({f"{KEY}.lora_A.weight": torch.ones(2, width), f"{KEY}.lora_B.weight": torch.ones(rows, 2)}, path)

    fused = loader.load_pipeline(make_model(repo=str(folder), loras=(str(path),)), folder, "cpu")

    changed = fused.unet.mid_block.attentions[0].transformer_blocks[0].attn2.to_k.weight
    assert torch.allclose(changed, layer.weight + 2.0, atol=1e-5)


@pytest.mark.parametrize("what", ["missing", "wrong"])
def test_a_lora_that_does_not_fit_is_named(tmp_path, what):
    folder = save_diffusion(tmp_path / "sd")
    path = tmp_path / "style.safetensors"
    if what == "wrong":
        save_file({f"{KEY}.lora_A.weight": torch.ones(2, 5), f"{KEY}.lora_B.weight": torch.ones(7, 2)}, path)

    with pytest.raises(ModelUnavailable) as failed:
        loader.load_pipeline(make_model(repo=str(folder), loras=(str(path),)), folder, "cpu")
    assert "style" in failed.value.detail


def test_half_precision_files_are_loaded_by_their_variant(tmp_path):
    folder = save_diffusion(tmp_path / "sd")
    for path in [*folder.rglob("*.safetensors")]:
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))

    engine = DiffusionEngine(make_model(repo=str(folder), variant="fp16", dtype="float32"))
    engine.load("cpu")

    assert engine.form["dtype"] == "float32"
    engine.unload()
