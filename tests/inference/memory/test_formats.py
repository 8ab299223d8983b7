"""Weights as 8-bit floats and in 4 bits: sizes, exactness in batches, LoRAs, and the fallback level of a model."""

import copy
import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from bot.errors import ModelUnavailable
from bot.memory import format_check
from bot.memory.placement import Residency
from inference.diffusion import loader
from inference.diffusion.lora import LoraManager
from inference.memory import formats, planner
from inference.memory.offload import offloader_of, weights_capability
from inference.memory.planner import choose_plan, memory_needs
from inference.memory.quantization import (
    cast_to_fp8,
    dtype_of,
    quantize_module,
    quantize_planned,
    quantize_to_4bit,
    stores_fp8,
)
from inference.vision.loader import load_blip
from tests.backends_required import require_backend
from tests.inference.diffusion.test_lora import predict_noise, save_lora
from tests.inference.memory.test_component_offload import fully_resident, generate, plan_for
from tests.inference.support import make_model
from tests.inference.tiny import save_blip, save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("formats") / "tiny")


@pytest.fixture
def small_layers(monkeypatch):
    """Quantizes the small layers of tiny models."""
    monkeypatch.setattr(planner, "MIN_LAYER_WEIGHTS", 64)


def make_layers(width=256):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Linear(width, width)).eval()


@pytest.mark.parametrize(
    ("library", "change", "bytes_each", "error"),
    [
        ("", lambda layers: cast_to_fp8(layers, torch.float32), 1, 0.06),
        ("bitsandbytes", quantize_to_4bit, 0.55, 0.15),
    ],
)
def test_weights_become_smaller_and_rows_stay_independent(library, change, bytes_each, error):
    if library:
        require_backend(library)
    layers, numbers = make_layers(), torch.randn(4, 256)
    expected = layers(numbers)

    change(layers)
    found = layers(numbers)

    size = sum(layer.weight.untyped_storage().nbytes() for layer in layers)
    assert size <= bytes_each * 2 * 256 * 256
    assert 0 < (found - expected).norm() / expected.norm() < error
    assert torch.allclose(found[:1], layers(numbers[:1]), atol=1e-5)


def test_layers_that_8_bit_floats_do_not_reach_stay_as_they_are():
    layers = make_layers()
    layers[0].weight[0, 0] = 500.0
    expected = layers[0](torch.ones(1, 256))

    cast_to_fp8(layers, torch.float32)

    assert [layer.weight.dtype for layer in layers] == [torch.float32, torch.float8_e4m3fn]
    assert torch.equal(layers[0](torch.ones(1, 256)), expected)


@pytest.mark.parametrize(
    ("capability", "dtype", "is_dynamic"),
    [
        ((8, 9), torch.bfloat16, True),
        ((9, 0), torch.bfloat16, True),
        ((8, 9), torch.float16, False),
        ((8, 6), torch.bfloat16, False),
        (None, torch.bfloat16, False),
    ],
)
def test_cards_that_multiply_8_bit_floats_do(monkeypatch, capability, dtype, is_dynamic):
    monkeypatch.setattr(formats, "has_torchao", lambda: True)

    assert formats.uses_dynamic_fp8("cuda", capability, dtype) is is_dynamic
    assert not formats.uses_dynamic_fp8("rocm", capability, dtype)


def test_the_planner_knows_each_format_of_each_component(folder, small_layers):
    needs = memory_needs(make_model(), folder, torch.float32, has_accelerator=True)
    parts = {part.name: part for part in needs.components}

    assert parts["unet"].has_format("fp8")
    assert parts["unet"].has_format("8bit")
    assert not parts["unet"].has_format("4bit")
    assert not parts["vae"].has_format("4bit")
    assert parts["text_encoder"].has_format("4bit")
    assert not parts["text_encoder"].has_format("fp8")


# ---------------------------------------------------------------- pipelines


