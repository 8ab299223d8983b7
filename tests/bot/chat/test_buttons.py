"""Buttons: their bytes, and which are offered when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.chat.buttons import ACTIONS, MAX_BYTES, Button, offered_buttons, parse_button
from bot.jobs import JobState, Result, StoredImage, new_job_id
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, ModelRegistry
from tests.fakes import make_job, make_model

ALL = ModelRegistry({"fox": make_model()})
PICTURES = Result(media=tuple(StoredImage(id=str(n), media_type="image/png", width=8, height=8) for n in range(2)))


def actions(job, models=ALL):
    return [button.action + (str(button.number) if button.number else "") for button in offered_buttons(job, models)]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_button_comes_back_as_it_went_and_fits(action):
    button = Button(action, new_job_id(), 25 if action == "pick" else 0)
    data = button.encode()

    assert len(data.encode()) <= MAX_BYTES
    assert data.startswith(f"v1:{action}:{button.job_id}")
    assert parse_button(data) == button


JOB = "abcdefgh234567ij"


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
        f"v1:reroll:{JOB}:1",
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
    job = make_job(state=state, result=PICTURES)

    assert actions(job) == ["reroll", "vary", "upscale", "ask", "original", "delete"]


def test_what_no_model_can_do_is_not_offered():
    job = make_job(state=JobState.DELIVERED, result=PICTURES)
    painter = ModelRegistry({"fox": make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TO_TEXT))})

    assert actions(job, painter) == ["reroll", "upscale", "original", "delete"]


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
