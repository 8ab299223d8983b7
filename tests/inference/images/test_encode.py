"""PNG files by fpng and by Pillow: lossless pixels and complete metadata."""

import io
import json

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, PngImagePlugin

from inference.images import encode
from inference.images.decode import sanitize
from inference.images.metadata import SOURCE_TYPE
from inference.ipc.image_messages import EncodeRequest, SanitizeRequest

EASEL = json.dumps({"easel": 1, "command": "imagine", "options": {"prompt": "a fox", "seed": 7}})
PARAMETERS = "a 🦊 in the Café\nSteps: 20, Seed: 7"
ENCODERS = ("fpng", "Pillow")


@pytest.fixture(params=ENCODERS, autouse=True)
def encoder(request, monkeypatch):
    if request.param == "Pillow":
        monkeypatch.setattr(encode, "fpng", None)
    else:
        pytest.importorskip("fpng", reason='the extra "fast" is not installed')
    return request.param


def opened(data: bytes) -> PngImagePlugin.PngImageFile:
    """The image, after all checks of the file that Pillow has."""
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
    return encode.encode_image(request).data


@given(
    pixels=arrays.arrays(
        numpy.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)),
        elements=st.integers(0, 255),
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_image_is_encoded_without_loss(pixels):
    image = opened(file_of(pixels))

    assert (numpy.asarray(image) == pixels).all()


@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_large_images_of_any_kind_are_encoded_without_loss(kind):
    shape = (257, 511, 3)
    pixels = {
        "noise": numpy.random.default_rng(7).integers(0, 256, shape, dtype=numpy.uint8),
        "flat": numpy.full(shape, 200, numpy.uint8),
        "ramp": (numpy.indices(shape).sum(0) % 256).astype(numpy.uint8),
    }[kind]

    assert (numpy.asarray(opened(file_of(pixels))) == pixels).all()


def test_transparency_is_kept():
    pixels = numpy.random.default_rng(7).integers(0, 256, (33, 65, 4), dtype=numpy.uint8)

    reply = encode.save_image(Image.fromarray(pixels), "png", PARAMETERS, EASEL)

    image = opened(reply.data)
    assert image.mode == "RGBA"
    assert (numpy.asarray(image) == pixels).all()


def test_a_mode_that_fpng_does_not_support_is_written_by_pillow():
    grey = Image.fromarray(numpy.arange(64, dtype=numpy.uint8).reshape(8, 8))

    image = opened(encode.save_image(grey, "png", PARAMETERS, EASEL).data)

    assert (image.mode, image.tobytes()) == ("L", grey.tobytes())
    assert image.text["parameters"] == PARAMETERS


def test_the_file_contains_the_generation_metadata():
    image = opened(file_of(numpy.zeros((8, 8, 3), numpy.uint8)))

    assert image.text["parameters"] == PARAMETERS
    assert image.text["easel"] == EASEL
    assert SOURCE_TYPE in image.info["xmp"].decode()


def test_the_text_chunks_come_before_the_pixels_where_readers_expect_them():
    data = file_of(numpy.zeros((8, 8, 3), numpy.uint8))

    assert 0 < data.index(b"IHDR") < data.index(b"iTXt") < data.rindex(b"iTXt") < data.index(b"IDAT")


def test_an_image_that_was_not_generated_has_no_metadata():
    image = opened(encode.save_image(Image.new("RGB", (8, 8)), "png", "", "", is_generated=False).data)

    assert image.text == {}
    assert "xmp" not in image.info


def test_the_generation_metadata_is_read_back():
    reply = sanitize(SanitizeRequest(data=file_of(numpy.zeros((8, 8, 3), numpy.uint8)), max_pixels=100))

    assert reply.parameters == {
        "source": "easel",
        "command": "imagine",
        "options": {"prompt": "a fox", "seed": 7},
    }


def test_the_same_request_gives_the_same_bytes():
    pixels = numpy.random.default_rng(7).integers(0, 256, (64, 64, 3), dtype=numpy.uint8)

    assert file_of(pixels) == file_of(pixels)
