"""Pictures and masks fitted to a size in AUTOMATIC1111's ways."""

import numpy
import pytest
from PIL import Image, ImageDraw

from inference.images.fit_tools import adjust_mask, fit_picture_to_size


def with_square():
    """White, with a black square in the middle."""
    image = Image.new("RGB", (80, 40), "white")
    ImageDraw.Draw(image).rectangle((30, 10, 49, 29), fill="black")
    return image


def box_of_black(image):
    """Its left, top, right and bottom, to within two pixels."""
    rows, columns = numpy.nonzero(numpy.asarray(image.convert("L")) < 128)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(
    ("fit", "size", "box"),
    [
        ("stretch", (40, 40), (15, 10, 25, 30)),
        ("crop", (40, 40), (10, 10, 30, 30)),
        ("fill", (40, 40), (15, 15, 25, 25)),
        ("inside", (40, 20), (15, 5, 25, 15)),
        ("shrink", (40, 20), (15, 5, 25, 15)),
    ],
)
def test_a_picture_is_fitted_to_a_size(fit, size, box):
    [fitted] = fit_picture_to_size([with_square()], {"width": 40, "height": 40, "fit": fit})

    assert fitted.size == size
    assert box_of_black(fitted) == pytest.approx(box, abs=1)
    assert fitted.getpixel((0, 0)) == (255, 255, 255)


def test_a_picture_that_is_only_shrunk_is_never_enlarged():
    [kept] = fit_picture_to_size([Image.new("RGB", (10, 20))], {"width": 40, "height": 40, "fit": "shrink"})

    assert kept.size == (10, 20)


def test_a_mask_is_inverted_then_blurred_by_its_own_pixels():
    mask = Image.new("L", (40, 40), 0)
    ImageDraw.Draw(mask).rectangle((0, 0, 19, 39), fill=255)

    [inverted] = adjust_mask([mask], {"invert": True})
    [blurred] = adjust_mask([mask], {"blur": 4})
    [fitted] = adjust_mask([mask], {"width": 20, "height": 10, "fit": "stretch"})

    assert (inverted.getpixel((5, 5)), inverted.getpixel((35, 5))) == (0, 255)
    assert blurred.getpixel((17, 20)) in range(1, 255)
    assert (blurred.getpixel((2, 20)), blurred.getpixel((38, 20))) == (255, 0)
    assert (fitted.size, fitted.getpixel((2, 5)), fitted.getpixel((17, 5))) == ((20, 10), 255, 0)
