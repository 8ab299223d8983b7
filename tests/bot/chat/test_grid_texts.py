"""What a grid's message says and offers, and how a reply to it names a picture."""

from dataclasses import replace

import pytest

from bot.chat import texts
from bot.chat.buttons import MAX_BYTES, offered_buttons, parse_button, split_cells
from bot.chat.grid_actions import PLACE
from bot.jobs import JobError, JobState, Result, StoredImage, new_job_id
from bot.models import ModelRegistry
from bot.ports import Progress
from bot.queue.grid_message import GridCell, as_message
from bot.usecases import Ticket
from bot.usecases.grid_names import name_cells, name_column
from bot.usecases.grid_spec import read_spec
from tests.fakes import make_job, make_model, make_result

GRID = "b" * 16
ALL = ModelRegistry({"fox": make_model()})
SHEET = Result(media=(StoredImage(id="0" * 64, media_type="image/png", width=9, height=9),))
DONE, FAILED, RUNNING, QUEUED = JobState.DELIVERED, JobState.FAILED, JobState.RUNNING, JobState.QUEUED


def make_grid(*states, columns=2, eta_s=12.0):
    """Its cells are row by row in these states."""
    cells = []
    for index, state in enumerate(states):
        error = JobError(code="engine_failed", message="It broke.") if state is FAILED else None
        made = make_result() if state is DONE else None
        job = make_job(id=new_job_id(), batch=GRID, state=state, error=error, result=made)
        name = f"{name_column(index % columns)}{index // columns + 1}"
        cells.append(GridCell(name=name, title=f"steps {index}", z=0, job=job))
    return as_message(cells[0].job, grid=GRID, axes=("steps: 0, 1",), cells=tuple(cells), result=SHEET, eta_s=eta_s)


def names(shown):
    return [one.cell or one.name for one in offered_buttons(shown, ALL)]


def test_a_grid_that_is_filled_can_only_be_cancelled_as_a_whole():
    [button] = offered_buttons(make_grid(DONE, RUNNING, QUEUED, QUEUED), ALL)

    assert button.encode() == f"v1:cancel.grid:{GRID}"


def test_an_ended_grid_has_a_button_for_each_picture_in_the_rows_of_its_sheet():
    shown = make_grid(DONE, FAILED, DONE, DONE)
    buttons = offered_buttons(shown, ALL)

    assert names(shown) == ["a1", "a2", "b2", "original.grid", "delete.grid"]
    assert [[one.cell for one in row] for row in split_cells(buttons[:3])] == [["a1"], ["a2", "b2"]]
    assert all(len(one.encode()) <= MAX_BYTES and parse_button(one.encode()).name == one.name for one in buttons)


def test_a_grid_without_any_picture_says_why_and_can_be_deleted():
    shown = make_grid(FAILED, FAILED)

    assert names(shown) == ["delete.grid"]
    assert texts.format_result(shown) == "It broke."


@pytest.mark.parametrize("data", ["v1:show.grid:", "v1:cancel.cell:", "v1:vary.grid:", "v1:delete.cells:"])
def test_a_button_of_a_grid_with_another_argument_is_forged(data):
    assert parse_button(data + GRID) is None


def test_the_placeholder_names_the_number_of_pictures_and_the_time_for_all_of_them():
    ticket = Ticket(job=make_grid(QUEUED, QUEUED, eta_s=40.0), position=1, eta_s=3.0)

    assert texts.format_placeholder(ticket) == "A grid of 2 pictures. In the queue: 1st, about 40 s left."


@pytest.mark.parametrize(
    ("eta_s", "expected"),
    [(12.0, "1 of 3 pictures of the grid, about 12 s left."), (None, "1 of 3 pictures of the grid.")],
)
def test_progress_counts_the_pictures(eta_s, expected):
    ticket = Ticket(job=make_grid(DONE, RUNNING, QUEUED, eta_s=eta_s))

    assert texts.format_status(ticket, Progress(step=1, steps=3)) == expected


def test_the_result_names_the_axes_what_is_missing_and_how_to_see_one_picture():
    lines = texts.format_result(make_grid(DONE, DONE, DONE, FAILED)).splitlines()

    assert lines[1:] == [
        "steps: 0, 1",
        "3 of 4 pictures were made.",
        "It broke.",
        "To see one picture, reply with its place, such as a2.",
    ]


def test_what_cannot_be_posted_is_shown_again_by_the_grids_id():
    assert f"/show {GRID}" in texts.format_undeliverable(make_grid(DONE, DONE))


def test_one_hidden_picture_hides_the_whole_message():
    shown = make_grid(DONE, DONE)
    hidden = make_result(media=(replace(SHEET.media[0], is_spoiler=True, is_adult=True),))
    last = replace(shown.cells[1], job=replace(shown.cells[1].job, result=hidden))
    judged = replace(shown, cells=(shown.cells[0], last))

    assert (shown.is_spoiler, shown.is_adult) == (False, False)
    assert (judged.is_spoiler, judged.is_adult) == (True, True)


@pytest.mark.parametrize(
    ("text", "place", "rest"),
    [
        ("b2", "b2", ""),
        (" B2: what is it?", "B2", "what is it?"),
        ("1b2 what is it?", "1b2", "what is it?"),
        ("#7", "7", ""),
        ("aa10, is that a cat?", "aa10", "is that a cat?"),
    ],
)
def test_a_reply_begins_with_a_place_or_a_number(text, place, rest):
    assert PLACE.fullmatch(text).groups() == (place, rest)


@pytest.mark.parametrize("text", ["what is it?", "b2b", "nice", "b2's hat", "1st"])
def test_other_words_name_no_picture(text):
    assert PLACE.fullmatch(text) is None


def test_a_cell_is_found_by_its_place_and_by_its_number():
    shown = make_grid(DONE, DONE, DONE, DONE)

    assert [shown.find_cell(one).name for one in ("B1", "3", " a1 ")] == ["b1", "a2", "a1"]
    assert shown.find_cell("c1") is None


def test_columns_have_letters_like_those_of_a_spreadsheet_and_sheets_come_first():
    axes = [
        {"axis": "x", "option": "steps", "title": "steps", "values": [1, 2]},
        {"axis": "z", "option": "seed", "title": "seed", "values": [1, 2]},
    ]
    spec = read_spec({"axes": axes, "cells": ["k", "l", "m", "n"]})

    assert [name_column(one) for one in (0, 25, 26, 52)] == ["a", "z", "aa", "ba"]
    assert name_cells(spec) == {"k": "1a1", "l": "1b1", "m": "2a1", "n": "2b1"}
