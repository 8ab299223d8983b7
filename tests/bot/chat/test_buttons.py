"""Buttons: their bytes, and which are offered when."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.discord.views import build_view
from adapters.telegram.delivery import build_keyboard
from bot.chat.buttons import (
    ACTIONS,
    ARGUED,
    ARGUMENTS,
    MAX_BYTES,
    NUMBERED,
    Button,
    group_buttons,
    offered_buttons,
    parse_button,
)
from bot.chat.follow_ups import join_region, split_region
from bot.errors import InvalidOption
from bot.jobs import JobState, Result, StoredImage, new_job_id
from bot.models import (
    IMAGE_SEGMENTATION,
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    ModelRegistry,
)
from tests.fakes import make_job, make_model

JOB = "abcdefgh234567ij"
ALL = ModelRegistry({"fox": make_model()})
IMAGES = tuple(StoredImage(id=str(n), media_type="image/png", width=8, height=8) for n in range(4))
PICTURE, PICTURES = Result(media=IMAGES[:1]), Result(media=IMAGES)


def actions(job, models=ALL, **what):
    buttons = offered_buttons(job, models, **what)
    return [button.name + (str(button.number) if button.number else "") for button in buttons]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_button_comes_back_as_it_went_and_fits(action):
    arg = ARGUMENTS[action][0] if action in ARGUED else ""
    button = Button(action, new_job_id(), 25 if action in NUMBERED else 0, arg)
    data = button.encode()

    assert len(data.encode()) <= MAX_BYTES
    assert data.startswith(f"v1:{button.name}:{button.job_id}")
    assert parse_button(data) == button


@pytest.mark.parametrize(
    "data",
    [
        "",
        "v1:",
        f"v2:reroll:{JOB}",
        f"v1:explode:{JOB}",
        "v1:reroll:short",
        f"v1:reroll:{JOB}x",
        f"v1:reroll:{JOB.upper()}",
        f"v1:reroll:{JOB}:0",
        f"v1:reroll:{JOB}:100",
        f"v1:vary.:{JOB}",
        f"v1:vary.loudly:{JOB}",
        f"v1:vary.STRONG:{JOB}",
        f"v1:vary.strong.strong:{JOB}",
        f"v1:reroll.strong:{JOB}",
        f"v1:zoom:{JOB}",
        f"v1:zoom.25:{JOB}:2",
        f"v1:pan:{JOB}:2",
        f"v1:pan.north:{JOB}",
        f"v1:square.15:{JOB}",
        f"v1:history:{JOB}",
        f"v1:pick:{JOB}",
        f"v1:pick:{JOB}:0",
        f"v1:pick:{JOB}:26",
        f"v1:pick:{JOB}:01",
        f"v1:pick:{JOB}:-1",
        f"v1:pick:{JOB}:\u0663",
        f"v1:reroll:{JOB}\n",
        f" v1:reroll:{JOB}",
        f"v1:reroll:{JOB[:-1]}'",
        "v1:reroll:../../../../etc/",
        "x" * 10_000,
    ],
)
def test_forged_data_is_no_button(data):
    assert parse_button(data) is None


@given(st.text())
def test_no_data_breaks_the_reading(data):
    button = parse_button(data)

    assert button is None or button.encode() == data


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_an_open_job_can_only_be_cancelled(state):
    assert actions(make_job(state=state)) == ["cancel"]


@pytest.mark.parametrize("state", [JobState.RENDERED, JobState.DELIVERED])
def test_a_picture_can_be_gone_on_from(state):
    job = make_job(state=state, result=PICTURE)

    painted = ["zoom.15", "zoom.20", "pan.left", "pan.right", "pan.up", "pan.down"]
    ways = ["reroll", "vary", "upscale", "ask", "original", "remix", "region", *painted]
    assert actions(job) == [*ways, "favourite", "delete"]


def test_several_pictures_have_numbers():
    job = make_job(state=JobState.DELIVERED, result=PICTURES)

    shown = actions(job)
    assert shown[:8] == ["show1", "show2", "show3", "show4", "vary1", "vary2", "vary3", "vary4"]
    assert shown[8:] == ["reroll", "original", "delete"]
    assert [button.encode() for button in offered_buttons(job, ALL)][1::4][:2] == [
        f"v1:show:{job.id}:2",
        f"v1:vary:{job.id}:2",
    ]


def test_a_model_with_references_only_varies_in_one_way():
    klein = ModelRegistry({"klein": make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE))})
    job = make_job(state=JobState.DELIVERED, result=PICTURES)

    shown = [button.encode() for button in offered_buttons(job, klein, picture=2)]

    assert [one for one in shown if "vary" in one] == [f"v1:vary:{job.id}:2"]


def test_one_of_several_pictures_has_buttons_of_its_own():
    job = make_job(state=JobState.DELIVERED, result=PICTURES)
    ways = ["vary.subtle2", "vary.strong2", "upscale2", "ask2", "original2", "remix2", "region2"]
    painted = ["zoom.152", "zoom.202", "pan.left2", "pan.right2", "pan.up2", "pan.down2"]

    assert actions(job, picture=2) == [*ways, *painted, "favourite2", "delete2"]
    assert f"v1:vary.strong:{job.id}:2" in [one.encode() for one in offered_buttons(job, ALL, picture=2)]


def test_a_deleted_picture_takes_its_buttons_along_and_the_others_keep_their_numbers():
    job = make_job(state=JobState.DELIVERED, result=Result(media=(IMAGES[0], replace(IMAGES[2], number=3)), places=4))

    assert actions(job) == ["show1", "show3", "vary1", "vary3", "reroll", "original", "delete"]


@pytest.mark.parametrize(
    "data", [f"v1:show:{JOB}", f"v1:vary:{JOB}", f"v1:pick:{JOB}:25", f"v1:delete:{JOB}", f"v1:original:{JOB}"]
)
def test_the_bytes_of_earlier_versions_stay_valid(data):
    assert parse_button(data).encode() == data


def test_buttons_of_a_kind_share_rows():
    job = make_job(state=JobState.DELIVERED, result=PICTURES)
    listed = [Button("show", job.id, label=1), Button("history", job.id, 2)]

    assert [(kind, len(group)) for kind, group in group_buttons(offered_buttons(job, ALL))] == [
        ("show", 4),
        ("vary", 4),
        ("other", 3),
    ]
    assert [kind for kind, _ in group_buttons(listed)] == ["list", "other"]


def test_what_no_model_can_do_is_not_offered():
    job = make_job(state=JobState.DELIVERED, result=PICTURE)
    grid = make_job(state=JobState.DELIVERED, result=PICTURES)
    painter = ModelRegistry({"fox": make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TO_TEXT))})

    assert actions(job, painter) == ["reroll", "upscale", "original", "remix", "favourite", "delete"]
    assert actions(grid, painter) == ["show1", "show2", "show3", "show4", "reroll", "original", "delete"]


@pytest.mark.parametrize("command", ["ask", "caption"])
def test_an_answer_can_be_asked_on(command):
    job = make_job(command=command, state=JobState.DELIVERED, result=Result(text="a fox\nor two"))

    assert actions(job) == ["ask", "delete"]


def test_each_description_can_be_picked():
    job = make_job(command="describe", state=JobState.DELIVERED, result=Result(text="a fox\na red fox\nfur"))

    assert actions(job) == ["pick1", "pick2", "pick3", "ask", "delete"]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.DEAD])
def test_what_came_to_nothing_can_be_tried_again(state):
    assert actions(make_job(state=state)) == ["reroll"]


def test_a_result_whose_pictures_are_forgotten_offers_no_picture():
    job = make_job(state=JobState.DELIVERED, result=Result())

    assert "original" not in actions(job)


def test_a_job_whose_pictures_retention_has_deleted_offers_nothing_about_them():
    job = make_job(state=JobState.DELIVERED, command="imagine", result=Result(places=4))

    assert actions(job) == ["reroll", "delete"]


@pytest.mark.parametrize(
    ("more", "offered"),
    [({}, []), ({"controls": {"subject": "org/adapter"}}, ["subject2"]), ({"max_images": 4}, ["style2", "subject2"])],
)
def test_references_are_offered_where_a_model_can_use_them(more, offered):
    models = ModelRegistry({"fox": make_model(**more)})
    job = make_job(state=JobState.DELIVERED, result=PICTURES)

    assert [one for one in actions(job, models, picture=2) if one[:-1] in ("style", "subject")] == offered


def test_a_part_can_be_changed_where_words_can_name_it_and_a_model_repaints_it():
    made = make_job(id=JOB, state=JobState.DELIVERED, result=PICTURE)

    def offered(*tasks):
        models = ModelRegistry({"one": make_model(name="one", tasks=tasks)})
        return "region" in actions(made, models)

    assert offered(TEXT_TO_IMAGE, IMAGE_TO_IMAGE, IMAGE_SEGMENTATION)
    assert not offered(TEXT_TO_IMAGE, IMAGE_SEGMENTATION)
    assert not offered(TEXT_TO_IMAGE, IMAGE_TO_IMAGE)


@pytest.mark.parametrize(
    ("size", "left_out"),
    [
        ((96, 96), {"square"}),
        ((96, 64), set()),
        ((300, 100), {"pan.left", "pan.right"}),
        ((100, 400), {"pan.up", "pan.down"}),
        ((900, 100), {"zoom.15", "zoom.20", "pan.left", "pan.right", "pan.up", "pan.down"}),
        ((4000, 4000), {"square", "pan.left", "pan.right", "pan.up", "pan.down"}),
    ],
)
def test_a_picture_grows_only_where_its_shape_allows_it(size, left_out):
    image = StoredImage(id="1", media_type="image/png", width=size[0], height=size[1])
    job = make_job(command="pan", state=JobState.DELIVERED, result=Result(media=(image,)))
    every = ["zoom.15", "zoom.20", "square", "pan.left", "pan.right", "pan.up", "pan.down"]

    offered = [one for one in actions(job) if one in every]
    assert offered == [one for one in every if one not in left_out]


def test_all_buttons_of_a_picture_fit_in_every_chat():
    models = ModelRegistry({"fox": make_model(max_images=4, tasks=(*make_model().tasks, IMAGE_SEGMENTATION))})
    image = StoredImage(id="1", media_type="image/png", width=96, height=64)
    several = Result(media=(image, replace(image, number=2)), places=2)
    job = make_job(state=JobState.DELIVERED, result=several)
    buttons = offered_buttons(job, models, picture=2)

    assert len(buttons) == 18
    rows = build_keyboard(buttons, "en").inline_keyboard
    assert [len(row) for row in rows] == [3, 3, 3, 3, 4, 2]
    assert [one.text for one in rows[3]] == ["Zoom out 1.5x", "Zoom out 2x", "Square"]
    by_row = Counter(item.row for item in build_view(buttons, "en").children)
    assert sorted(by_row.items()) == [(0, 5), (1, 4), (2, 3), (3, 4), (4, 2)]


@pytest.mark.parametrize("text", ["the hat: a crown", "the hat\na crown", " the hat -> a crown ", "the hat : a crown"])
def test_a_part_and_what_to_paint_there_are_told_apart(text):
    assert split_region(text) == ("the hat", "a crown")
    assert split_region(join_region("the hat: red", "a crown: gold")) == ("the hat red", "a crown: gold")


@pytest.mark.parametrize("text", ["", "a crown", ": a crown", "the hat:"])
def test_a_part_without_words_is_refused(text):
    with pytest.raises(InvalidOption) as refused:
        split_region(text)

    assert refused.value.problem == "region_form"
