"""The canvas around a picture, and the mask of what is painted."""

import numpy
import pytest
from PIL import Image

from inference.images.canvas_tools import BLEND_SHARE, extend_canvas

NOISE = Image.fromarray(numpy.random.default_rng(7).integers(0, 256, (64, 96, 3), dtype=numpy.uint8))
BAND = round(BLEND_SHARE * 64)


@pytest.mark.parametrize(
    ("values", "size", "place"),
    [
        ({"command": "pan", "direction": "left"}, (144, 64), (48, 0)),
        ({"command": "pan", "direction": "down"}, (96, 96), (0, 0)),
        ({"command": "square"}, (96, 96), (0, 16)),
    ],
)
def test_the_picture_keeps_its_pixels_and_the_mask_is_white_around_it(values, size, place):
    canvas, mask = extend_canvas([NOISE], values)

    left, top = place
    assert canvas.size == mask.size == size
    assert canvas.crop((left, top, left + 96, top + 64)).tobytes() == NOISE.tobytes()
    outside = numpy.ones((size[1], size[0]), bool)
    outside[top : top + 64, left : left + 96] = False
    marked = numpy.asarray(mask)
    assert (marked[outside] == 255).all()
    inside = marked[top : top + 64, left : left + 96]
    assert (inside[BAND + 1 : -BAND - 1, BAND + 1 : -BAND - 1] == 0).all()


def test_the_mask_falls_off_only_at_sides_that_are_extended():
    mask = numpy.asarray(extend_canvas([NOISE], {"command": "pan", "direction": "right"})[1])

    assert (mask[:, : 96 - BAND] == 0).all()
    row = mask[32, 96 - BAND : 97].astype(int)
    assert (numpy.diff(row) > 0).all()


def test_zooming_out_shrinks_the_picture_and_continues_its_edges():
    picture = Image.new("RGB", (96, 64), "red")
    canvas, mask = extend_canvas([picture], {"command": "zoom", "factor": 2})

    assert canvas.getcolors() == [(96 * 64, (255, 0, 0))]
    assert mask.getpixel((48, 32)) == 0
    assert mask.getpixel((10, 10)) == 255


def test_a_transparent_picture_stands_on_white():
    canvas, _ = extend_canvas([Image.new("RGBA", (96, 64), (0, 0, 0, 0))], {"command": "square"})

    assert canvas.mode == "RGB"
    assert canvas.getcolors() == [(96 * 96, (255, 255, 255))]
