"""`describe`, `match`, `edit` and `upscale`: what they take, and what they are filled in with."""

import pytest

from bot.commands import Describe, Edit, Match, Upscale
from bot.commands.match import texts_in
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef, Picture
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    Models,
)
from tests.fakes import make_model

PHOTO = (ImageRef("0" * 64),)


def upscaling(width=256, height=128, **options):
    picture = Picture(id="0" * 64, media_type="image/png", width=width, height=height)
    return Upscale.read(options, PHOTO).seeing([picture])


def house(*models):
    return Models({model.name: model for model in models})


SMALL = make_model(name="small", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), max_size=256)
LARGE = make_model(name="large", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), max_size=1024)
SEEING = make_model(name="seeing", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING))


def test_a_picture_is_refined_by_the_first_model_that_takes_the_size():
    command = upscaling(prompt="a fox")
    model = command.choose_model(house(SEEING, SMALL, LARGE))
    filled = command.fill(model, 5)

    assert model is LARGE
    assert (filled["method"], filled["width"], filled["height"]) == ("refine", 512, 256)
    assert (filled["strength"], filled["prompt"], filled["seed"], filled["count"]) == (0.3, "a fox", 5, 1)


@pytest.mark.parametrize("size", [(250, 128), (1000, 1000)])
def test_a_picture_of_a_size_that_no_model_takes_is_only_resized(size):
    command = upscaling(*size)
    filled = command.fill(command.choose_model(house(SMALL, LARGE)), 5)

    assert (filled["method"], filled["width"]) == ("resize", size[0] * 2)
    assert "strength" not in filled
    assert command.steps_of(filled) == (0, 0.0, 1)


def test_resizing_needs_no_model_that_paints():
    command = upscaling()

    assert command.fill(command.choose_model(house(SEEING)), 5)["method"] == "resize"


def test_a_house_without_models_says_so():
    with pytest.raises(InvalidOption) as refused:
        upscaling().choose_model(house())

    assert refused.value.problem == "no_model"


def test_resizing_can_be_asked_for_and_refining_can_be_insisted_on():
    asked = upscaling(method="resize")
    insisted = upscaling(method="refine", model="small")

    assert asked.fill(asked.choose_model(house(LARGE)), 5)["method"] == "resize"
    with pytest.raises(InvalidOption) as refused:
        insisted.fill(insisted.choose_model(house(LARGE, SMALL)), 5)
    assert explain(refused.value).startswith("The model \u201csmall\u201d does not take method")


def test_a_picture_that_would_become_huge_is_refused():
    with pytest.raises(InvalidOption) as refused:
        upscaling(4000, 4000).fill(LARGE, 5)

    assert refused.value.option == "scale"


def test_refining_costs_its_steps():
    command = upscaling(prompt="a fox", steps=20)

    assert command.steps_of(command.fill(LARGE, 5)) == (6, 512 * 256, 1)


def test_an_edit_needs_a_model_that_takes_an_instruction():
    command = Edit.read_line("make it blue --image_guidance 2", PHOTO)
    able = make_model(name="able", tasks=(IMAGE_TEXT_TO_IMAGE,))
    filled = command.fill(command.choose_model(house(SMALL, able)), 5, 2.0)

    assert (filled["prompt"], filled["image_guidance_scale"], filled["model"]) == ("make it blue", 2.0, "able")
    assert "strength" not in filled
    assert filled["width"] == pytest.approx(2 * filled["height"], rel=0.05)
    with pytest.raises(InvalidOption) as refused:
        command.choose_model(house(SMALL, LARGE, SEEING))
    assert explain(refused.value) == "No model here can do \u201cedit\u201d. The owner can add one to the config."


def test_an_edit_is_paid_for_all_its_steps():
    command = Edit.read({"prompt": "make it blue", "steps": 10, "count": 2}, PHOTO)

    assert command.steps_of(command.fill(make_model(), 5)) == (10, 512 * 512, 2)


def test_the_first_picture_of_an_edit_is_changed_and_the_others_are_referred_to():
    plain = Edit.read({"prompt": "x"}, [ImageRef(name * 64) for name in "abc"])
    named = Edit.read({"prompt": "x"}, [ImageRef("a" * 64, "reference"), ImageRef("b" * 64), ImageRef("c" * 64)])
    unnamed = Edit.read({"prompt": "x"}, [ImageRef(name * 64, "reference") for name in "ab"])

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
    assert len(Edit.read({"prompt": "x"}, [ImageRef("a" * 64)] * 2).images) == 2


def test_an_edit_takes_as_many_pictures_as_its_model():
    three = Edit.read({"prompt": "x"}, PHOTO * 3)
    with pytest.raises(InvalidOption) as refused:
        three.fill(make_model(name="able", tasks=(IMAGE_TEXT_TO_IMAGE,), max_images=2), 5)
    with pytest.raises(InvalidOption):
        Edit.read({"prompt": "x"}, PHOTO * 5)

    assert explain(refused.value) == "3 pictures are too many: at most 2 here."
    assert three.fill(make_model(max_images=3), 5)["prompt"] == "x"


def test_each_picture_to_refer_to_costs_half_as_much_again():
    one, three = (Edit.read({"prompt": "x"}, PHOTO * count) for count in (1, 3))
    model = make_model(max_images=4)

    assert three.steps_of(three.fill(model, 5))[1] == 2 * one.steps_of(one.fill(model, 5))[1]


def test_four_descriptions_cost_four_captions():
    model = make_model(max_new_tokens=20)
    one, four = (Describe.read({"count": count}, PHOTO) for count in (1, 4))

    assert Describe.read({}, PHOTO).fill(model, 1)["count"] == 4
    assert four.steps_of(four.fill(model, 1))[0] == 4 * one.steps_of(one.fill(model, 1))[0] == 80


def test_texts_to_match_stand_in_one_line_with_bars_between():
    command = Match.read_line("a fox in the snow | a cat|a fox in the snow | ", PHOTO)
    filled = command.fill(make_model(name="judge"), 5)

    assert texts_in(filled["texts"]) == ["a fox in the snow", "a cat"]
    assert filled["model"] == "judge"
    assert command.needle == filled["texts"]
    assert command.steps_of(filled) == (1, 0.0, 1)


def test_texts_to_match_may_be_given_as_a_flag():
    command = Match.read_line("--model judge --texts a fox | a cat", PHOTO)

    assert dict(command.values) == {"model": "judge", "texts": "a fox | a cat"}


@pytest.mark.parametrize(("texts", "count"), [(" | |", 0), ("|".join(map(str, range(11))), 11)])
def test_no_texts_and_too_many_are_refused(texts, count):
    with pytest.raises(InvalidOption) as refused:
        Match.read({"texts": texts}, PHOTO).fill(make_model(), 5)

    assert explain(refused.value) == f"texts has {count} texts, but must have 1 to 10, with | between them."


def test_a_match_needs_a_model_that_matches():
    judge = make_model(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,))

    assert Match.read({"texts": "a fox"}, PHOTO).choose_model(house(SEEING, judge)) is judge
    with pytest.raises(InvalidOption):
        Match.read({"texts": "a fox"}, PHOTO).choose_model(house(SEEING))
