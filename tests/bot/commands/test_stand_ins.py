"""A demo never stands in for a real model: commands use what the real one can, or say which model can."""

from dataclasses import replace

import pytest

from bot import error_texts
from bot.commands import COMMANDS, Edit, Imagine, Upscale
from bot.commands.edit import adapt_to_model
from bot.commands.upscale import explain_resize
from bot.errors import InvalidOption
from bot.jobs import ImageRef, StoredImage
from bot.models import (
    IMAGE_SEGMENTATION,
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelRegistry,
)
from tests.fakes import make_model

STARTER = make_model(
    name="starter", demo=True, tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), width=128, height=128, min_size=64, max_size=256
)
STARTER_VISION = make_model(name="starter-vision", demo=True, tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING))
STARTER_MATCH = make_model(name="starter-match", demo=True, tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,))
STARTER_SEGMENT = make_model(name="starter-segment", demo=True, tasks=(IMAGE_SEGMENTATION,))
KLEIN = make_model(name="klein", tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), max_images=4)
TEXT_ONLY = make_model(name="text-only", tasks=(TEXT_TO_IMAGE,))
CAPTIONS = make_model(name="captions", tasks=(IMAGE_TO_TEXT,))
SDXL = make_model(name="sdxl", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), enabled=False)
PHOTO = (ImageRef("0" * 64),)
MASKED = (*PHOTO, ImageRef("1" * 64, role="mask"))


def registry(*models):
    every = (*models, STARTER, STARTER_VISION, STARTER_MATCH, STARTER_SEGMENT)
    return ModelRegistry({model.name: model for model in every})


def chosen(model):
    """As `models use` adds it."""
    return replace(model, default_for=model.tasks)


@pytest.mark.parametrize("real", [KLEIN, TEXT_ONLY])
def test_a_real_model_that_is_chosen_after_a_demo_replaces_it_for_related_tasks(real):
    models = registry()
    models.add_model(chosen(STARTER))
    models.add_model(chosen(STARTER_VISION))

    models.add_model(chosen(real))

    assert models.default_for(TEXT_TO_IMAGE).name == real.name
    assert models.default_for(IMAGE_TO_IMAGE) is None
    assert models.default_for(IMAGE_TO_TEXT).name == STARTER_VISION.name


def test_a_demo_that_is_chosen_after_a_real_model_does_what_it_was_chosen_for():
    models = registry(KLEIN)

    models.add_model(replace(STARTER, default_for=(IMAGE_TO_IMAGE,)))

    assert models.default_for(TEXT_TO_IMAGE).name == KLEIN.name
    assert models.default_for(IMAGE_TO_IMAGE).name == STARTER.name


def picture(side: int) -> StoredImage:
    return StoredImage(id="0" * 64, media_type="image/png", width=side, height=side)


def refusal(command, models) -> str:
    with pytest.raises(InvalidOption) as refused:
        command.fill_options(command.choose_model(models), 7)
    return error_texts.explain(refused.value)


def test_a_model_that_cannot_start_from_an_image_takes_it_as_a_reference():
    command = Imagine.from_options({"prompt": "a fox"}, PHOTO)

    model = command.choose_model(registry(KLEIN))
    adapted = adapt_to_model(command, model)

    assert (model.name, type(adapted), adapted.task) == ("klein", Edit, IMAGE_TEXT_TO_IMAGE)
    assert "strength" not in adapted.fill_options(model, 7)
    assert [image.role for image in adapted.images] == ["init"]


def test_a_strength_for_a_model_that_takes_a_reference_is_refused():
    sentence = refusal(Imagine.from_options({"prompt": "a fox", "strength": 0.5}, PHOTO), registry(KLEIN))

    assert sentence == ("The model “klein” does not support strength: leave it out, or choose another model.")


@pytest.mark.parametrize(
    ("name", "options", "images", "real", "demo"),
    [
        ("imagine", {"prompt": "a fox"}, PHOTO, TEXT_ONLY, "starter"),
        ("imagine", {"prompt": "a fox"}, MASKED, TEXT_ONLY, "starter"),
        ("imagine", {"prompt": "a fox"}, (), replace(KLEIN, tasks=(IMAGE_TEXT_TO_IMAGE,)), "starter"),
        ("ask", {"question": "what?"}, PHOTO, CAPTIONS, "starter-vision"),
    ],
)
def test_where_only_a_demo_could_do_it_a_sentence_names_it(name, options, images, real, demo):
    command = COMMANDS[name].from_options(options, images)

    sentence = refusal(command, registry(real))
    with_preset = refusal(command, registry(real, replace(SDXL, tasks=(command.task,))))

    assert sentence == f"The model “{real.name}” cannot do that. Models here that can, if you name one: {demo}."
    assert "`easel models use sdxl`" in with_preset
    named = COMMANDS[name].from_options({**options, "model": demo}, images)
    assert named.choose_model(registry(real)).name == demo


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"edit"}))
def test_without_a_real_model_of_its_kind_the_demo_does_it(name):
    kind = COMMANDS[name]
    main = next((spec.name for spec in kind.specs if spec.is_main), "")
    given = {main: "a fox"} if main else {}
    images = PHOTO if kind.images_needed else ()
    other = CAPTIONS if kind.answers == "images" else TEXT_ONLY

    assert kind(values=given, images=images).choose_model(registry(other)).demo


def test_a_demo_that_the_owner_made_the_default_stays_it():
    chosen = ModelRegistry({"klein": KLEIN, "starter": replace(STARTER, default_for=(IMAGE_TO_IMAGE,))})

    assert chosen.default_for(IMAGE_TO_IMAGE).name == "starter"


def test_an_upscale_is_not_refined_by_a_demo_and_says_why():
    models = registry(TEXT_ONLY)
    command = Upscale.from_options({}, PHOTO).with_images([picture(100)])

    model = command.choose_model(models)

    assert (model.name, command.fill_options(model, 7)["method"]) == ("text-only", "resize")
    able = [one for one in models if not models.is_stand_in(one, IMAGE_TO_IMAGE)]
    assert explain_resize(able, 200, 200) == "Only resized: no model here can start from a picture."
    assert (
        Upscale.from_options({"model": "starter"}, PHOTO).with_images([picture(64)]).choose_model(models).name
        == "starter"
    )
