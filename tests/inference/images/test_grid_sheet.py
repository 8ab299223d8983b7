"""Sheets of grids: where pictures and labels are, and which texts fit."""

from typing import Any

import pytest
from PIL import Image

from inference.images.grid_sheet import BLANK, draw_grid_sheet
from inference.images.sheet_text import load_font, without_unknown, wrap

GREY = (232, 232, 232)


def make_values(**overrides):
    plain: dict[str, Any] = {"title": "a fox", "subtitle": "", "cell": (100, 80), "cells": [0, 1, 2, 3]}
    plain |= {"columns": [("steps", "4"), ("steps", "8")], "rows": [("guidance", "1"), ("guidance", "5")]}
    return {**plain, **overrides}


def draw(images=None, **overrides):
    images = images or [Image.new("RGB", (100, 80), (number, 0, 0)) for number in (10, 20, 30, 40)]
    sizes = [image.size for image in images]
    [sheet] = draw_grid_sheet(images, make_values(**{"sizes": sizes, **overrides}))
    return sheet


def count_pixels(sheet, color):
    return {found: count for count, found in sheet.getcolors(maxcolors=1_000_000)}.get(color, 0)


def places_of(sheet, color):
    """The upper left corner of an area of one colour."""
    for y in range(sheet.height):
        for x in range(sheet.width):
            if sheet.getpixel((x, y)) == color:
                return x, y
    return None


def test_every_picture_is_in_its_row_and_column():
    sheet = draw()
    at = {red: places_of(sheet, (red, 0, 0)) for red in (10, 20, 30, 40)}

    assert all(count_pixels(sheet, (red, 0, 0)) == 8000 for red in at)
    assert at[20] == (at[10][0] + 108, at[10][1])
    assert at[30] == (at[10][0], at[10][1] + 88)
    assert at[40] == (at[20][0], at[30][1])


def test_a_smaller_picture_is_in_the_middle_of_its_cell_and_a_clear_one_on_white():
    small, clear = Image.new("RGB", (20, 20), (9, 0, 0)), Image.new("RGBA", (100, 80), (0, 0, 0, 0))
    sheet = draw([small, clear], cells=[0, 1], columns=[("steps", "4"), ("steps", "8")], rows=[("", "")])
    large = draw([Image.new("RGB", (100, 80), (9, 0, 0)), clear], cells=[0, 1], rows=[("", "")])

    (x, y), (left, top) = places_of(sheet, (9, 0, 0)), places_of(large, (9, 0, 0))
    assert (x - left, y - top) == (40, 30)
    assert places_of(sheet, (0, 0, 0)) is None


def test_a_cell_without_a_picture_is_blank_with_its_reason():
    plain, reasoned = draw(cells=[0, 1, 2, ""]), draw(cells=[0, 1, 2, "Cancelled; you weren't charged."])

    assert BLANK == "#e8e8e8"
    assert count_pixels(plain, GREY) >= 8000
    assert 6000 < count_pixels(reasoned, GREY) < 8000


def test_without_rows_or_a_title_no_space_is_left_for_them():
    bare = draw(cells=[0, 1], title="", columns=[("", ""), ("", "")], rows=[("", "")])

    assert bare.size == (8 + 2 * 108, 8 + 4 + 88)


def test_a_label_that_is_too_long_is_shortened_and_below_in_full():
    words = "a very long description of a fox that sits in the snow under a tree at night and looks at the moon"
    short = draw(columns=[("prompt", "fox"), ("prompt", "cat")])
    long = draw(columns=[("prompt", "fox"), ("prompt", words)])

    assert long.width == short.width
    assert long.height > short.height + 40


def test_a_very_long_text_does_not_blow_the_sheet_up():
    endless = "word " * 2000

    assert draw(title=endless, subtitle=endless, columns=[("prompt", endless), ("prompt", "x" * 9999)]).height < 1200


def test_wrapped_lines_fit_and_lose_no_word():
    font = load_font(16)
    text = "The quick brown fox jumps over the lazy dog again and again"
    lines, is_short = wrap(text, font, 120, 20)

    assert " ".join(lines) == text
    assert not is_short
    assert all(font.getlength(line) <= 120 for line in lines)
    assert wrap("unbreakable" * 9, font, 100, 99)[0][0] != "unbreakable" * 9
    assert wrap("", font, 100, 3) == ([], False)


def test_a_shortened_text_ends_with_an_ellipsis_within_the_width():
    font = load_font(16)
    lines, is_short = wrap("a fox " * 50, font, 100, 2)

    assert (len(lines), is_short, lines[-1][-1]) == (2, True, "\u2026")
    assert font.getlength(lines[-1]) <= 100


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ein Füchschen, Жираф, γάτα, \u05d7\u05ea\u05d5\u05dc, \u0642\u0637\u0629", None),
        ("a fox \U0001f98a", "a fox"),
        ("\u732b\u3068\u72ac", ""),
    ],
)
def test_letters_that_the_font_lacks_are_left_out(text, shown):
    assert without_unknown(text) == (text if shown is None else shown)


def test_a_value_in_letters_that_the_font_lacks_is_shown_by_its_number():
    assert draw(columns=[("prompt", "\u732b"), ("prompt", "\u72ac")]) == draw(
        columns=[("prompt", "#1"), ("prompt", "#2")]
    )


def test_a_thumbnail_is_drawn_in_the_size_of_its_picture():
    sheet = draw([Image.new("RGB", (200, 160), (9, 0, 0))], cells=[0, ""], rows=[("", "")], sizes=[(50, 40)])

    assert count_pixels(sheet, (9, 0, 0)) == 50 * 40
