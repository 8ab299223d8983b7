"""PNG files, by the quick writer and by Pillow: the same pixels, and all that they say of themselves."""

import io
import json

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, PngImagePlugin

from inference.images import encode
from inference.images.decode import clean
from inference.images.metadata import SOURCE_TYPE
from inference.ipc.messages import CleanRequest, EncodeRequest

EASEL = json.dumps({"easel": 1, "command": "imagine", "options": {"prompt": "a fox", "seed": 7}})
PARAMETERS = "a 🦊 in the Café\nSteps: 20, Seed: 7"
WRITERS = ("fpng", "Pillow")


@pytest.fixture(params=WRITERS, autouse=True)
def writer(request, monkeypatch):
    if request.param == "Pillow":
        monkeypatch.setattr(encode, "fpng", None)
    else:
        pytest.importorskip("fpng", reason='the extra "fast" is not installed')
    return request.param


def opened(data: bytes) -> PngImagePlugin.PngImageFile:
    """The picture with every check of the file that Pillow makes."""
    with Image.open(io.BytesIO(data)) as checked:
        checked.verify()
    image = Image.open(io.BytesIO(data))
    image.load()
    assert isinstance(image, PngImagePlugin.PngImageFile)
    return image


def file_of(pixels: numpy.ndarray) -> bytes:
    height, width, _ = pixels.shape
    request = EncodeRequest(
        pixels=pixels.tobytes(), width=width, height=height, parameters=PARAMETERS, easel=EASEL, image_format="png"
    )
    return encode.encode(request).data


@given(
    pixels=arrays.arrays(
        numpy.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
        elements=st.integers(0, 255),
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_picture_comes_back_pixel_for_pixel(pixels):
    image = opened(file_of(pixels))

    assert (numpy.asarray(image) == pixels).all()


@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_large_pictures_of_any_kind_come_back_pixel_for_pixel(kind):
    shape = (257, 511, 3)
    pixels = {
        "noise": numpy.random.default_rng(7).integers(0, 256, shape, dtype=numpy.uint8),
        "flat": numpy.full(shape, 200, numpy.uint8),
        "ramp": (numpy.indices(shape).sum(0) % 256).astype(numpy.uint8),
    }[kind]

    assert (numpy.asarray(opened(file_of(pixels))) == pixels).all()


def test_transparency_is_kept():
    pixels = numpy.random.default_rng(7).integers(0, 256, (33, 65, 4), dtype=numpy.uint8)

    reply = encode.save(Image.fromarray(pixels), "png", PARAMETERS, EASEL)

    image = opened(reply.data)
    assert image.mode == "RGBA"
    assert (numpy.asarray(image) == pixels).all()


def test_a_mode_that_the_quick_writer_lacks_is_written_all_the_same():
    grey = Image.fromarray(numpy.arange(64, dtype=numpy.uint8).reshape(8, 8))

    image = opened(encode.save(grey, "png", PARAMETERS, EASEL).data)

    assert (image.mode, image.tobytes()) == ("L", grey.tobytes())
    assert image.text["parameters"] == PARAMETERS


def test_the_file_says_how_it_was_made():
    image = opened(file_of(numpy.zeros((8, 8, 3), numpy.uint8)))

    assert image.text["parameters"] == PARAMETERS
    assert image.text["easel"] == EASEL
    assert SOURCE_TYPE in image.info["xmp"].decode()


def test_the_texts_stand_before_the_pixels_where_readers_look_for_them():
    data = file_of(numpy.zeros((8, 8, 3), numpy.uint8))

    assert 0 < data.index(b"IHDR") < data.index(b"iTXt") < data.rindex(b"iTXt") < data.index(b"IDAT")


def test_a_picture_that_was_not_generated_says_nothing():
    image = opened(encode.save(Image.new("RGB", (8, 8)), "png", "", "", is_generated=False).data)

    assert image.text == {}
    assert "xmp" not in image.info


def test_the_recipe_is_read_back():
    reply = clean(CleanRequest(data=file_of(numpy.zeros((8, 8, 3), numpy.uint8)), max_pixels=100))

    assert reply.parameters == {
        "source": "easel",
        "command": "imagine",
        "options": {"prompt": "a fox", "seed": 7},
    }


def test_the_same_request_gives_the_same_bytes():
    pixels = numpy.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=numpy.uint8)

    assert file_of(pixels) == file_of(pixels)