def test_a_pipeline_with_8_bit_floats_generates_a_similar_image(folder):
    plain = loader.load_pipeline(make_model(repo=str(folder), dtype="float32"), folder, "cpu")

    pipeline = loader.load_pipeline(make_model(repo=str(folder), dtype="float32", quantize="fp8"), folder, "cpu")

    assert stores_fp8(pipeline.unet)
    assert not stores_fp8(pipeline.text_encoder)
    assert not stores_fp8(pipeline.vae)
    assert pipeline.unet.dtype == dtype_of(pipeline.unet) == torch.float32
    assert 0 < abs(generate(pipeline) - generate(plain)).max() < 0.5


def test_a_loaded_model_falls_back_to_8_bit_floats_and_then_streams_them(folder, monkeypatch):
    model = make_model(repo=str(folder), dtype="float32")
    monkeypatch.setattr(loader, "choose_plan", lambda *_: plan_for(model, folder, fully_resident))
    pipeline = loader.load_pipeline(model, folder, "cpu")
    levels = []

    while (level := offloader_of(pipeline).use_less_memory()) is not None:
        levels.append(level)
        if level == "fp8":
            cast = generate(pipeline)

    assert (levels[:3], levels[-1]) == (["tiled", "streamed", "fp8"], "group_offload")
    assert offloader_of(pipeline).plan.placements["unet"].residency is Residency.STREAMED
    assert stores_fp8(pipeline.unet)
    assert abs(generate(pipeline) - cast).max() < 1e-5


@pytest.mark.parametrize("weights", ["8bit", "fp8"])
def test_a_lora_of_a_prompt_works_on_quantized_weights_and_leaves_no_trace(folder, small_layers, tmp_path, weights):
    if weights == "8bit":
        require_backend("torchao")
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    lora = save_lora(pipeline, tmp_path / "ink.safetensors")
    plain, quantized = LoraManager(copy.deepcopy(pipeline)), LoraManager(pipeline)
    quantize_module(pipeline.unet) if weights == "8bit" else cast_to_fp8(pipeline.unet, torch.float32)
    before, alike = predict_noise(quantized), []

    for manager in (plain, quantized):
        manager.apply(((str(lora), 0.8),))
        alike.append(predict_noise(manager))
    quantized.apply(())

    assert torch.equal(predict_noise(quantized), before)
    effect = (alike[1] - before).norm()
    assert (alike[0] - alike[1]).norm() < 0.3 * effect


def test_a_lora_of_a_prompt_works_on_a_text_encoder_in_4_bits(folder, small_layers, tmp_path):
    require_backend("bitsandbytes")
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    lora = save_lora(pipeline, tmp_path / "ink.safetensors")
    manager, tokens = LoraManager(pipeline), torch.tensor([[2, 4, 3]])
    quantize_to_4bit(pipeline.text_encoder)
    plain = pipeline.text_encoder(tokens).last_hidden_state

    manager.apply(((str(lora), 0.8),))
    styled = pipeline.text_encoder(tokens).last_hidden_state
    manager.apply(())

    assert (styled - plain).abs().max() > 0.01
    assert torch.equal(pipeline.text_encoder(tokens).last_hidden_state, plain)


