"""The images of a request: how many of each role, and what may be said about one."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.commands import Caption, Edit, Imagine
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef, StoredImage
from bot.models import CONTROL_KINDS, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from tests.fakes import make_model

ID = "0" * 64
FOX = {"prompt": "a fox"}
PHOTO, MASK = ImageRef(ID), ImageRef(ID, "mask")
CANNY = ImageRef(ID, "control", kind="canny")
STYLE = ImageRef(ID, "reference", kind="style")
DEPTH, POSE, TILE = (replace(CANNY, kind=kind) for kind in ("depth", "pose", "tile"))


def refusal_of(*images, kind=Imagine):
    with pytest.raises(InvalidOption) as refused:
        kind.from_options(FOX if kind is not Caption else {}, images)
    return explain(refused.value)


@pytest.mark.parametrize(
    "images",
    [
        (CANNY,),
        (PHOTO, CANNY),
        (PHOTO, MASK, CANNY, DEPTH, POSE, STYLE),
        (STYLE, STYLE, replace(STYLE, kind="subject"), replace(STYLE, kind="", weight=0.5)),
        (replace(CANNY, weight=0, start=0.1, end=0.5, ready=True),),
        (replace(CANNY, weight=2),),
    ],
)
def test_a_request_may_have_images_of_every_role(images):
    assert Imagine.from_options(FOX, images).images == images


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (
            (replace(CANNY, kind=""),),
            "Say what kind of control the picture is: canny, lineart, scribble, depth, pose, ",
        ),
        ((replace(CANNY, kind="deph"),), "kind cannot be \u201cdeph\u201d. Did you mean depth? Choose one of: canny, "),
        ((replace(CANNY, kind="style"),), "kind cannot be \u201cstyle\u201d."),
        ((replace(STYLE, kind="canny"),), "kind cannot be \u201ccanny\u201d. Choose one of: style, subject."),
        ((CANNY, CANNY), "canny was given twice; give it once."),
        ((CANNY, DEPTH, POSE, TILE), "4 controls are too many; the limit here is 3."),
        ((STYLE,) * 5, "5 reference pictures are too many; the limit here is 4."),
        ((PHOTO, PHOTO), "2 pictures are too many; the limit here is 1."),
        ((PHOTO, MASK, MASK), "2 pictures are too many; the limit here is 1."),
        ((CANNY, MASK), "mask only works with an input picture"),
        ((replace(PHOTO, kind="canny"),), "A picture with the role \u201cinit\u201d has no kind: leave it out."),
        ((replace(PHOTO, weight=0.5),), "A picture with the role \u201cinit\u201d has no weight"),
        ((PHOTO, replace(MASK, end=0.5)), "A picture with the role \u201cmask\u201d has no end"),
        ((replace(STYLE, ready=True),), "A picture with the role \u201creference\u201d has no ready"),
        ((replace(CANNY, weight=math.nan),), "weight is nan, but must be 0 to 2."),
        ((replace(CANNY, weight=math.inf),), "weight is inf, but must be 0 to 2."),
        ((replace(CANNY, weight=10**400),), "weight is a huge number, but must be a number."),
        ((replace(STYLE, weight=-0.1),), "weight is -0.1, but must be 0 to 2."),
        (
            (replace(CANNY, start=0.5, end=0.5),),
            "A control that starts at 0.5 must end after that, but its end is 0.5.",
        ),
        ((replace(CANNY, start=1.5),), "start is 1.5, but must be 0 to 1."),
        ((replace(CANNY, end=math.nan),), "end is nan, but must be 0 to 1."),
    ],
)
def test_what_does_not_fit_is_one_sentence(images, sentence):
    assert refusal_of(*images).startswith(sentence)


def test_commands_without_controls_name_the_roles_that_they_take():
    assert refusal_of(CANNY, kind=Caption) == "role cannot be \u201ccontrol\u201d. Choose one of: init."


VALUES = st.one_of(st.floats(), st.integers(), st.just(10**400), st.floats(0, 2))


@settings(max_examples=80)
@given(
    st.lists(
        st.builds(
            ImageRef,
            st.just(ID),
            role=st.sampled_from(["init", "mask", "control", "reference", "output", ""]),
            kind=st.sampled_from([*CONTROL_KINDS, "style", "subject", "", "CANNY", "\0"]),
            weight=VALUES,
            start=VALUES,
            end=VALUES,
            ready=st.booleans(),
        ),
        max_size=6,
    ),
    st.sampled_from([Imagine, Edit]),
)
def test_any_images_are_accepted_as_they_are_or_refused_in_a_sentence(images, kind):
    try:
        accepted = kind.from_options(FOX, images).images
    except InvalidOption as refused:
        sentence = explain(refused)
        assert sentence.endswith(".")
        assert len(sentence) < 200
    else:
        assert len(accepted) == len(images)
        for image in accepted:
            assert 0 <= image.weight <= 2
            assert 0 <= image.start < image.end <= 1
            assert image.role == "control" or (image.start, image.end, image.ready) == (0, 1, False)


def test_a_control_without_an_input_picture_is_text_to_image_in_the_controls_shape():
    command = Imagine.from_options(FOX, (STYLE, CANNY))
    wide, high = (StoredImage(id=ID, media_type="image/png", width=300, height=side) for side in (100, 200))

    assert command.task == TEXT_TO_IMAGE
    assert command.choose_aspect([wide, high]) == 1.5
    assert "strength" not in command.fill_options(make_model(), 1, 1.5)


def test_the_input_picture_counts_more_than_a_control_and_a_reference_has_no_say():
    both = Imagine.from_options(FOX, (CANNY, PHOTO))
    wide, high = (StoredImage(id=ID, media_type="image/png", width=300, height=side) for side in (100, 200))

    assert both.task == IMAGE_TO_IMAGE
    assert both.choose_aspect([wide, high]) == 1.5
    assert Imagine.from_options(FOX, (STYLE,)).choose_aspect([wide]) is None


def test_an_edit_keeps_what_its_references_say_about_themselves():
    edited, reference = Edit.from_options(FOX, (PHOTO, replace(STYLE, weight=0.6))).images

    assert (edited.role, reference.role, reference.kind, reference.weight) == ("init", "reference", "style", 0.6)
