"""How the presets of 2026 are loaded: processors without torchvision, LoRAs, settings of the scheduler."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bot.errors import ModelUnavailable
from bot.models import split_repo_file
from inference.checkpoints import resolve
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.loader import load_pipeline
from inference.diffusion.pipeline_call import generate
from inference.diffusion.processors import load_processors
from inference.diffusion.samplers import Samplers
from inference.memory.planner import count_weights
from tests.inference.diffusion.test_lora import save_lora
from tests.inference.recent_families import TEMPLATE
from tests.inference.recent_presets import PRESETS, SHORT, WITH_LORA, make_folders, paint, request, spec_of

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    return make_folders(tmp_path_factory)


@pytest.mark.parametrize("name", ["qwen-image-2-1", "qwen-image-edit-2511"])
def test_processors_are_loaded_without_torchvision(folder_of, name):
    processors = load_processors({"processor": ["transformers", index_class(folder_of(name))]}, folder_of(name))
    prepared = processors["processor"](
        text=["<|image_pad|> a fox"], images=[Image.new("RGB", (64, 64), "red")], return_tensors="pt"
    )

    assert prepared["pixel_values"].isfinite().all()
    assert prepared["image_grid_thw"].prod() == len(prepared["pixel_values"])
    assert processors["processor"].chat_template == TEMPLATE


def test_a_processor_saved_in_one_file_is_loaded_too(folder_of, tmp_path):
    """As Transformers 5 saves them."""
    shutil.copytree(folder_of("qwen-image-2-1") / "processor", tmp_path / "processor")
    alone = tmp_path / "processor" / "preprocessor_config.json"
    settings = json.loads(alone.read_text()) | {"patch_size": 8}
    alone.unlink()
    (tmp_path / "processor" / "processor_config.json").write_text(
        json.dumps({"image_processor": settings, "processor_class": "Qwen3VLProcessor"})
    )

    processor = load_processors({"processor": ["transformers", "Qwen3VLProcessor"]}, tmp_path)["processor"]
    assert (processor.image_processor.patch_size, processor.chat_template) == (8, TEMPLATE)


def index_class(folder):
    return json.loads((folder / "model_index.json").read_text())["processor"][1]


@pytest.mark.parametrize("part", ["tokenizer", "text_encoder"])
def test_a_component_without_a_folder_is_named(folder_of, tmp_path, part):
    folder = Path(shutil.copytree(folder_of("ernie-image-turbo"), tmp_path / "ernie"))
    shutil.rmtree(folder / part)

    with pytest.raises(ModelUnavailable, match=f"its {part} is missing: there is no folder {part}"):
        load_pipeline(spec_of("ernie-image-turbo", folder), folder, "cpu")


def test_the_language_model_that_rewrites_prompts_is_not_loaded(folder_of):
    folder = folder_of("ernie-image-turbo")

    assert "pe" in json.loads((folder / "model_index.json").read_text())
    assert load_pipeline(spec_of("ernie-image-turbo", folder), folder, "cpu").pe is None


def test_its_weights_do_not_count_in_the_memory_plan(folder_of, tmp_path):
    folder = Path(shutil.copytree(folder_of("ernie-image-turbo"), tmp_path / "ernie"))
    (folder / "pe").mkdir()
    save_file({"weight": torch.zeros(64, 64)}, folder / "pe" / "model.safetensors")

    assert set(count_weights(spec_of("ernie-image-turbo", folder), folder)) == {"text_encoder", "transformer", "vae"}


def test_settings_of_the_scheduler_replace_those_of_the_repo(folder_of):
    wanted = PRESETS["qwen-image-edit-2511"].scheduler

    spec = spec_of("qwen-image-edit-2511", folder_of("qwen-image-edit-2511"))
    config = load_pipeline(spec, folder_of("qwen-image-edit-2511"), "cpu").scheduler.config
    assert {key: config[key] for key in wanted} == wanted
    with pytest.raises(ModelUnavailable, match="has no setting colour"):
        load_pipeline(replace(spec, scheduler={"colour": 1.0}), folder_of("qwen-image-edit-2511"), "cpu")


# ---------------------------------------------------------------- few-step LoRAs


@pytest.mark.parametrize("name", WITH_LORA)
def test_a_preset_with_a_few_step_lora_paints_for_two_people(name, tmp_path):
    folder = WITH_LORA[name](tmp_path / "model")
    plain = load_pipeline(spec_of(name, folder, variant=""), folder, "cpu")
    (tmp_path / "lora").mkdir()
    lora = save_lora(plain, tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    engine = DiffusionEngine(replace(spec_of(name, folder, variant=""), loras=(str(lora.parent),)))
    engine.load_model("cpu")
    spec = PRESETS[name]
    options: dict[str, Any] = {"sampler": spec.sampler, "guidance_scale": spec.guidance_scale}
    tasks = [request(name, "one", SHORT, **options), request(name, "other", "a blue cat", seed=2, **options)]

    painted = paint(engine, tasks)

    fused = engine._pipelines[""]
    for task in tasks:
        pixels, unlike = (paint_alone(pipeline, task) for pipeline in (fused, plain))
        assert numpy.abs(painted[task.id] - pixels).max() <= 1
        assert numpy.abs(pixels - unlike).max() > 1
    engine.unload_model()


def paint_alone(pipeline, task):
    """With the task's sampler."""
    pipeline.scheduler = Samplers(pipeline.scheduler).create_scheduler(task.options["sampler"])
    return generate(pipeline, task, task.options["seed"], lambda *_: None)[0].astype(int)


@pytest.mark.parametrize("name", ["qwen-image-2-1", "qwen-image-edit-2511"])
def test_the_lora_of_a_preset_is_found_in_its_repo_and_fused(folder_of, name, tmp_path, monkeypatch):
    (lora,) = PRESETS[name].loras
    repo, file = split_repo_file(lora)
    monkeypatch.setattr(resolve, "cached_repo_path", lambda *asked: {(repo, "", name): tmp_path}[asked])
    spec = spec_of(name, folder_of(name))
    layer = load_pipeline(spec, folder_of(name), "cpu").transformer.transformer_blocks[0].attn.to_q
    rows, width = layer.weight.shape
    key = "transformer.transformer_blocks.0.attn.to_q"
    tensors = {f"{key}.lora_A.weight": torch.ones(2, width), f"{key}.lora_B.weight": torch.ones(rows, 2)}
    save_file(tensors, tmp_path / (file or "pytorch_lora_weights.safetensors"))
    (tmp_path / "another.safetensors").write_bytes(b"")

    fused = load_pipeline(replace(spec, loras=(lora,)), folder_of(name), "cpu")

    changed = fused.transformer.transformer_blocks[0].attn.to_q.weight
    assert torch.allclose(changed, layer.weight + 2.0, atol=1e-5)


def test_a_lora_that_its_repo_lacks_is_named(folder_of, tmp_path, monkeypatch):
    monkeypatch.setattr(resolve, "cached_repo_path", lambda *_: tmp_path)
    spec = replace(spec_of("ernie-image-turbo", folder_of("ernie-image-turbo")), loras=("org/fast/four.safetensors",))

    with pytest.raises(ModelUnavailable, match=r"org/fast/four\.safetensors is not in the cache"):
        load_pipeline(spec, folder_of("ernie-image-turbo"), "cpu")
