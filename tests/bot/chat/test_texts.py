"""Sentences about jobs, and what is offered of what the installed models can do."""

from datetime import UTC, datetime

import pytest

from bot.chat import account_texts, help_texts, texts
from bot.chat.arguments import SLASH
from bot.error_texts import DEMO_HINT
from bot.jobs import BY_BOT, ImageRef, JobState, Result
from bot.models import (
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_TEXT,
    TASKS,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ModelRegistry,
)
from bot.ports import Progress
from bot.usecases import Quota, Ticket
from tests.fakes import make_job, make_model

PARENT = "abcdefgh234567ij"


def models(*tasks):
    return ModelRegistry({"fox": make_model(tasks=tasks)})


@pytest.mark.parametrize(
    ("position", "eta_s", "sentence"),
    [
        (1, 67.0, "In the queue: 1st, about 67 s left."),
        (2, None, "In the queue: 2nd."),
        (None, 67.0, "In the queue, about 67 s left."),
        (None, None, "In the queue."),
    ],
)
def test_a_queued_job(position, eta_s, sentence):
    assert texts.format_state(Ticket(job=make_job(), position=position, eta_s=eta_s)) == sentence


@pytest.mark.parametrize(
    ("progress", "sentence"),
    [
        (None, "Starting\u2026"),
        (Progress(step=0, steps=20, phase="waiting"), "Starting\u2026"),
        (Progress(step=0, steps=20, phase="loading"), "Loading the model, about 9 s left."),
        (Progress(step=0, steps=0), "Working\u2026"),
        (Progress(step=5, steps=20), "Working: 25 %, about 9 s left."),
        (Progress(step=20, steps=20), "Finishing\u2026"),
    ],
)
def test_a_running_job(progress, sentence):
    assert texts.format_progress(progress, eta_s=9.0) == sentence


@pytest.mark.parametrize(
    ("command", "options", "text", "shown"),
    [
        ("ask", {"question": "what is it?"}, "a red", "what is it?\na red\u2026"),
        ("caption", {}, "a red", "a red\u2026"),
        ("describe", {}, "a red fox\na", "1. a red fox\n2. a\u2026"),
    ],
)
def test_an_answer_is_shown_as_far_as_it_is(command, options, text, shown):
    ticket = Ticket(job=make_job(command=command, options=options, state=JobState.RUNNING))

    assert texts.format_status(ticket, Progress(step=2, steps=9, text=text)) == shown
    assert texts.format_status(ticket, Progress(step=9, steps=9, text=text)) == shown
    cancelled = Ticket(job=make_job(command=command, options=options, state=JobState.RUNNING, cancel_requested=True))
    assert text not in texts.format_status(cancelled, Progress(step=2, steps=9, text=text))


def test_a_model_that_loads_for_longer_than_expected_has_no_time_left():
    job = make_job(state=JobState.RUNNING)

    line = texts.format_job_line(Ticket(job=job, progress=Progress(step=0, steps=20, phase="loading")))
    assert "Loading the model\u2026" in line


def test_a_running_job_that_is_cancelled():
    job = make_job(state=JobState.RUNNING, cancel_requested=True)

    assert texts.format_state(Ticket(job=job, progress=Progress(step=1, steps=2))) == "Cancelling\u2026"


@pytest.mark.parametrize(
    ("job", "line"),
    [
        ({"command": "upscale", "options": {"prompt": "a fox"}, "parent": PARENT}, "upscale a fox (from abcdef)"),
        ({"command": "upscale", "options": {"width": 128, "height": 64}}, "upscale 128x64"),
        ({"command": "caption", "images": (ImageRef("1"),)}, "caption a fox (from a picture)"),
        ({"command": "edit", "images": (ImageRef("1"), ImageRef("2"))}, "edit a fox (from 2 pictures)"),
        ({"command": "imagine", "images": (ImageRef("1", author=BY_BOT),)}, "imagine a fox"),
        ({"command": "edit", "images": (ImageRef("1"), ImageRef("2", role="mask"))}, "edit a fox (from a picture)"),
        (
            {"command": "ask", "options": {"question": "what is it?"}, "result": Result(text="a fox")},
            "ask what is it? \u2192 a fox",
        ),
        ({"command": "describe", "options": {}, "result": Result(text="a fox\na cat")}, "describe a fox; a cat"),
    ],
)
def test_a_line_says_what_the_job_was_made_from(job, line):
    made = make_job(state=JobState.DELIVERED, **{"options": {"prompt": "a fox"}, **job})

    assert texts.format_job_line(Ticket(job=made)) == f"{made.id[:6]}  {line}"


def test_the_list_of_favourites_is_called_that():
    jobs = [Ticket(job=make_job(state=JobState.DELIVERED))]
    heading = texts.format_history(jobs, q=texts.FAVOURITES).splitlines()[0]

    assert heading == "Your favourites, newest first. To see one again, press its number or send /show ID."


def test_the_demo_hint_is_no_note():
    job = make_job(state=JobState.DELIVERED, result=Result(notes=("a note", DEMO_HINT)))

    assert "a note" in texts.format_result(job)
    assert DEMO_HINT not in texts.format_result(job)
    assert texts.format_result(job, with_demo_hint=True).count(DEMO_HINT) == 1


def test_the_quota_is_told_in_whole_figures():
    quota = Quota(limit=1e6, used=1.26, reserved=0.0, resets_at=datetime(2026, 1, 2, tzinfo=UTC))

    assert account_texts.format_quota(quota) == "You have used 1.3 of 1000000 s of compute today. Resets at 00:00 UTC."


@pytest.mark.parametrize(
    ("tasks", "hint"),
    [
        ((), "All commands: /help"),
        ((VISUAL_QUESTION_ANSWERING,), "Reply to a picture with a question to ask about it."),
        ((IMAGE_TO_TEXT,), "Reply to it with one of these: /caption, /describe."),
        ((TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), "Reply to it with one of these: /edit."),
    ],
)
def test_a_photo_is_answered_with_what_the_models_can_do(tasks, hint):
    assert help_texts.format_photo_hint(models(*tasks), style=SLASH) == hint


def test_a_photo_is_answered_with_all_that_can_be_done():
    hint = help_texts.format_photo_hint(models(*TASKS))

    assert hint.startswith("Reply to it with a question, or with one of these: /caption, ")


@pytest.mark.parametrize(
    ("tasks", "parts"), [((TEXT_TO_IMAGE,), ["/imagine prompt:a red fox", "/help"]), ((), ["/help"])]
)
def test_a_hint_names_what_the_models_can_do(tasks, parts):
    hint = help_texts.format_hint(models(*tasks), style=SLASH)

    assert [line.rpartition(": ")[2] for line in hint.splitlines()] == parts
