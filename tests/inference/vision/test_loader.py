"""BLIP-2 as it was published in its first years, mended when it is loaded; and models that do not see, refused."""

import json

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


@pytest.fixture(scope="module", params=LANGUAGES)
def published(request, tmp_path_factory):
    """A whole model, and the same in the old layout: no processor config, no image token anywhere."""
    whole = save_blip(tmp_path_factory.mktemp("whole"), request.param)
    old = save_blip(tmp_path_factory.mktemp("old"), request.param)
    strip(old)
    return whole, old


def strip(folder, *keys):
    (folder / "processor_config.json").unlink()
    change(folder / "config.json", lambda config: [config.pop(key, None) for key in ("image_token_index", *keys)])
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"):
        if (folder / name).exists():
            change(folder / name, without_image)


def change(path, how):
    content = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content))


def without_image(content):
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
    engine.load("cpu")
    picture = Image.linear_gradient("L").convert("RGB").resize((32, 32))
    said = []
    for command, task, options in (
        ("caption", IMAGE_TO_TEXT, {"max_new_tokens": 6}),
        ("ask", VISUAL_QUESTION_ANSWERING, {"max_new_tokens": 6, "question": question}),
    ):
        image = TaskImage("init", type("M", (), {"data": png(picture), "media_type": "image/png"})())
        engine.admit(make_task(command=command, task=task, images=(image,), options={"seed": 3, **options}))
        while not hasattr(event := engine.step()[-1], "finished"):
            pass
        said.append(event.finished.text)
    engine.unload()
    return said


def test_the_old_layout_lacks_what_it_is_said_to_lack(published):
    _, old = published

    assert "image_token_index" not in json.loads((old / "config.json").read_text())
    assert "<image>" not in AutoTokenizer.from_pretrained(old).get_vocab()


def test_an_old_repository_answers_as_the_whole_one(published):
    whole, old = published

    assert answers(old) == answers(whole)


def test_its_number_of_query_tokens_comes_from_the_config(published):
    _, old = published

    blip, processor = loader.load_blip(model_of(old), old, "cpu")

    assert processor.num_query_tokens == blip.config.num_query_tokens == 4
    assert blip.config.image_token_index == processor.tokenizer.convert_tokens_to_ids("<image>")


@pytest.mark.parametrize("language", LANGUAGES)
def test_embeddings_grow_only_for_a_token_outside_of_them(language, tmp_path):
    folder = save_blip(tmp_path, language)
    blip, processor = loader.load_blip(model_of(folder), folder, "cpu")
    rows = blip.get_input_embeddings().weight.shape[0]
    token = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert token < rows

    blip.resize_token_embeddings(token)
    loader.join_image_and_text(model_of(folder), blip, processor)
    assert blip.get_input_embeddings().weight.shape[0] == token + 1

    blip.resize_token_embeddings(token + 40)
    loader.join_image_and_text(model_of(folder), blip, processor)
    assert blip.get_input_embeddings().weight.shape[0] == token + 40


def test_a_token_that_the_sides_disagree_on_is_refused(tmp_path):
    folder = save_blip(tmp_path)
    change(folder / "config.json", lambda config: config.update(image_token_index=5))

    with pytest.raises(ModelUnavailable, match="image token is 5"):
        loader.load_blip(model_of(folder), folder, "cpu")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_model_that_does_not_see_is_refused(language, tmp_path):
    folder = save_blip(tmp_path, language)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if name.startswith("language_projection"):
            weights[name] = torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelUnavailable, match="does not see"):
        loader.load_blip(model_of(folder), folder, "cpu")


def test_weights_that_are_missing_are_not_made_up(tmp_path):
    folder = save_blip(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["language_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelUnavailable, match="language_projection"):
        loader.load_blip(model_of(folder), folder, "cpu")
