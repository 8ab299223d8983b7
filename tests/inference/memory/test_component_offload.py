"""Components are placed as their plan says, and give the same image or answer wherever they are.

The device is the CPU here, so components are moved from RAM to RAM; the hooks are the same.
"""

from dataclasses import replace

import pytest
import torch
from diffusers import DiffusionPipeline

from bot.memory.components import ComponentRole
from bot.memory.placement import MemoryBudget, Residency, all_plans
from inference.diffusion import loader
from inference.memory import offload, planner, precision
from inference.memory.offload import OffloadHook, offloader_of
from inference.memory.planner import MemoryPlan, memory_needs
from inference.memory.quantization import quantize_module
from inference.vision.loader import load_blip
from tests.inference.support import make_model
from tests.inference.tiny import save_blip, save_diffusion

SIZES_MB = dict.fromkeys(ComponentRole, 100) | {
    ComponentRole.DENOISER: 4000,
    ComponentRole.TEXT_ENCODER: 2000,
    ComponentRole.LANGUAGE_MODEL: 5000,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def load(folder, monkeypatch):
    """Loads the tiny pipeline with the best plan of a card that `is_wanted` accepts."""

    def loading_with(is_wanted, **settings):
        model = make_model(repo=str(folder), dtype="float32", **settings)
        plan = plan_for(model, folder, is_wanted)
        monkeypatch.setattr(loader, "choose_plan", lambda *_: plan)
        return loader.load_pipeline(model, folder, "cpu")

    return loading_with


def plan_for(model, folder, is_wanted):
    """As if each component had the size of a real one."""
    tiny = memory_needs(model, folder, torch.float32, has_accelerator=True)
    components = tuple(replace(part, size_mb=SIZES_MB[part.role]) for part in tiny.components)
    candidates = all_plans(
        replace(tiny, components=components, activation_mb=500, vae_decode_mb=1000), MemoryBudget(kind="cuda")
    )
    best = next(plan for plan in candidates if is_wanted(plan))
    return MemoryPlan(best, tuple(plan for plan in candidates if plan.cost > best.cost))


def generate(pipeline):
    generator = torch.Generator().manual_seed(1)
    output = pipeline("a red fox", num_inference_steps=2, height=64, width=64, generator=generator, output_type="np")
    return output.images[0]


def fully_resident(plan):
    return plan.is_fully_resident and not plan.is_tiled


def on_demand(plan):
    return plan.residencies == {Residency.RESIDENT, Residency.ON_DEMAND} and not plan.is_tiled


def streamed(plan):
    return plan.residencies == {Residency.RESIDENT, Residency.STREAMED} and not plan.is_group_offloaded


def group_offloaded(plan):
    return plan.is_group_offloaded


@pytest.mark.parametrize("is_wanted", [on_demand, streamed, group_offloaded])
def test_an_image_is_the_same_wherever_the_components_are(load, is_wanted):
    plain = load(fully_resident)
    if is_wanted is group_offloaded:  # its decoder works in tiles
        offload.enable_vae_tiling(offload.components_of(plain))

    image = generate(load(is_wanted))

    assert abs(image - generate(plain)).max() < 1e-5


def test_a_model_that_fits_has_no_hooks(load):
    pipeline = load(fully_resident)

    parts = offload.components_of(pipeline).values()
    assert not any(hasattr(part, "_hf_hook") or hasattr(part, "_diffusers_hook") for part in parts)
    assert not pipeline.vae.use_tiling


def test_an_on_demand_component_is_on_the_device_only_during_its_call(load, monkeypatch):
    pipeline, moves = load(on_demand), []
    monkeypatch.setattr(pipeline.text_encoder, "to", lambda where: moves.append(str(where)))

    generate(pipeline)

    assert isinstance(pipeline.text_encoder._hf_hook, OffloadHook)
    assert moves == ["cpu", "cpu"] * (len(moves) // 2)
    assert len(moves) >= 2


def test_a_component_can_be_kept_on_the_device_for_several_calls(load, monkeypatch):
    pipeline, holders = load(on_demand), []
    hook = pipeline.text_encoder._hf_hook
    offloader = offloader_of(pipeline)
    monkeypatch.setattr(pipeline.text_encoder, "to", lambda where: holders.append(hook.holders))

    with offloader.kept_on_device("text_encoder"), offloader.kept_on_device("unet"):
        pipeline.text_encoder(torch.tensor([[2, 4, 3]]))
        pipeline.text_encoder(torch.tensor([[2, 5, 3]]))
        assert holders == [1, 1]  # moved to the device twice, never back

    assert holders == [1, 1, 0]


def test_model_offload_is_the_librarys_own(load, monkeypatch):
    devices = []
    monkeypatch.setattr(DiffusionPipeline, "enable_model_cpu_offload", lambda self, device: devices.append(device))

    pipeline = load(lambda plan: Residency.MODEL_OFFLOAD in plan.residencies)

    assert devices == [torch.device("cpu")]
    assert offloader_of(pipeline).uses_model_offload


def test_memory_is_reduced_level_by_level_down_to_the_last(load):
    pipeline = load(fully_resident, quantize="none")
    offloader_of(pipeline).use_less_memory()
    tiled, levels = generate(pipeline), ["tiled"]

    while (level := offloader_of(pipeline).use_less_memory()) is not None:
        levels.append(level)
        assert abs(generate(pipeline) - tiled).max() < 1e-5

    assert levels == ["tiled", "streamed", "group_offload"]
    assert pipeline.vae.use_tiling
    assert offloader_of(pipeline).plan.is_group_offloaded


def test_on_the_cpu_there_is_one_fallback_level(folder):
    pipeline = loader.load_pipeline(make_model(repo=str(folder)), folder, "cpu")

    assert offloader_of(pipeline).use_less_memory() == "tiled"
    assert pipeline.vae.use_tiling
    assert offloader_of(pipeline).use_less_memory() is None


def test_a_pipeline_with_model_offload_can_fall_back_to_group_offload(load, monkeypatch):
    monkeypatch.setattr(DiffusionPipeline, "enable_model_cpu_offload", lambda self, device: None)
    pipeline = load(lambda plan: Residency.MODEL_OFFLOAD in plan.residencies, quantize="none")

    assert offloader_of(pipeline).use_less_memory() == "tiled"
    assert offloader_of(pipeline).use_less_memory() == "group_offload"
    assert not offloader_of(pipeline).uses_model_offload
    assert generate(pipeline).shape == (64, 64, 3)


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_a_vision_tower_is_on_the_device_only_for_an_image(tmp_path, monkeypatch, language):
    folder = save_blip(tmp_path, language)
    model = make_model(repo=str(folder), tasks=("image-to-text",), dtype="float32")
    plan = plan_for(model, folder, on_demand)
    monkeypatch.setattr("inference.memory.transformers_loader.choose_plan", lambda *_: plan)

    blip, _ = load_blip(model, folder, "cpu")

    assert isinstance(blip.vision_model._hf_hook, OffloadHook)
    assert isinstance(blip.qformer._hf_hook, OffloadHook)
    assert not hasattr(blip.language_model, "_hf_hook")
    assert offloader_of(blip).plan.residencies == {Residency.RESIDENT, Residency.ON_DEMAND}


def test_a_model_that_the_card_cannot_hold_runs_on_the_cpu(tmp_path, monkeypatch):
    folder = save_blip(tmp_path)
    monkeypatch.setattr(
        planner, "free_memory_budget", lambda device: MemoryBudget(kind="cuda", device_mb=1, ram_mb=8000)
    )
    monkeypatch.setattr(precision, "best_half_dtype", lambda device: torch.bfloat16)

    blip, _ = load_blip(make_model(repo=str(folder), tasks=("image-to-text",)), folder, "cuda:0")

    assert blip.device.type == "cpu"
    assert offloader_of(blip).plan.format == "float32"


# ---------------------------------------------------------------- 8 bits


def test_weights_in_eight_bits_need_half_the_memory_and_give_nearly_the_same_answer():
    pytest.importorskip("torchao", reason="8-bit weights need the extra `quant`, which is not installed")
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Linear(256, 4)).bfloat16()
    numbers = torch.randn(3, 256).bfloat16()
    with torch.no_grad():
        expected = layers(numbers)

        count = quantize_module(layers)
        answer = layers(numbers)

    assert count == 1  # the second is too small to be worth it
    assert layers[0].weight.element_size() * layers[0].weight.numel() < 2 * 256 * 256 or "Int8" in str(
        type(layers[0].weight)
    )
    assert torch.allclose(answer.float(), expected.float(), atol=0.05)


def test_a_pipeline_in_eight_bits_generates_nearly_the_same_image(folder, monkeypatch):
    pytest.importorskip("torchao", reason="8-bit weights need the extra `quant`, which is not installed")
    monkeypatch.setattr(planner, "MIN_LAYER_WEIGHTS", 64)
    model = make_model(repo=str(folder), dtype="float32", quantize="8bit")
    expected = generate(loader.load_pipeline(make_model(repo=str(folder), dtype="float32"), folder, "cpu"))

    pipeline = loader.load_pipeline(model, folder, "cpu")

    assert any("Int8" in type(one).__name__ for one in pipeline.unet.parameters())
    assert 0 < abs(generate(pipeline) - expected).max() < 0.1
