"""The plan of a model by its files and the free memory; and the free memory of a machine."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from bot.errors import ModelUnavailable, OutOfMemory
from bot.memory.placement import MemoryBudget, Residency
from inference.diffusion import loader
from inference.diffusion.engine import DiffusionEngine
from inference.memory import planner
from inference.memory.planner import choose_plan, count_weights, device_kind, free_device_mb, free_ram_mb, memory_needs
from tests.inference.support import make_model
from tests.inference.tiny import save_blip, save_diffusion

KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"


@pytest.fixture
def set_free_memory(monkeypatch):
    """Pretends that the machine has this free memory."""

    def set_budget(device_mb, *, kind="cuda", ram_mb=100_000, can_quantize=False):
        budget = MemoryBudget(kind=kind, device_mb=device_mb, ram_mb=ram_mb, can_quantize=can_quantize)
        monkeypatch.setattr(planner, "free_memory_budget", lambda device: budget)

    return set_budget


def save_components(folder, **sizes_mb):
    """A pipeline's folder with components of these sizes in MiB in float16, all in matrices."""
    for name, size_mb in sizes_mb.items():
        (folder / name).mkdir(parents=True)
        save_file({"layer.weight": torch.zeros(size_mb * 512, 1024).half()}, folder / name / "model.safetensors")
    (folder / "model_index.json").write_text("{}")
    return folder


def test_the_memory_of_components_follows_the_dtype(tmp_path):
    folder = save_components(tmp_path, unet=4, text_encoder=2, vae=1)

    half = memory_needs(make_model(), folder, torch.bfloat16, has_accelerator=True)
    full = memory_needs(make_model(), folder, torch.float32, has_accelerator=True)

    assert {part.name: part.size_mb for part in half.components} == {"unet": 4, "text_encoder": 2, "vae": 1}
    assert {part.name: part.size_mb for part in full.components} == {"unet": 8, "text_encoder": 4, "vae": 2}
    assert {part.name: part.quantized_mb for part in half.components} == {"unet": 2, "text_encoder": 1, "vae": 1}


@pytest.mark.parametrize(
    ("backend", "ram_mb", "keeps_original", "load_mb"),
    [("torch", 10_000, True, 14), ("openvino", 10_000, True, 22), ("openvino", 518, False, 14)],
)
def test_both_denoisers_are_counted_and_torchs_is_kept_where_there_is_room(
    tmp_path, set_free_memory, backend, ram_mb, keeps_original, load_mb
):
    folder = save_components(tmp_path, unet=4, text_encoder=2, vae=1)
    set_free_memory(0, kind="cpu", ram_mb=ram_mb)

    chosen = choose_plan(make_model(backend=backend, dtype="float32"), folder, torch.float32, "cpu")

    assert (chosen.keeps_original, chosen.plan.load_mb) == (keeps_original, load_mb)


