"""BLIP-2 repositories in the original layout are repaired on loading; models that ignore images are refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from bot.errors import ModelUnavailable
from bot.models import IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING
from bot.ports import TaskImage
from inference.vision import loader
from inference.vision.engine import VisionEngine
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_blip

LANGUAGES = ("opt", "t5")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders by language model."""
    return {language: save_blip(tmp_path_factory.mktemp("models") / language, language) for language in LANGUAGES}


@pytest.fixture
def copy_model(models, tmp_path):
    """Copies a model into a folder that the test may change."""
    return lambda language="opt": Path(shutil.copytree(models[language], tmp_path / language))


@pytest.fixture(scope="module", params=LANGUAGES)
def published(request, models, tmp_path_factory):
    """A current model, and the same in the original layout: no processor config, no image token."""
    current = models[request.param]
    original = Path(shutil.copytree(current, tmp_path_factory.mktemp("original") / "model"))
    to_original_layout(original)
    return current, original


def to_original_layout(folder):
    (folder / "processor_config.json").unlink()
    edit_json(folder / "config.json", lambda config: config.pop("image_token_index", None))
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"):
        if (folder / name).exists():
            edit_json(folder / name, remove_image_token)


def edit_json(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def remove_image_token(content):
    content.pop("<image>", None)
    if "added_tokens" in content:
        content["added_tokens"] = [one for one in content["added_tokens"] if one["content"] != "<image>"]
    for key in ("additional_special_tokens", "extra_special_tokens"):
        content.pop(key, None)
    decoder = content.get("added_tokens_decoder", {})
    for index in [index for index, one in decoder.items() if one["content"] == "<image>"]:
        del decoder[index]
    (content.get("model") or {}).get("vocab", {}).pop("<image>", None) if isinstance(
        (content.get("model") or {}).get("vocab"), dict
    ) else None


def model_of(folder):
    return make_model("blip", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo=str(folder), dtype="float32")


def answers(folder, question="what is this?"):
    engine = VisionEngine(model_of(folder))
    engine.load_model("cpu")
    gradient = Image.linear_gradient("L").convert("RGB").resize((32, 32))
    texts = []
    for command, task, options in (
        ("caption", IMAGE_TO_TEXT, {"max_new_tokens": 6}),
        ("ask", VISUAL_QUESTION_ANSWERING, {"max_new_tokens": 6, "question": question}),
    ):
        image = TaskImage("init", type("M", (), {"data": png(gradient), "media_type": "image/png"})())
        engine.add_task(make_task(command=command, task=task, images=(image,), options={"seed": 3, **options}))
        while not hasattr(event := engine.step()[-1], "result"):
            pass
        texts.append(event.result.text)
    engine.unload_model()
    return texts


def test_the_original_layout_has_no_image_token(published):
    _, original = published

    assert "image_token_index" not in json.loads((original / "config.json").read_text())
    assert "<image>" not in AutoTokenizer.from_pretrained(original).get_vocab()


def test_a_repository_in_the_original_layout_answers_like_a_current_one(published):
    current, original = published

    assert answers(original) == answers(current)


def test_the_number_of_query_tokens_comes_from_the_config(published):
    _, original = published

    blip, processor = loader.load_blip(model_of(original), original, "cpu")

    assert processor.num_query_tokens == blip.config.num_query_tokens == 4
    assert blip.config.image_token_index == processor.tokenizer.convert_tokens_to_ids("<image>")


@pytest.mark.parametrize("language", LANGUAGES)
def test_embeddings_grow_only_for_a_token_outside_of_them(language, models):
    folder = models[language]
    blip, processor = loader.load_blip(model_of(folder), folder, "cpu")
    rows = blip.get_input_embeddings().weight.shape[0]
    token = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert token < rows

    blip.resize_token_embeddings(token)
    loader.align_image_token(model_of(folder), blip, processor)
    assert blip.get_input_embeddings().weight.shape[0] == token + 1

    blip.resize_token_embeddings(token + 40)
    loader.align_image_token(model_of(folder), blip, processor)
    assert blip.get_input_embeddings().weight.shape[0] == token + 40


def test_a_model_whose_config_and_tokenizer_disagree_on_the_image_token_is_refused(copy_model):
    folder = copy_model()
    edit_json(folder / "config.json", lambda config: config.update(image_token_index=5))

    with pytest.raises(ModelUnavailable, match="image token is 5"):
        loader.load_blip(model_of(folder), folder, "cpu")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_that_ignores_its_image_input_is_refused(language, copy_model):
    folder = copy_model(language)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.startswith("language_projection"):
            weights[name] = torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelUnavailable, match="ignores its image input"):
        loader.load_blip(model_of(folder), folder, "cpu")


def test_missing_weights_are_not_initialised_at_random(copy_model):
    folder = copy_model()
    weights = load_file(folder / "model.safetensors")
    del weights["language_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelUnavailable, match="language_projection"):
        loader.load_blip(model_of(folder), folder, "cpu")
