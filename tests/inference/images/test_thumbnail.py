"""Thumbnails: their size, their transparency, and the mark of what was generated."""

import io

import numpy as np
import pytest
from PIL import Image

from bot.errors import UnsupportedMedia
from inference.images.encode import save_image
from inference.images.resize import read_own_metadata
from inference.images.thumbnail import MAX_HEIGHT, make_thumbnail
from inference.images.worker import handle_request
from inference.ipc import messages
from inference.ipc.thumbnail_messages import ThumbnailRequest


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def thumbnail_of(data: bytes, width: int = 256) -> Image.Image:
    reply = make_thumbnail(ThumbnailRequest(data=data, max_width=width))
    image = Image.open(io.BytesIO(reply.data))
    assert (reply.media_type, image.format, image.size) == ("image/webp", "WEBP", (reply.width, reply.height))
    return image


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        ((1024, 768), 256, (256, 192)),
        ((768, 1024), 512, (512, 682)),
        ((200, 100), 256, (200, 100)),
        ((256, 1), 256, (256, 1)),
        ((5000, 2), 256, (256, 1)),
        ((256, 40_000), 256, (104, MAX_HEIGHT)),
        ((1, 20_000), 256, (1, MAX_HEIGHT)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_it_is_at_most_so_wide_and_never_enlarged(kind, size, width, expected):
    assert thumbnail_of(encoded(Image.new("RGB", size, "teal"), kind), width).size == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_kept(mode):
    image = Image.new("RGBA", (400, 400), (200, 30, 30, 255))
    image.paste((0, 0, 0, 0), (0, 0, 400, 200))
    converted = image.quantize(8) if mode == "P" else image.convert(mode)

    alpha = thumbnail_of(encoded(converted)).getchannel("A")

    assert (alpha.getpixel((128, 32)), alpha.getpixel((128, 224))) == (0, 255)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_opaque_images_stay_opaque_and_keep_their_colours(kind, mode):
    image = thumbnail_of(encoded(Image.new("RGB", (512, 300), (255, 255, 255)).convert(mode), kind))

    assert image.mode == "RGB"
    assert np.asarray(image).min() > 250


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_what_was_generated_is_marked_as_generated_without_its_words(kind):
    image = Image.new("RGB", (600, 400), "teal")
    made = save_image(image, kind, "a secret fox\nSteps: 5", '{"easel": 1, "prompt": "a secret fox"}').data
    photo = save_image(image, kind, "", "", is_generated=False).data

    small = thumbnail_of(made)
    small.load()
    parameters, easel, is_generated = read_own_metadata(small)

    assert (parameters, easel, is_generated) == ("", "", True)
    assert "trainedAlgorithmicMedia" in str(small.info["xmp"])
    assert not [where for where in (str(small.info), encoded(small, "WEBP").decode("latin-1")) if "secret" in where]
    assert "xmp" not in thumbnail_of(photo).info


def test_a_thumbnail_of_a_thumbnail_is_still_marked():
    made = save_image(Image.new("RGB", (600, 400), "teal"), "png", "a fox", '{"easel": 1}').data

    once = make_thumbnail(ThumbnailRequest(data=made, max_width=512)).data

    assert read_own_metadata(thumbnail_of(once))[2]


def test_only_the_first_frame_is_shown():
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "blue")]

    image = thumbnail_of(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=100))

    assert not getattr(image, "is_animated", False)
    assert np.asarray(image)[..., 0].min() > 200


@pytest.mark.parametrize("data", [b"", b"not a picture", encoded(Image.new("RGB", (300, 300), "red"))[:-40], b"RIFF"])
def test_a_damaged_image_is_refused_in_one_sentence(data):
    reply = handle_request(ThumbnailRequest(data=data, max_width=256))

    with pytest.raises(UnsupportedMedia) as refused:
        raise messages.unpack_error(reply)
    assert refused.value.problem == "damaged"
