"""Requests that repaint a part of a picture: their area, strength and mask, and edits without an editing model."""

from dataclasses import replace

import pytest

from bot.commands import Edit, Imagine
from bot.commands.defaults import repeat_options
from bot.commands.edit import adapt_to_model
from bot.commands.inpainting import NAME_A_REGION, note_repainting
from bot.error_texts import explain
from bot.errors import InvalidOption, NoModel
from bot.jobs import ImageRef, Origin, StoredImage
from bot.models import (
    IMAGE_SEGMENTATION,
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    TEXT_TO_IMAGE,
    ModelRegistry,
    ModelSpec,
)

STARTER = ModelSpec(name="starter", title="Starter", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=".", demo=True)
REAL = replace(STARTER, name="real", title="Real", demo=False)
KLEIN = ModelSpec(name="klein", tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), repo="a/b", max_images=4)
WORDS = ModelSpec(name="words", tasks=(IMAGE_SEGMENTATION,), repo=".")
PHOTO = ImageRef("photo")
MASKED = (PHOTO, ImageRef("mask", "mask"))
CROWN, HAT = {"prompt": "a crown"}, {"prompt": "a crown", "region": "the hat"}
ORIGIN = Origin(platform="web", space_id="web", account_id="local")


def registry(*models):
    return ModelRegistry({model.name: model for model in models})


def stored(width, height):
    return StoredImage(id="x", media_type="image/png", width=width, height=height)


@pytest.mark.parametrize(("options", "images"), [(CROWN, MASKED), (HAT, (PHOTO,))], ids=["mask", "region"])
@pytest.mark.parametrize(
    ("more", "area", "strength"),
    [
        ({}, "masked", 1.0),
        ({"strength": 0.4}, "masked", 0.4),
        ({"size": "256x256"}, "whole", 1.0),
        ({"aspect": "3:2"}, "whole", 1.0),
        ({"width": 256, "inpaint_area": "masked"}, "masked", 1.0),
    ],
)
def test_only_the_part_is_drawn_unless_a_size_is_given(options, images, more, area, strength):
    filled = Imagine.from_options({**options, **more}, images).fill_options(STARTER, 7)

    assert (filled["inpaint_area"], filled["strength"]) == (area, strength)


def test_a_picture_without_a_part_has_no_area():
    filled = Imagine.from_options(CROWN, (PHOTO,)).fill_options(STARTER, 7)

    assert "inpaint_area" not in filled
    assert filled["strength"] == STARTER.strength


def test_a_repeated_inpainting_keeps_its_area():
    models = registry(STARTER)
    first = Imagine.from_options(HAT, (PHOTO,)).fill_options(STARTER, 7, aspect=1.5)

    again = repeat_options(Imagine, CROWN, first, (PHOTO,), models)
    filled = Imagine.from_options(again, (PHOTO,)).fill_options(STARTER, 7, aspect=1.5)

    assert filled["inpaint_area"] == "masked"
    assert (filled["width"], filled["height"]) == (first["width"], first["height"])


@pytest.mark.parametrize("size", [(600, 400), (60, 40), (1200, 850)])
def test_a_mask_may_have_another_size(size):
    command = Imagine.from_options(CROWN, MASKED)

    assert command.with_images([stored(600, 400), stored(*size)]) == command


@pytest.mark.parametrize("kind", [Imagine, Edit])
def test_a_mask_of_another_shape_is_refused_in_one_sentence(kind):
    with pytest.raises(InvalidOption) as refused:
        kind.from_options(CROWN, MASKED).with_images([stored(600, 400), stored(400, 400)])

    assert explain(refused.value) == (
        "The mask is 400x400 but its picture is 600x400. Use a mask with the same aspect ratio; any size works."
    )


@pytest.mark.parametrize(("options", "images"), [(CROWN, MASKED), (HAT, (PHOTO,))], ids=["mask", "region"])
@pytest.mark.parametrize("models", [(STARTER,), (STARTER, REAL), (REAL, replace(KLEIN, enabled=False))])
def test_an_edit_of_a_part_is_an_inpainting_where_no_model_edits_by_instruction(options, images, models):
    edit = Edit.from_options(options, images)

    model = edit.choose_model(registry(*models))
    adapted = adapt_to_model(edit, model)
    noted = note_repainting(ORIGIN, edit, adapted, model)

    assert (type(adapted), adapted.task) == (Imagine, IMAGE_TO_IMAGE)
    assert model == registry(*models).default_for(IMAGE_TO_IMAGE)
    assert adapted.fill_options(model, 7)["strength"] == 1.0
    assert {image.role for image in adapted.images} == {image.role for image in edit.images}
    assert noted.extra["notes"] == [
        f"No model here edits by instruction, so {model.title} repainted the part you named from the prompt."
    ]


@pytest.mark.parametrize(("options", "images"), [(CROWN, MASKED), (HAT, (PHOTO,))], ids=["mask", "region"])
def test_an_edit_of_a_part_follows_its_instruction_where_a_model_can(options, images):
    edit = Edit.from_options(options, images)

    model = edit.choose_model(registry(STARTER, KLEIN))
    filled = edit.fill_options(model, 7)

    assert model is KLEIN or model.name == "klein"
    assert adapt_to_model(edit, model) is edit
    assert filled["inpaint_area"] == "masked"
    assert "strength" not in filled
    assert note_repainting(ORIGIN, edit, edit, model) is ORIGIN


def test_a_mask_is_no_picture_of_an_edit_and_costs_nothing():
    edit, plain = Edit.from_options(CROWN, MASKED), Edit.from_options(CROWN, (PHOTO,))
    model = replace(KLEIN, max_images=1)

    assert edit.work_units(edit.fill_options(model, 7)) == plain.work_units(plain.fill_options(model, 7))


def test_an_ordinary_model_repaints_a_part_on_request():
    edit = Edit.from_options({**HAT, "model": "starter"}, (PHOTO,))

    assert edit.choose_model(registry(KLEIN, STARTER)).name == "starter"


def test_a_masked_imagine_is_an_edit_where_the_model_only_edits():
    command = Imagine.from_options(CROWN, MASKED)
    model = command.choose_model(registry(KLEIN))

    adapted = adapt_to_model(command, model)

    assert type(adapted) is Edit
    assert [image.role for image in adapted.images] == ["init", "mask"]
    assert adapted.fill_options(model, 7)["inpaint_area"] == "masked"


def test_what_inpainting_lacks_is_refused():
    edit = Edit.from_options({**HAT, "image_guidance_scale": 2.0}, (PHOTO,))

    with pytest.raises(InvalidOption) as refused:
        adapt_to_model(edit, edit.choose_model(registry(STARTER)))

    assert (refused.value.option, refused.value.problem) == ("image_guidance_scale", "model_lacks")


@pytest.mark.parametrize(("models", "sentence"), [((STARTER, WORDS), NAME_A_REGION), ((STARTER,), Edit.unavailable)])
def test_an_edit_without_a_part_or_an_editing_model_hints_at_regions(models, sentence):
    with pytest.raises(NoModel) as refused:
        Edit.from_options(CROWN, (PHOTO,)).choose_model(registry(*models))

    assert explain(refused.value) == sentence


def test_an_area_without_a_part_means_nothing():
    command = Imagine.from_options({**CROWN, "inpaint_area": "masked"}, (PHOTO,))

    assert "inpaint_area" not in command.fill_options(STARTER, 7)
