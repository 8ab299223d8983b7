"""LoRAs of tiny image models, each family by the same steps; captions; what the test of samples decides."""

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bot.error_texts import explain
from bot.errors import TrainingRefused
from inference.diffusion.loader import load_pipeline
from inference.diffusion.lora import load_lora
from inference.learning import image_model, image_prompts, image_training, training_loop, training_session
from inference.learning.image_comparison import judge_features
from inference.learning.image_model import TrainedImageModel
from inference.learning.image_prompts import new_prompts, prior_prompts
from inference.learning.image_training import train_image_adapter
from tests.inference.families import save_klein, save_sdxl, save_z_image
from tests.inference.learning.trainings import make_session
from tests.inference.recent_families import save_krea2, save_qwen_edit, save_qwen_image_21
from tests.inference.support import make_model
from tests.inference.tiny import save_diffusion

SAVERS = {
    "sd": save_diffusion,
    "sdxl": save_sdxl,
    "klein": save_klein,
    "z-image": save_z_image,
    "krea2": save_krea2,
    "qwen-image-21": save_qwen_image_21,
}
UNETS = ("sd", "sdxl")
SIZE = 64


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By family, saved when first asked for."""
    saved = {}

    def folder_of(family, dtype=None):
        if (family, dtype) not in saved:
            folder = saved[family, dtype] = SAVERS[family](tmp_path_factory.mktemp("image-models") / family)
            for file in folder.rglob("*.safetensors") if dtype else ():
                _convert(file, dtype)
        return saved[family, dtype]

    return folder_of


def _convert(file, dtype):
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    save_file({name: value.to(dtype) for name, value in load_file(file).items()}, file, metadata)


@pytest.fixture(autouse=True)
def few_renders(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(image_prompts, "TEST_PROMPTS", 2)
    monkeypatch.setattr(image_training, "PRIOR_PICTURES", 2)
    monkeypatch.setattr(image_training, "KNOWN_PICTURES", 1)
    monkeypatch.setattr(image_training, "SMALL", replace(image_training.SMALL, rows=2))


def make_spec(folder, **fields):
    steps = 2 if folder.name == "qwen-image-21" else 1  # its schedule has no single step
    return make_model("tiny", repo=str(folder), width=SIZE, height=SIZE, steps=steps, guidance_scale=1.0, **fields)


def write_pictures(place, captions=("a red fox",) * 4):
    folder = place / "folder"
    folder.mkdir(parents=True)
    lines = []
    for number, caption in enumerate(captions):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def train(place, spec, **fields):
    """The report, and the weights' file."""
    session = make_session(place, **{"kind": "image", "model": spec, "words": "a fox", "steps": 2, **fields})
    return train_image_adapter(session), place / "adapters" / "foxes" / "adapter_model.safetensors"


@pytest.fixture
def card_with_bfloat16(monkeypatch):
    """Trains in the number formats of a GPU, on the processor."""
    for module in (image_model, training_loop):
        monkeypatch.setattr(module, "can_train_in_bfloat16", lambda device: True)
    AcceleratorState._reset_state(reset_partial_state=True)  # there is one for a process
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("family", SAVERS)
def test_each_family_trains_in_bfloat16_a_lora_that_its_own_pipeline_loads(
    folders, tmp_path, family, card_with_bfloat16
):
    spec = make_spec(folders(family))
    write_pictures(tmp_path)

    report, weights = train(tmp_path, spec)

    stored = load_file(weights)
    assert (report.steps, len(report.samples) % 2) == (2, 0)
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in stored.values())
    assert any(value.any() for name, value in stored.items() if ".lora_B." in name)
    pipeline = load_pipeline(replace(spec, dtype="float32"), folders(family), "cpu")
    load_lora(pipeline, weights, "foxes")
    loaded = [one for part in pipeline.components.values() for one in _lora_parameters(part)]
    assert sum(one.numel() for one in loaded) == sum(value.numel() for value in stored.values())


def _lora_parameters(part):
    modules = part.named_parameters() if isinstance(part, torch.nn.Module) else ()
    return [one for name, one in modules if ".lora_" in name]


@pytest.mark.parametrize("family", SAVERS)
def test_training_places_latents_and_time_as_the_pipeline_does_in_its_first_call(folders, family):
    model = TrainedImageModel(make_spec(folders(family)), "cpu")
    call = model.calls.record("a red fox")
    clean = model.encode(Image.new("RGB", (SIZE, SIZE), "teal"))

    first = float(call[model.family.time].max())
    level = 1.0 if model.family.is_flow else first / 1000

    rows = model.noise.add(clean, torch.randn(clean.shape), torch.full((1,), level))

    placed = model.family.place(rows.noisy, rows.times)
    assert placed.keys() <= call.keys()
    assert placed[model.family.time].float().item() == pytest.approx(first, abs=1e-3)
    assert _shapes(placed[model.family.latents]) == _shapes(call[model.family.latents])


def _shapes(latents):
    return [tuple(one.shape) for one in latents] if isinstance(latents, list) else [tuple(latents.shape)]


