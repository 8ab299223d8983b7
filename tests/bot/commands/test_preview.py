"""`preview`: what it shows, with which model, at which size; what does not fit is one sentence."""

import pytest

from bot.chat.buttons import offered_buttons
from bot.chat.texts import format_job_line, format_result
from bot.commands import Preview
from bot.commands.preview import needs_no_model, only_changes_images
from bot.error_texts import explain
from bot.errors import InvalidOption, NoModel
from bot.jobs import ImageRef, JobState
from bot.models import (
    CONTROL_KINDS,
    DEPTH_ESTIMATION,
    IMAGE_SEGMENTATION,
    IMAGE_TO_TEXT,
    KEYPOINT_DETECTION,
    TEXT_TO_IMAGE,
    ModelRegistry,
)
from bot.usecases.requests import Ticket
from tests.fakes import make_job, make_model, make_result

PHOTO = (ImageRef("0" * 64),)
PAINTER = make_model(tasks=(TEXT_TO_IMAGE,))
LOOKER = make_model(name="look", tasks=(IMAGE_TO_TEXT,))
DEPTH = make_model(name="depth", tasks=(DEPTH_ESTIMATION,))
POSE = make_model(name="pose", tasks=(KEYPOINT_DETECTION,))
SEGMENT = make_model(name="segment", tasks=(IMAGE_SEGMENTATION,))


def registry_of(*models):
    return ModelRegistry({model.name: model for model in models})


EVERY = registry_of(LOOKER, DEPTH, POSE, SEGMENT, PAINTER)


def preview(**options):
    return Preview.from_options(options, PHOTO)


@pytest.mark.parametrize(
    ("options", "model", "filled"),
    [
        ({"region": "the sky"}, SEGMENT, {"what": "region", "region": "the sky"}),
        ({"region": "pose", "what": "region"}, SEGMENT, {"what": "region", "region": "pose"}),
        ({"kind": "depth"}, DEPTH, {"what": "control", "kind": "depth"}),
        ({"region": "Pose"}, POSE, {"what": "control", "kind": "pose"}),
        ({"region": "canny", "what": "control"}, PAINTER, {"what": "control", "kind": "canny"}),
        ({"kind": "tile", "region": "tile", "what": "control"}, PAINTER, {"what": "control", "kind": "tile"}),
    ],
)
def test_a_preview_names_its_region_or_its_kind_of_map(options, model, filled):
    command = preview(**options)
    chosen = command.choose_model(EVERY)
    made = command.fill_options(chosen, 5, 1.5)

    assert chosen is model
    assert {name: made[name] for name in filled} == filled
    assert made["model"] == model.name
    assert command.task in model.tasks


def test_it_reads_plain_words_as_people_type_them():
    assert Preview.from_text("canny", PHOTO).kind == "canny"
    assert Preview.from_text("--kind depth", PHOTO).kind == "depth"
    assert Preview.from_text("the red hat", PHOTO).fill_options(SEGMENT, 5)["region"] == "the red hat"
    assert Preview.from_text("the red hat", PHOTO).search_text == "the red hat"


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_only_maps_by_a_model_take_device_time(kind):
    command = preview(kind=kind)
    filled = command.fill_options(command.choose_model(EVERY), 5, 1.5)
    is_drawn = kind not in ("depth", "pose")

    assert needs_no_model("preview", filled) is is_drawn
    assert command.work_units(filled) == (0 if is_drawn else 1, 0.0, 1)
    assert only_changes_images("preview", filled)
    assert ("width" in filled) is is_drawn


def test_a_drawn_map_has_the_size_that_the_model_would_draw():
    filled = preview(kind="canny").fill_options(PAINTER, 5, 1.5)

    assert (filled["width"], filled["height"]) == (624, 416)
    assert preview(kind="canny").fill_options(PAINTER, 5, 90.0)["width"] == 1024
    assert preview(kind="canny").choose_model(registry_of(LOOKER)) is LOOKER
    assert preview(kind="canny", model="fox-diffusion").choose_model(EVERY) is PAINTER


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "Say what to preview: words for a region"),
        ({"region": " , "}, "region is empty."),
        ({"what": "control"}, "kind is required."),
        ({"what": "control", "region": "cany"}, "kind cannot be "),
        ({"kind": "canny", "what": "region"}, "Name either a region or a kind of map"),
        ({"kind": "canny", "region": "the sky"}, "Name either a region or a kind of map"),
    ],
)
def test_what_cannot_be_previewed_is_one_sentence(options, sentence):
    with pytest.raises(InvalidOption) as refused:
        preview(**options).choose_model(EVERY)

    assert explain(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "depth"}, "easel models use depth-anything"),
        ({"kind": "pose"}, "easel models use vitpose"),
        ({"region": "the sky"}, "paint a mask instead"),
    ],
)
def test_without_a_model_for_it_the_sentence_names_a_way_out(options, words):
    with pytest.raises(NoModel) as refused:
        preview(**options).choose_model(registry_of(PAINTER))

    assert words in explain(refused.value)


def test_a_model_that_cannot_do_it_is_refused():
    with pytest.raises(InvalidOption) as refused:
        preview(kind="depth", model="fox-diffusion").choose_model(EVERY)

    assert explain(refused.value).startswith("model cannot be ")


def test_under_a_preview_there_is_only_what_makes_sense_for_a_map():
    options = {"what": "control", "kind": "canny"}
    job = make_job(
        command="preview", task=TEXT_TO_IMAGE, options=options, state=JobState.RENDERED, result=make_result()
    )

    assert [button.action for button in offered_buttons(job, EVERY)] == ["delete"]


@pytest.mark.parametrize(
    ("options", "caption", "line"),
    [
        ({"what": "control", "kind": "canny"}, "A canny map of the picture", "preview canny"),
        ({"what": "region", "region": "the sky"}, "The region the sky, white on black", "preview the sky"),
    ],
)
def test_in_chats_it_says_what_it_shows(options, caption, line):
    result = make_result(seed=None)
    job = make_job(command="preview", options=options, state=JobState.DELIVERED, result=result)

    assert format_result(job).startswith(caption)
    assert line in format_job_line(Ticket(job=job))
