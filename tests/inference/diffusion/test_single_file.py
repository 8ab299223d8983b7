"""Whole models in one `.safetensors` file, loaded without a hub, and what is refused of them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from bot.errors import ModelUnavailable
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from inference.checkpoints import identify
from inference.diffusion import single_file
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.single_file import load_single_file
from inference.memory.planner import weights_of
from tests.inference.diffusion.test_families import drawn
from tests.inference.single import make_layouts, save_single
from tests.inference.support import make_model


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    return make_layouts(tmp_path_factory.mktemp("single") / "layouts")


@pytest.fixture
def small(layouts, monkeypatch):
    monkeypatch.setattr(single_file, "LAYOUTS", layouts)
    single_file._word_pieces.cache_clear()
    yield layouts
    single_file._word_pieces.cache_clear()


@pytest.mark.parametrize(
    ("family", "class_name"), [("sd15", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline")]
)
def test_every_weight_of_the_file_comes_to_its_place(small, tmp_path, family, class_name):
    path = tmp_path / "whole.safetensors"
    parts = save_single(path, small, family)

    found = identify.recognise(path)
    assert (found.kind, found.family, found.class_name) == ("single-file", family, class_name)
    assert found.tasks == (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
    pipeline = load_single_file(make_model(), path, torch.float32)

    assert type(pipeline).__name__ == class_name
    for name, part in parts.items():
        loaded = getattr(pipeline, name).state_dict()
        assert {key for key, value in part.state_dict().items() if not torch.equal(value, loaded[key])} == set()


def test_it_draws_like_any_other_model(small, tmp_path):
    path = tmp_path / "whole.safetensors"
    save_single(path, small, "sd15")
    model = make_model(repo=str(path), tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE))
    engine = DiffusionEngine(model)
    engine.load("cpu")

    assert {"unet", "vae", "text_encoder"} <= weights_of(model, path).keys()
    assert len(engine.form["revision"]) == 40
    assert drawn(engine, model, TEXT_TO_IMAGE)[0].width == 64
    engine.unload()


@pytest.mark.parametrize(
    ("lost", "words"),
    [("first_stage_model.", "Weights for this component"), ("cond_stage_model.transformer.text_model.final", "lacks")],
)
def test_a_file_without_some_of_its_parts_is_refused(small, tmp_path, lost, words):
    path = tmp_path / "part.safetensors"
    save_single(path, small, "sd15")
    save_file({name: value for name, value in load_file(path).items() if not name.startswith(lost)}, path)

    with pytest.raises(ModelUnavailable, match=words):
        load_single_file(make_model(), path, torch.float32)


def test_a_file_of_another_size_is_refused(small, tmp_path):
    path = tmp_path / "other.safetensors"
    save_single(path, small, "sd15")
    weights = load_file(path)
    weights["model.diffusion_model.out.2.bias"] = torch.zeros(5)
    save_file(weights, path)

    with pytest.raises(ModelUnavailable, match="does not fit sd15"):
        load_single_file(make_model(), path, torch.float32)


def test_what_is_no_whole_model_is_refused_by_name(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid_attn2_to_k.lora_down.weight": torch.zeros(4, 768)}, path)

    with pytest.raises(ModelUnavailable, match="is no whole model: lora"):
        load_single_file(make_model(), path, torch.float32)


def test_a_file_that_says_that_it_predicts_velocity_is_believed(small, tmp_path):
    path = tmp_path / "v.safetensors"
    save_single(path, small, "sdxl")
    save_file({**load_file(path), "v_pred": torch.zeros(0)}, path)

    config = load_single_file(make_model(), path, torch.float32).scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", False)


def test_the_tokenizer_is_clips():
    single_file._word_pieces.cache_clear()
    tokenizer, second = single_file._tokenizer("<|endoftext|>"), single_file._tokenizer("!")

    assert tokenizer("A photo of a  cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(tokenizer) == 49408
    assert tokenizer("a", padding="max_length").input_ids[2:] == [49407] * 75
    assert second("a", padding="max_length").input_ids[3:] == [0] * 74


@pytest.mark.parametrize(("family", "channels", "words"), [("sd15", 320, 768), ("sdxl", 320, 2048)])
def test_the_layouts_are_those_of_the_real_models(family, channels, words):
    unet = json.loads((single_file.LAYOUTS / family / "unet" / "config.json").read_text())

    assert (unet["block_out_channels"][0], unet["cross_attention_dim"]) == (channels, words)