def test_a_text_encoder_in_4_bits_conditions_a_similar_image(folder, small_layers):
    require_backend("bitsandbytes")
    plain = loader.load_pipeline(make_model(repo=str(folder), dtype="float32"), folder, "cpu")
    pipeline = loader.load_pipeline(make_model(repo=str(folder), dtype="float32"), folder, "cpu")
    model = make_model(repo=str(folder), dtype="float32", quantize="4bit")
    needs = memory_needs(model, folder, torch.float32, has_accelerator=False)
    (plan,) = planner.placement.all_plans(needs, planner.free_memory_budget("cpu"))

    quantize_planned({"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}, plan)

    assert any(type(one).__name__ == "Linear4bit" for one in pipeline.text_encoder.modules())
    assert not any(type(one).__name__ == "Linear4bit" for one in pipeline.unet.modules())
    assert 0 < abs(generate(pipeline) - generate(plain)).max() < 0.5
    with pytest.raises(ModelUnavailable, match="4bit"):
        choose_plan(model, folder, torch.float32, "cpu")


@pytest.mark.parametrize(
    ("settings", "words"), [({}, "allow_hub_kernels = true"), ({"allow_hub_kernels": True}, "needs an NVIDIA GPU")]
)
def test_svdquant_is_refused_when_it_is_loaded_here(folder, tmp_path, settings, words):
    quantized_folder = shutil.copytree(folder, tmp_path / "svdquant")
    config = quantized_folder / "unet" / "config.json"
    quantized = {"quantization_config": {"quant_method": "nunchaku_lite", "svdq_w4a4": {"precision": "int4"}}}
    config.write_text(json.dumps(json.loads(config.read_text()) | quantized))

    with pytest.raises(ModelUnavailable, match=words):
        loader.load_pipeline(make_model(repo=str(quantized_folder), **settings), quantized_folder, "cpu")


def test_weights_that_are_quantized_in_their_file_keep_their_size(tmp_path):
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    tensors = {"a.qweight": torch.zeros(2048, 1024, dtype=torch.int8), "a.bias": torch.zeros(2**19)}
    save_file(tensors, tmp_path / "transformer" / "model.safetensors")

    (part,) = memory_needs(make_model(), tmp_path, torch.bfloat16, has_accelerator=True).components

    assert part.size_mb == 3


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_a_language_model_in_4_bits_answers_on_a_cpu(tmp_path, small_layers, language):
    require_backend("bitsandbytes")
    folder = save_blip(tmp_path, language)
    model = make_model(repo=str(folder), tasks=("image-to-text",), dtype="float32", quantize="4bit")

    blip, _ = load_blip(model, folder, "cpu")

    assert any(type(one).__name__ == "Linear4bit" for one in blip.language_model.modules())
    assert not any(type(one).__name__ == "Linear4bit" for one in blip.vision_model.modules())
    embeds = torch.randn(2, 3, blip.language_model.config.hidden_size if language == "opt" else 16)
    if language == "opt":
        answers = blip.language_model(inputs_embeds=embeds).logits
        assert torch.allclose(answers[:1], blip.language_model(inputs_embeds=embeds[:1]).logits, atol=1e-4)


@pytest.mark.parametrize(
    ("quantize", "has_dynamic_fp8", "said"),
    [("none", False, []), ("fp8", False, ["fp8"]), ("fp8", True, ["fp8-dynamic"])],
)
def test_the_formats_of_weights_are_named(folder, quantize, has_dynamic_fp8, said):
    model = make_model(repo=str(folder), dtype="float32", quantize=quantize)
    pipeline = loader.load_pipeline(model, folder, "cpu")
    plan = offloader_of(pipeline).plan

    assert formats.weight_formats(loader.components_of(pipeline), plan, has_dynamic_fp8=has_dynamic_fp8) == said
    assert has_dynamic_fp8 or weights_capability(pipeline).get("weights", []) == said


@pytest.mark.parametrize("dtype", ["int3", "float8", ""])
def test_an_unknown_dtype_is_refused_in_the_same_sentence_everywhere(folder, dtype):
    model = make_model(repo=str(folder), dtype=dtype)

    with pytest.raises(ModelUnavailable) as refused:
        loader.load_pipeline(model, folder, "cpu")
    assert format_check.format_problem(model, format_check.FormatSupport()) in str(refused.value)
    assert "auto, float32, float16, bfloat16" in str(refused.value)


def test_each_card_is_asked_for_its_own_capability(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", {"cuda:0": (8, 9), "cuda:1": (7, 5)}.get)

    assert [formats.card_capability("cuda", f"cuda:{number}") for number in (0, 1)] == [(8, 9), (7, 5)]
    assert formats.card_capability("cpu", "cpu") is None
