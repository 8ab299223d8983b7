"""`describe`, `match`, `edit` and `upscale`: what they take, and what they are filled in with."""

from dataclasses import replace

import pytest

from bot.chat.help_texts import format_models
from bot.commands import Describe, Edit, Match, Upscale
from bot.commands.match import split_texts
from bot.commands.upscale import describe_upscaling, explain_resize
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef, StoredImage
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelRegistry,
)
from bot.usecases.model_views import spec_body
from composition.settings import shipped_models
from tests.fakes import make_model

PHOTO = (ImageRef("0" * 64),)


def upscaling(width=256, height=128, **options):
    picture = StoredImage(id="0" * 64, media_type="image/png", width=width, height=height)
    return Upscale.from_options(options, PHOTO).with_images([picture])


def registry_of(*models):
    return ModelRegistry({model.name: model for model in models})


SMALL = make_model(name="small", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), max_size=256)
LARGE = make_model(name="large", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), max_size=1024)
WHOLE_ONLY = {"refines_in_tiles": False}
SMALL_WHOLE, LARGE_WHOLE = (replace(model, capabilities=WHOLE_ONLY) for model in (SMALL, LARGE))
SEEING = make_model(name="seeing", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING))


def test_a_picture_is_refined_by_the_first_model_that_takes_the_size():
    command = upscaling(prompt="a fox")
    model = command.choose_model(registry_of(SEEING, SMALL, LARGE))
    filled = command.fill_options(model, 5)

    assert model is LARGE
    assert (filled["method"], filled["width"], filled["height"]) == ("refine", 512, 256)
    assert (filled["strength"], filled["prompt"], filled["seed"], filled["count"]) == (0.3, "a fox", 5, 1)


@pytest.mark.parametrize("size", [(250, 128), (1000, 1000)])
def test_a_picture_of_a_size_that_no_model_takes_is_only_resized(size):
    command = upscaling(*size)
    filled = command.fill_options(command.choose_model(registry_of(SMALL_WHOLE, LARGE_WHOLE)), 5)

    assert (filled["method"], filled["width"]) == ("resize", size[0] * 2)
    assert "strength" not in filled
    assert command.work_units(filled) == (0, 0.0, 1)


def test_resizing_needs_no_model_that_paints():
    command = upscaling()

    assert command.fill_options(command.choose_model(registry_of(SEEING)), 5)["method"] == "resize"


@pytest.mark.parametrize(
    ("size", "note"),
    [
        ((2048, 512), "Only resized: large draws at most 1024 px a side, and 2048x512 is larger."),
        ((32, 512), "Only resized: large draws at least 64 px a side, and 32x512 is smaller."),
        ((500, 512), "Only resized: large draws multiples of 8 px, which 500x512 is not."),
        ((512, 512), "Only resized, to 512x512, without a model."),
    ],
)
def test_a_resized_picture_has_the_reason_of_the_model_that_came_nearest(size, note):
    assert explain_resize([SEEING, SMALL_WHOLE, LARGE_WHOLE], *size) == note


def test_without_a_model_that_starts_from_pictures_it_is_only_resized():
    note = "Only resized: no model here can start from a picture."

    assert explain_resize([SEEING], 512, 512) == note


REFINES_ALL = "upscale refines pictures of any size with it"
REFINES = "upscale refines up to {} px a side"
RESIZES = "upscale only resizes pictures of {} px: it draws at most {} px a side"


@pytest.mark.parametrize(
    ("preset", "text"),
    [
        ("starter-image", REFINES.format(256)),
        *((name, REFINES_ALL) for name in ("sd15-lcm", "sd-turbo", "sdxl-turbo", "sdxl")),
        ("flux2-klein-4b", "upscale only resizes: it cannot start from a picture"),
        ("z-image-turbo", REFINES_ALL),
        ("starter-vision", ""),
    ],
)
def test_every_list_of_models_says_what_upscaling_does(preset, text):
    spec = shipped_models()[preset]
    command = upscaling(spec.width, spec.height)

    assert describe_upscaling(spec) == text
    assert command.can_refine(spec) is text.startswith("upscale refines")
    assert spec_body(spec)["upscale"] == text
    assert text in format_models(registry_of(replace(spec, enabled=True)))


