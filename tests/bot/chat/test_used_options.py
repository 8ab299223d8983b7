"""`show` and the history say what a picture was made with."""

import pytest

from bot.chat import texts
from bot.chat.used_options import format_used
from bot.i18n import translator
from bot.jobs import ImageRef, JobState, Result, StoredImage
from bot.usecases import Ticket
from tests.fakes import make_job


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, ""),
        ({"hires": 1.5}, "hires fix 1.5"),
        ({"variation_seed": 9, "variation_strength": 0.2}, "variation seed 9 (0.2)"),
        ({"variation_seed": 9, "variation_strength": 0.0}, ""),
        ({"clip_skip": 1}, ""),
        ({"clip_skip": 2, "guidance_rescale": 0.7}, "CFG rescale 0.7, clip skip 2"),
        ({"schedule": "karras", "tiling": True}, "schedule karras, seamless"),
        ({"region": "the hat", "detail": "face, hands"}, "part: the hat, details: face, hands"),
        ({"region": "the hat", "keep": True}, "all but the hat"),
    ],
)
def test_only_what_changes_the_picture_is_said(options, said):
    assert format_used(make_job(options={"prompt": "a fox"} | options), translator("en")) == said


def test_controls_and_references_are_named_with_their_weights():
    images = (
        ImageRef("a"),
        ImageRef("b", "control", kind="canny", weight=0.8),
        ImageRef("c", "control", kind="pose", end=0.5),
        ImageRef("d", "reference", kind="style"),
    )
    said = format_used(make_job(images=images), translator("en"))

    assert said == "control canny 0.8, control pose from 0 to 0.5, reference style"


def test_show_and_history_have_it_in_a_line():
    job = make_job(
        options={"prompt": "a fox", "hires": 1.5, "width": 64, "height": 64},
        state=JobState.DELIVERED,
        result=Result(
            media=(StoredImage(id="a" * 64, media_type="image/png", width=96, height=96, number=1),),
            seed=7,
            model="starter-image",
        ),
    )
    ticket = Ticket(job=job)

    assert texts.format_job(ticket).splitlines()[-2:] == ["Model: starter-image", "With: hires fix 1.5"]
    assert "96x96, seed 7" in texts.format_job(ticket)
    assert texts.format_job_line(ticket).endswith("(hires fix 1.5)")
