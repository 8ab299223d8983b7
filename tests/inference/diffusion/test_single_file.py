"""Complete checkpoints in one `.safetensors` file: loaded offline, or refused with a reason."""

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
from inference.memory.planner import count_weights
from tests.inference.diffusion.test_families import generate
from tests.inference.single import make_layouts, save_single
from tests.inference.support import make_model


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    return make_layouts(tmp_path_factory.mktemp("single") / "layouts")


@pytest.fixture
def small(layouts, monkeypatch):
    monkeypatch.setattr(single_file, "LAYOUTS", layouts)
    single_file._bpe_vocabulary.cache_clear()
    yield layouts
    single_file._bpe_vocabulary.cache_clear()


@pytest.fixture(scope="module")
def checkpoints(layouts, tmp_path_factory):
    """By family: the path of a complete checkpoint, and its components."""
    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {family: folder / f"{family}.safetensors" for family in ("sd15", "sdxl")}
    return {family: (path, save_single(path, layouts, family)) for family, path in paths.items()}


@pytest.mark.parametrize(
    ("family", "class_name"), [("sd15", "StableDiffusionPipeline"), ("sdxl", "StableDiffusionXLPipeline")]
)
def test_every_weight_of_the_file_is_loaded_into_its_module(small, checkpoints, family, class_name):
    path, parts = checkpoints[family]

    identified = identify.identify_path(path)
    assert (identified.kind, identified.family, identified.class_name) == ("single-file", family, class_name)
    assert identified.tasks == (TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
    pipeline = load_single_file(make_model(), path, torch.float32)

    assert type(pipeline).__name__ == class_name
    for name, part in parts.items():
        loaded = getattr(pipeline, name).state_dict()
        assert {key for key, value in part.state_dict().items() if not torch.equal(value, loaded[key])} == set()


@pytest.mark.parametrize(
    ("family", "class_name"), [("sd15", "StableDiffusionInpaintPipeline"), ("sdxl", "StableDiffusionXLInpaintPipeline")]
)
def test_a_file_for_inpainting_is_loaded_with_all_inputs_of_its_denoiser(small, tmp_path, family, class_name):
    path = tmp_path / "inpainting.safetensors"
    parts = save_single(path, small, family, channels=9)

    identified = identify.identify_path(path)
    pipeline = load_single_file(make_model(), path, torch.float32)

    assert (identified.kind, identified.family, identified.tasks) == ("single-file", family, (IMAGE_TO_IMAGE,))
    assert (identified.class_name, type(pipeline).__name__) == (class_name, class_name)
    assert pipeline.unet.config.in_channels == 9
    loaded = pipeline.unet.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in parts["unet"].state_dict().items())


def test_it_generates_like_any_other_model(small, checkpoints):
    path, _ = checkpoints["sd15"]
    model = make_model(repo=str(path), tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE))
    engine = DiffusionEngine(model)
    engine.load_model("cpu")

    assert {"unet", "vae", "text_encoder"} <= count_weights(model, path).keys()
    assert len(engine.capabilities["revision"]) == 40
    assert generate(engine, model, TEXT_TO_IMAGE)[0].width == 64
    engine.unload_model()


@pytest.mark.parametrize(
    ("missing", "reason"),
    [("first_stage_model.", "model without its VAE"), ("cond_stage_model.transformer.text_model.final", "lacks")],
)
def test_a_file_without_some_of_its_components_is_refused(small, checkpoints, tmp_path, missing, reason):
    path, weights = tmp_path / "part.safetensors", load_file(checkpoints["sd15"][0])
    save_file({name: value for name, value in weights.items() if not name.startswith(missing)}, path)

    with pytest.raises(ModelUnavailable, match=reason):
        load_single_file(make_model(), path, torch.float32)


def test_a_file_of_another_size_is_refused(small, checkpoints, tmp_path):
    path, weights = tmp_path / "other.safetensors", load_file(checkpoints["sd15"][0])
    weights["model.diffusion_model.out.2.bias"] = torch.zeros(5)
    save_file(weights, path)

    with pytest.raises(ModelUnavailable, match="does not fit sd15"):
        load_single_file(make_model(), path, torch.float32)


def test_a_file_that_is_not_a_complete_checkpoint_is_refused_by_its_kind(tmp_path):
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid_attn2_to_k.lora_down.weight": torch.zeros(4, 768)}, path)

    with pytest.raises(ModelUnavailable, match="is not a complete checkpoint: lora"):
        load_single_file(make_model(), path, torch.float32)


def test_a_file_marked_for_v_prediction_gets_a_v_prediction_scheduler(small, checkpoints, tmp_path):
    path = tmp_path / "v.safetensors"
    save_file({**load_file(checkpoints["sdxl"][0]), "v_pred": torch.zeros(0)}, path)

    config = load_single_file(make_model(), path, torch.float32).scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr) == ("v_prediction", False)


def test_the_tokenizer_is_clips():
    single_file._bpe_vocabulary.cache_clear()
    tokenizer, second = single_file._clip_tokenizer("<|endoftext|>"), single_file._clip_tokenizer("!")

    assert tokenizer("A photo of a  cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(tokenizer) == 49408
    assert tokenizer("a", padding="max_length").input_ids[2:] == [49407] * 75
    assert second("a", padding="max_length").input_ids[3:] == [0] * 74


@pytest.mark.parametrize(("family", "channels", "text_width"), [("sd15", 320, 768), ("sdxl", 320, 2048)])
def test_the_layouts_are_those_of_the_real_models(family, channels, text_width):
    unet = json.loads((single_file.LAYOUTS / family / "unet" / "config.json").read_text())

    assert (unet["block_out_channels"][0], unet["cross_attention_dim"]) == (channels, text_width)