@pytest.mark.parametrize(
    ("preset", "text"), [("starter-image", REFINES.format(256)), ("sd15-lcm", RESIZES.format(512, 768))]
)
def test_a_model_that_cannot_refine_in_tiles_says_up_to_where(preset, text):
    assert describe_upscaling(replace(shipped_models()[preset], capabilities=WHOLE_ONLY)) == text


def test_a_house_without_models_says_so():
    with pytest.raises(InvalidOption) as refused:
        upscaling().choose_model(registry_of())

    assert refused.value.problem == "no_model"


def test_resizing_can_be_asked_for_and_refining_can_be_insisted_on():
    asked = upscaling(method="resize")
    insisted = upscaling(method="refine", model="small")
    models = registry_of(LARGE, SMALL_WHOLE)

    assert asked.fill_options(asked.choose_model(registry_of(LARGE)), 5)["method"] == "resize"
    with pytest.raises(InvalidOption) as refused:
        insisted.fill_options(insisted.choose_model(models), 5)
    assert explain(refused.value) == (
        "The model \u201csmall\u201d cannot refine at this size: it draws 64 to 256 px a side, in multiples of 8. "
        "Leave method out to resize only."
    )


def test_a_picture_that_would_become_huge_is_refused():
    with pytest.raises(InvalidOption) as refused:
        upscaling(4000, 4000).fill_options(LARGE, 5)

    assert refused.value.option == "scale"


def test_refining_costs_its_steps():
    command = upscaling(prompt="a fox", steps=20)

    assert command.work_units(command.fill_options(LARGE, 5)) == (6, 512 * 256, 1)


def test_an_edit_needs_a_model_that_takes_an_instruction():
    command = Edit.from_text("make it blue --image_guidance 2", PHOTO)
    able = make_model(name="able", tasks=(IMAGE_TEXT_TO_IMAGE,))
    filled = command.fill_options(command.choose_model(registry_of(SMALL, able)), 5, 2.0)

    assert (filled["prompt"], filled["image_guidance_scale"], filled["model"]) == ("make it blue", 2.0, "able")
    assert "strength" not in filled
    assert filled["width"] == pytest.approx(2 * filled["height"], rel=0.05)
    with pytest.raises(InvalidOption) as refused:
        command.choose_model(registry_of(SMALL, LARGE, SEEING))
    assert explain(refused.value) == "I can't edit pictures here yet; the owner can add a model."


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        ({}, False),  # it was never loaded
        ({"capabilities": {"options": ["guidance_scale", "image_guidance_scale"]}}, False),
        ({"capabilities": {"options": ["guidance_scale"]}}, True),
        ({"takes_guidance": False}, True),
    ],
)
def test_image_guidance_is_refused_where_it_changes_nothing(changes, is_refused):
    command = Edit.from_text("make it blue --image_guidance 2", PHOTO)
    model = make_model(tasks=(IMAGE_TEXT_TO_IMAGE,), **changes)

    if not is_refused:
        assert command.fill_options(model, 5)["image_guidance_scale"] == 2.0
        return
    with pytest.raises(InvalidOption) as refused:
        command.fill_options(model, 5)
    assert (refused.value.option, refused.value.problem) == ("image_guidance_scale", "model_lacks")


def test_an_edit_is_paid_for_all_its_steps():
    command = Edit.from_options({"prompt": "make it blue", "steps": 10, "count": 2}, PHOTO)

    assert command.work_units(command.fill_options(make_model(), 5)) == (10, 512 * 512, 2)


