"""Masks that are grown, shrunk and feathered, and which of them follow an outline."""

import numpy
import pytest
from PIL import Image, ImageDraw

from inference.images.inpaint_tools import feather_mask, follows_outline, grow_mask, shrink_mask


def square(side, *box):
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).rectangle(box, fill=255)
    return mask


@pytest.mark.parametrize("pixels", [0, 1, 5, 40])
def test_a_mask_grows_by_so_many_pixels(pixels):
    grown = grow_mask(square(200, 90, 90, 99, 109), pixels)

    assert grown.getbbox() == (90 - pixels, 90 - pixels, 100 + pixels, 110 + pixels)
    assert set(numpy.unique(numpy.asarray(grown))) == {0, 255}


def test_a_mask_shrinks_but_not_from_the_edges_of_the_picture():
    assert shrink_mask(square(100, 50, 0, 99, 99), 10).getbbox() == (60, 0, 100, 100)
    assert shrink_mask(square(100, 50, 50, 55, 55), 10).getbbox() is None


@pytest.mark.parametrize(("band", "pixels"), [(10, 4), (10, 5), (10, 12), (3, 8)])
def test_a_mask_that_is_soft_already_has_no_line_in_its_edge(band, pixels):
    levels = numpy.full((64, 96), 255, numpy.uint8)
    levels[:, :60] = numpy.clip(255 * (1 - (numpy.arange(60)[::-1] + 0.5) / band), 0, 255).round()

    row = numpy.asarray(feather_mask(Image.fromarray(levels), pixels))[32].astype(int)
    assert (numpy.diff(row) >= 0).all()
    assert (row[0], row[-1]) == (0, 255)


def test_a_feathered_mask_is_soft_inside_its_edge_only():
    mask = square(100, 20, 20, 79, 79)

    soft = numpy.asarray(feather_mask(mask, 8))

    assert not soft[numpy.asarray(mask) == 0].any()
    assert (numpy.diff(soft[50, 20:36].astype(int)) >= 0).all()
    assert soft[50, 20] < 40
    assert (soft[40:60, 40:60] == 255).all()


def test_thin_strokes_stay_as_they_are():
    mask = square(100, 0, 50, 99, 52)

    assert feather_mask(mask, 8) == mask
    assert feather_mask(mask, 0) is mask


def test_a_mask_follows_an_outline_if_the_picture_changes_at_its_edge():
    thing = square(100, 30, 30, 69, 69)
    picture = Image.merge("RGB", (thing, thing, thing))

    assert follows_outline(thing, picture)
    assert not follows_outline(square(100, 20, 20, 79, 79), picture)
    assert not follows_outline(square(100, 0, 0, 99, 99), picture)