def test_rows_of_several_prompts_share_a_pass_and_equal_each_alone(folders):
    model = TrainedImageModel(make_spec(folders("sdxl")), "cpu")
    calls = [model.calls.record(prompt) for prompt in ("a red fox", "the cat on blue", "")]
    noisy, times = torch.randn(3, 4, 8, 8), torch.tensor([1, 500, 999])
    with torch.no_grad():
        alone = [model.calls.predict([call], noisy[n : n + 1], times[n : n + 1]) for n, call in enumerate(calls)]
        together = model.calls.predict(calls, noisy, times)

    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_a_training_in_half_precision_that_was_killed_resumes_to_the_same_weights(folders, tmp_path, monkeypatch):
    always = partial(training_loop.LoopSettings, save_every_s=0.0)
    monkeypatch.setattr(image_training, "LoopSettings", always)
    monkeypatch.setattr(training_session, "MIN_INTERVAL_S", 0.0)
    spec = make_spec(folders("sd", torch.float16), dtype="float16")
    for name in ("whole", "killed"):
        write_pictures(tmp_path / name)
    _, whole = train(tmp_path / "whole", spec, steps=3)

    def kill_at_second_step(progress):
        if progress.stage == "training" and progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", spec, steps=3, send=kill_at_second_step)
    file = tmp_path / "killed" / "work" / "state" / training_loop.CHECKPOINT
    checkpoint: Any = training_loop.load_checkpoint(file)
    training_loop.save_atomically(checkpoint | {"state": checkpoint["state"] | {"seconds": 500.0}}, file)
    report, resumed = train(tmp_path / "killed", spec, steps=3)

    expected, found = load_file(whole), load_file(resumed)
    assert (checkpoint["state"]["step"], report.steps) == (1, 3)
    assert report.seconds > 500
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert max(float((expected[name] - found[name]).abs().max()) for name in expected) == 0.0


def test_samples_are_marked_as_generated_and_say_how_to_repeat_them(folders, tmp_path):
    write_pictures(tmp_path)

    report, weights = train(tmp_path, make_spec(folders("sd", torch.bfloat16), dtype="auto"))

    assert len(report.samples) == 2 * len(report.examples)
    assert all(np.isfinite(loss) for _, loss in report.losses)
    for name in report.samples:
        with Image.open(weights.parent / name) as image:
            assert image.size == (SIZE, SIZE)
            assert "trainedAlgorithmicMedia" in str(image.info)
            assert "Steps: 1" in image.info["parameters"]


def test_captions_come_from_metadata_text_files_and_the_vision_model(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
    lines = [{"file_name": f"{number}.png"} for number in range(4)]
    lines[0]["caption"] = "a red Zorp"
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "1.txt").write_text("it sits on\nblue", encoding="utf-8")
    session = make_session(tmp_path, kind="image", words="a zorp", captions={"2.png": "a zorp, a cat"})

    captions = image_training.read_captions(session, image_training.read_examples(session, require_texts=False))

    assert captions == ["a red Zorp", "a zorp, it sits on blue", "a zorp, a cat", "a zorp"]


def test_a_picture_without_caption_and_words_is_refused(tmp_path):
    write_pictures(tmp_path, ("a fox", "a cat", "", "red"))

    with pytest.raises(TrainingRefused) as refused:
        train(tmp_path, make_spec(tmp_path), words="")

    assert "2.png has no caption" in explain(refused.value)


def test_other_things_in_the_captions_words_are_kept_too():
    prompts = prior_prompts(["a red zorp on blue"], "a zorp", 6, is_demo=True)

    assert prompts[0] == ""
    assert "a red cat on blue" in prompts
    assert not any("zorp" in prompt for prompt in prompts)


def test_new_prompts_are_captions_and_the_words_in_other_places(monkeypatch):
    monkeypatch.setattr(image_prompts, "TEST_PROMPTS", 8)

    prompts = new_prompts(["a red zorp", "a blue zorp"], "a zorp", is_demo=True)

    assert prompts[:2] == ["a red zorp", "a blue zorp"]
    assert len(prompts) == 8
    assert all(prompt.startswith("a zorp on a") for prompt in prompts[2:])


@pytest.mark.parametrize(
    ("saver", "fields", "sentence"),
    [
        (save_qwen_edit, {"tasks": ("image-text-to-image",)}, "name a model that answers questions"),
        (save_diffusion, {"activation_mb": 10**9}, "Training needs about"),
    ],
)
def test_models_that_cannot_be_trained_are_refused_with_a_sentence(tmp_path, saver, fields, sentence):
    write_pictures(tmp_path)

    with pytest.raises(TrainingRefused) as refused:
        train(tmp_path, make_spec(saver(tmp_path / "model"), **fields))

    assert sentence in explain(refused.value)


def test_a_picture_is_right_by_what_resembles_it_most():
    taught = torch.tensor([[10.0, 0, 0], [10.0, 1, 0]])
    new_before = torch.tensor([[0.0, 9, 0], [0.0, 9, 1]])
    known_before = torch.tensor([[0.0, 0, 9], [-9.0, 0, 0]])
    new_after = torch.tensor([[9.0, 0.5, 0], [0.0, 8, 0]])
    known_after = torch.tensor([[0.0, 0, 8], [9.0, 0, 0]])

    new_right, known_right = judge_features(taught, new_before, known_before, new_after, known_after)

    assert new_right == ([False, False], [True, False])
    assert known_right == [True, False]