def test_the_first_picture_of_an_edit_is_changed_and_the_others_are_referred_to():
    plain = Edit.from_options({"prompt": "x"}, [ImageRef(name * 64) for name in "abc"])
    named = Edit.from_options(
        {"prompt": "x"}, [ImageRef("a" * 64, "reference"), ImageRef("b" * 64), ImageRef("c" * 64)]
    )
    unnamed = Edit.from_options({"prompt": "x"}, [ImageRef(name * 64, "reference") for name in "ab"])

    assert [(image.id[0], image.role) for image in plain.images] == [
        ("a", "init"),
        ("b", "reference"),
        ("c", "reference"),
    ]
    assert [(image.id[0], image.role) for image in named.images] == [
        ("b", "init"),
        ("a", "reference"),
        ("c", "reference"),
    ]
    assert [(image.id[0], image.role) for image in unnamed.images] == [("a", "init"), ("b", "reference")]


def test_the_same_picture_may_be_given_twice():
    assert len(Edit.from_options({"prompt": "x"}, [ImageRef("a" * 64)] * 2).images) == 2


def test_an_edit_takes_as_many_pictures_as_its_model():
    three = Edit.from_options({"prompt": "x"}, PHOTO * 3)
    with pytest.raises(InvalidOption) as refused:
        three.fill_options(make_model(name="able", tasks=(IMAGE_TEXT_TO_IMAGE,), max_images=2), 5)
    with pytest.raises(InvalidOption):
        Edit.from_options({"prompt": "x"}, PHOTO * 5)

    assert explain(refused.value) == "3 pictures are too many; the limit here is 2."
    assert three.fill_options(make_model(max_images=3), 5)["prompt"] == "x"


def test_each_picture_to_refer_to_costs_half_as_much_again():
    one, three = (Edit.from_options({"prompt": "x"}, PHOTO * count) for count in (1, 3))
    model = make_model(max_images=4)

    assert three.work_units(three.fill_options(model, 5))[1] == 2 * one.work_units(one.fill_options(model, 5))[1]


def test_four_descriptions_cost_four_captions():
    model = make_model(max_new_tokens=20)
    one, four = (Describe.from_options({"count": count}, PHOTO) for count in (1, 4))

    assert Describe.from_options({}, PHOTO).fill_options(model, 1)["count"] == 4
    assert four.work_units(four.fill_options(model, 1))[0] == 4 * one.work_units(one.fill_options(model, 1))[0] == 80


def test_texts_to_match_stand_in_one_line_with_bars_between():
    command = Match.from_text("a fox in the snow | a cat|a fox in the snow | ", PHOTO)
    filled = command.fill_options(make_model(name="judge"), 5)

    assert split_texts(filled["texts"]) == ["a fox in the snow", "a cat"]
    assert filled["model"] == "judge"
    assert command.search_text == filled["texts"]
    assert command.work_units(filled) == (1, 0.0, 1)


def test_texts_to_match_may_be_given_as_a_flag():
    command = Match.from_text("--model judge --texts a fox | a cat", PHOTO)

    assert dict(command.values) == {"model": "judge", "texts": "a fox | a cat"}


@pytest.mark.parametrize(("texts", "count"), [(" | |", 0), ("|".join(map(str, range(11))), 11)])
def test_no_texts_and_too_many_are_refused(texts, count):
    with pytest.raises(InvalidOption) as refused:
        Match.from_options({"texts": texts}, PHOTO).fill_options(make_model(), 5)

    assert explain(refused.value) == f"texts has {count} texts, but must have 1 to 10, separated by |."


def test_a_match_needs_a_model_that_matches():
    judge = make_model(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,))

    assert Match.from_options({"texts": "a fox"}, PHOTO).choose_model(registry_of(SEEING, judge)) is judge
    with pytest.raises(InvalidOption):
        Match.from_options({"texts": "a fox"}, PHOTO).choose_model(registry_of(SEEING))