def test_only_the_files_of_the_variant_count(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    save_file({"a": torch.zeros(2**20)}, tmp_path / "unet" / "model.safetensors")
    save_file({"a": torch.zeros(2**20).half()}, tmp_path / "unet" / "model.fp16.safetensors")

    assert count_weights(make_model(), tmp_path)["unet"].size_mb(2) == 2
    assert count_weights(make_model(variant="fp16"), tmp_path)["unet"].size_mb(2) == 2


@pytest.mark.parametrize(
    ("dtype", "is_xl", "config", "vae_mb", "decode_mb"),
    [
        (torch.float16, True, {}, 2, 8),
        (torch.bfloat16, True, {"force_upcast": True}, 2, 4),
        (torch.float32, True, {}, 2, 4),
        (torch.float16, True, {"force_upcast": False}, 1, 4),
        (torch.float16, False, {"force_upcast": True}, 1, 4),
    ],
)
def test_a_decoder_that_sdxl_casts_to_float32_is_counted_in_it(tmp_path, dtype, is_xl, config, vae_mb, decode_mb):
    """In bfloat16 it is cast to encode an input image, and stays so until the next decode."""
    folder = save_components(tmp_path, vae=1)
    index = {"_class_name": "StableDiffusionXLPipeline" if is_xl else "StableDiffusionPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "vae" / "config.json").write_text(json.dumps(config))

    needs = memory_needs(make_model(vae_decode_mb=4), folder, dtype, has_accelerator=True)

    assert ([one.size_mb for one in needs.components], needs.vae_decode_mb) == ([vae_mb], decode_mb)


def test_the_decoder_in_a_single_file_of_sdxl_is_counted_in_float32(tmp_path):
    tensors = {"first_stage_model.a": torch.zeros(512, 1024), "conditioner.a": torch.zeros(512, 1024)}
    save_file(tensors, tmp_path / "xl.safetensors")

    needs = memory_needs(make_model(), tmp_path / "xl.safetensors", torch.float16, has_accelerator=True)

    assert {one.name: one.size_mb for one in needs.components} == {"vae": 2, "text_encoder": 1}


def test_embeddings_and_small_layers_are_not_quantized(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "text_encoder").mkdir()
    tensors = {
        "embed_tokens.weight": torch.zeros(256, 256),
        "layers.0.mlp.weight": torch.zeros(256, 256),
        "layers.0.bias": torch.zeros(256),
        "layers.0.gate.weight": torch.zeros(2, 256),
    }
    save_file(tensors, tmp_path / "text_encoder" / "model.safetensors")

    assert count_weights(make_model(), tmp_path)["text_encoder"].quantizable == 256 * 256


def test_the_components_of_a_vision_model_are_found_in_its_single_file(tmp_path):
    weights = count_weights(make_model(), save_blip(tmp_path))

    assert {"vision_model", "qformer", "language_model"} <= set(weights)
    assert min(one.total for one in weights.values()) > 0


@pytest.mark.parametrize(
    ("device_mb", "places", "is_tiled"),
    [
        (700, {Residency.RESIDENT}, False),
        (635, {Residency.RESIDENT, Residency.STREAMED}, False),
        (620, {Residency.STREAMED, Residency.RESIDENT}, True),
    ],
)
def test_the_plan_follows_the_free_memory(tmp_path, set_free_memory, device_mb, places, is_tiled):
    folder = save_components(tmp_path, unet=24, text_encoder=16, vae=1)
    set_free_memory(device_mb)

    plan = choose_plan(make_model(vae_decode_mb=4, quantize="none"), folder, torch.bfloat16, "cuda:0").plan

    assert plan.residencies == places
    assert plan.is_tiled is is_tiled


def test_plans_with_less_memory_are_kept_as_fallbacks(tmp_path, set_free_memory):
    set_free_memory(700)

    plan = choose_plan(
        make_model(vae_decode_mb=4), save_components(tmp_path, unet=24, text_encoder=16, vae=1), torch.half, "cuda"
    )

    assert plan.plan.is_fully_resident
    assert plan.fallbacks[0].is_tiled
    assert plan.fallbacks[-1].is_group_offloaded
    assert all(one.peak_mb < plan.plan.peak_mb for one in plan.fallbacks)


def test_if_no_plan_fits_the_smallest_is_chosen(tmp_path, set_free_memory):
    set_free_memory(601)

    assert choose_plan(
        make_model(), save_components(tmp_path, unet=24, vae=4), torch.half, "cuda"
    ).plan.is_group_offloaded


def test_a_model_larger_than_the_ram_is_refused_before_it_is_loaded(tmp_path, set_free_memory):
    folder = save_diffusion(tmp_path)
    set_free_memory(0, kind="cpu", ram_mb=400)

    with pytest.raises(OutOfMemory, match="of RAM"):
        loader.load_pipeline(make_model(repo=str(folder)), folder, "cpu")


def test_eight_bits_without_torchao_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr("bot.memory.format_check.has_torchao", lambda: False)

    with pytest.raises(ModelUnavailable) as refused:
        choose_plan(make_model(quantize="8bit"), tmp_path, torch.float32, "cpu")
    assert "extra `quant`" in refused.value.detail


# ---------------------------------------------------------------- a machine's free memory


@pytest.mark.parametrize(("kind", "name"), [("cuda", "cuda:1"), ("xpu", "xpu:0")])
def test_reserved_but_unused_device_memory_counts_as_free(monkeypatch, kind, name):
    backend = SimpleNamespace(
        mem_get_info=lambda device: (1000 * 2**20, 8000 * 2**20),
        memory_reserved=lambda device: 500 * 2**20,
        memory_allocated=lambda device: 200 * 2**20,
    )
    monkeypatch.setattr(planner.torch, kind, backend)

    assert free_device_mb(name) == 1300


def test_the_device_memory_of_apples_gpu_is_its_recommended_maximum(monkeypatch):
    mps = SimpleNamespace(recommended_max_memory=lambda: 9 * 2**30, current_allocated_memory=lambda: 2**30)
    monkeypatch.setattr(planner.torch, "mps", mps)

    assert free_device_mb("mps") == 8192
    assert free_device_mb("cpu") == 0


def test_amds_cards_are_distinguished_from_nvidias(monkeypatch):
    monkeypatch.setattr(planner.torch.version, "hip", "6.4")

    assert [device_kind(name) for name in ("cuda:0", "xpu", "mps", "cpu")] == ["rocm", "xpu", "mps", "cpu"]


def test_a_container_has_no_more_memory_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(planner.psutil, "virtual_memory", lambda: SimpleNamespace(available=8 * 2**30))
    (tmp_path / "memory.max").write_text(f"{4 * 2**30}\n")
    (tmp_path / "memory.current").write_text(f"{3 * 2**30}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**30}\n")
    assert free_ram_mb(tmp_path) == 2048

    (tmp_path / "memory.max").write_text("max\n")
    assert free_ram_mb(tmp_path) == 8192
    assert free_ram_mb(tmp_path / "none") == 8192


# ---------------------------------------------------------------- LoRAs and variants


def test_a_lora_is_fused_into_the_weights(tmp_path):
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
    engine.load_model("cpu")

    assert engine.capabilities["dtype"] == "float32"
    engine.unload_model()


def test_weights_that_get_fewer_bits_are_loaded_in_full_before(tmp_path, monkeypatch):
    (tmp_path / "language_model").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    save_file({"layer.weight": torch.zeros(2048, 1024)}, tmp_path / "language_model" / "model.safetensors")
    model = make_model(tasks=("image-to-text",), quantize="8bit")
    monkeypatch.setattr(planner, "format_problem", lambda *_: "")
    budget = MemoryBudget(kind="cpu", ram_mb=4 + planner.placement.RAM_SPARE_MB, can_quantize=True)
    monkeypatch.setattr(planner, "free_memory_budget", lambda _: budget)

    with pytest.raises(OutOfMemory, match=r"needs 0\.5 GiB"):
        choose_plan(model, tmp_path, torch.float32, "cpu")
