"""Parts are where their plan says, and make the same picture or answer wherever they are.

The device is the CPU here, so parts are moved from main memory to main memory; the hooks are the same.
"""

from dataclasses import replace

import pytest
import torch
from diffusers import DiffusionPipeline

from bot.memory.components import Role
from bot.memory.placement import Place, Room, plans
from inference.diffusion import loader
from inference.memory import offload, planner, precision
from inference.memory.offload import Visit, placement_of
from inference.memory.planner import Choice, wanted_of
from inference.memory.quantization import shrink
from inference.vision.loader import load_blip
from tests.inference.support import make_model
from tests.inference.tiny import save_blip, save_diffusion

SIZES_MB = dict.fromkeys(Role, 100) | {Role.DENOISER: 4000, Role.TEXT_ENCODER: 2000, Role.LANGUAGE_MODEL: 5000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def load(folder, monkeypatch):
    """Loads the tiny pipeline on the best plan of a card that `wants` takes."""

    def loading_with(wants, **settings):
        model = make_model(repo=str(folder), dtype="float32", **settings)
        choice = choice_of(model, folder, wants)
        monkeypatch.setattr(loader, "choose", lambda *_: choice)
        return loader.load_pipeline(model, folder, "cpu")

    return loading_with


def choice_of(model, folder, wants):
    """As if each part had the size that real ones have."""
    tiny = wanted_of(model, folder, torch.float32, has_accelerator=True)
    parts = tuple(replace(part, size_mb=SIZES_MB[part.role]) for part in tiny.parts)
    every = plans(replace(tiny, parts=parts, work_mb=500, decode_mb=1000), Room(kind="cuda"))
    plan = next(one for one in every if wants(one))
    return Choice(plan, tuple(one for one in every if one.cost > plan.cost))


def draw(pipeline):
    generator = torch.Generator().manual_seed(1)
    picture = pipeline("a red fox", num_inference_steps=2, height=64, width=64, generator=generator, output_type="np")
    return picture.images[0]


def whole(plan):
    return plan.is_whole and not plan.is_tiled


def phased(plan):
    return plan.places == {Place.RESIDENT, Place.PHASED} and not plan.is_tiled


def streamed(plan):
    return plan.places == {Place.RESIDENT, Place.STREAMED} and not plan.is_crawling


def crawling(plan):
    return plan.is_crawling


@pytest.mark.parametrize("wants", [phased, streamed, crawling])
def test_a_picture_is_the_same_wherever_the_parts_are(load, wants):
    plain = load(whole)
    if wants is crawling:  # its decoder works in tiles
        offload.tile(offload.parts_of(plain))

    made = draw(load(wants))

    assert abs(made - draw(plain)).max() < 1e-5


def test_what_fits_is_left_without_hooks(load):
    pipeline = load(whole)

    parts = offload.parts_of(pipeline).values()
    assert not any(hasattr(part, "_hf_hook") or hasattr(part, "_diffusers_hook") for part in parts)
    assert not pipeline.vae.use_tiling


def test_a_part_that_comes_and_goes_is_there_for_its_call_alone(load, monkeypatch):
    pipeline, moves = load(phased), []
    monkeypatch.setattr(pipeline.text_encoder, "to", lambda where: moves.append(str(where)))

    draw(pipeline)

    assert isinstance(pipeline.text_encoder._hf_hook, Visit)
    assert moves == ["cpu", "cpu"] * (len(moves) // 2)
    assert len(moves) >= 2


def test_a_part_stays_for_all_calls_inside(load, monkeypatch):
    pipeline, left = load(phased), []
    hook = pipeline.text_encoder._hf_hook
    place = placement_of(pipeline)
    monkeypatch.setattr(pipeline.text_encoder, "to", lambda where: left.append(hook.stays))

    with place.placed("text_encoder"), place.placed("unet"):
        pipeline.text_encoder(torch.tensor([[2, 4, 3]]))
        pipeline.text_encoder(torch.tensor([[2, 5, 3]]))
        assert left == [1, 1]  # brought twice, never taken away

    assert left == [1, 1, 0]


def test_parts_take_turns_by_the_librarys_own_offload(load, monkeypatch):
    took = []
    monkeypatch.setattr(DiffusionPipeline, "enable_model_cpu_offload", lambda self, device: took.append(device))

    pipeline = load(lambda plan: Place.TURNS in plan.places)

    assert took == [torch.device("cpu")]
    assert placement_of(pipeline).takes_turns


def test_memory_is_saved_rung_by_rung_until_none_is_left(load):
    pipeline = load(whole)
    placement_of(pipeline).save()
    tiled, rungs = draw(pipeline), ["tiled"]

    while (rung := placement_of(pipeline).save()) is not None:
        rungs.append(rung)
        assert abs(draw(pipeline) - tiled).max() < 1e-5

    assert rungs == ["tiled", "streamed", "crawling"]
    assert pipeline.vae.use_tiling
    assert placement_of(pipeline).plan.is_crawling


def test_on_the_cpu_there_is_one_rung(folder):
    pipeline = loader.load_pipeline(make_model(repo=str(folder)), folder, "cpu")

    assert placement_of(pipeline).save() == "tiled"
    assert pipeline.vae.use_tiling
    assert placement_of(pipeline).save() is None


def test_a_pipeline_whose_parts_took_turns_may_crawl(load, monkeypatch):
    monkeypatch.setattr(DiffusionPipeline, "enable_model_cpu_offload", lambda self, device: None)
    pipeline = load(lambda plan: Place.TURNS in plan.places)

    assert placement_of(pipeline).save() == "tiled"
    assert placement_of(pipeline).save() == "crawling"
    assert not placement_of(pipeline).takes_turns
    assert draw(pipeline).shape == (64, 64, 3)


@pytest.mark.parametrize("language", ["opt", "t5"])
def test_a_vision_tower_comes_for_a_picture_and_leaves(tmp_path, monkeypatch, language):
    folder = save_blip(tmp_path, language)
    model = make_model(repo=str(folder), tasks=("image-to-text",), dtype="float32")
    choice = choice_of(model, folder, phased)
    monkeypatch.setattr("inference.vision.loader.choose", lambda *_: choice)

    blip, _ = load_blip(model, folder, "cpu")

    assert isinstance(blip.vision_model._hf_hook, Visit)
    assert isinstance(blip.qformer._hf_hook, Visit)
    assert not hasattr(blip.language_model, "_hf_hook")
    assert placement_of(blip).plan.places == {Place.RESIDENT, Place.PHASED}


def test_the_cpu_of_a_machine_with_a_card_takes_what_the_card_cannot(tmp_path, monkeypatch):
    folder = save_blip(tmp_path)
    monkeypatch.setattr(planner, "room_of", lambda device: Room(kind="cuda", device_mb=1, ram_mb=8000))
    monkeypatch.setattr(precision, "best_half", lambda device: torch.bfloat16)

    blip, _ = load_blip(make_model(repo=str(folder), tasks=("image-to-text",)), folder, "cuda:0")

    assert blip.device.type == "cpu"
    assert placement_of(blip).plan.format == "float32"


# ---------------------------------------------------------------- 8 bits


def test_weights_in_eight_bits_take_half_and_answer_nearly_the_same():
    pytest.importorskip("torchao", reason="8-bit weights need the extra `quant`, which is not installed")
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Linear(256, 4)).bfloat16()
    numbers = torch.randn(3, 256).bfloat16()
    with torch.no_grad():
        expected = layers(numbers)

        count = shrink(layers)
        answer = layers(numbers)

    assert count == 1  # the second is too small to be worth it
    assert layers[0].weight.element_size() * layers[0].weight.numel() < 2 * 256 * 256 or "Int8" in str(
        type(layers[0].weight)
    )
    assert torch.allclose(answer.float(), expected.float(), atol=0.05)


def test_a_pipeline_in_eight_bits_draws_nearly_the_same(folder, monkeypatch):
    pytest.importorskip("torchao", reason="8-bit weights need the extra `quant`, which is not installed")
    monkeypatch.setattr(planner, "SMALLEST_LAYER", 64)
    model = make_model(repo=str(folder), dtype="float32", quantize="8bit")
    expected = draw(loader.load_pipeline(make_model(repo=str(folder), dtype="float32"), folder, "cpu"))

    pipeline = loader.load_pipeline(model, folder, "cpu")

    assert any("Int8" in type(one).__name__ for one in pipeline.unet.parameters())
    assert 0 < abs(draw(pipeline) - expected).max() < 0.1
