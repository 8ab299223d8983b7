"""Photos of phones in HEIC: read by an optional decoder, in a process that may start its threads and nothing else.

The files, of 64 x 48 pixels, are blue at the upper left and red elsewhere; `large` is red, 1600 x 1000.
"""

import asyncio
import io
import struct
from pathlib import Path

import pytest
from PIL import Image

from bot.error_texts import explain
from bot.errors import TooLarge, UnsupportedMedia
from bot.ports.images import is_heic
from inference.images import decode
from inference.images.service import ImageService, ImageSettings
from inference.ipc.image_messages import SanitizeRequest
from tests.inference.images.test_photos import RED, p3_as_srgb

FILES = {path.stem: path.read_bytes() for path in Path(__file__).with_name("heic").iterdir()}
BLUE = (40, 90, 220)
MEGAPIXEL = 10**6


def read(data, *, max_pixels=MEGAPIXEL, max_heic_pixels=2 * MEGAPIXEL):
    reply = decode.sanitize(SanitizeRequest(data=data, max_pixels=max_pixels, max_heic_pixels=max_heic_pixels))
    image = Image.open(io.BytesIO(reply.data))
    assert image.size == (reply.width, reply.height)
    return image


def test_a_photo_becomes_a_jpeg():
    image = read(FILES["plain"])

    assert (image.format, image.size) == ("JPEG", (64, 48))
    assert image.getpixel((4, 4)) == pytest.approx(BLUE, abs=6)
    assert image.getpixel((60, 44)) == pytest.approx(RED, abs=6)


def test_a_turned_photo_is_stored_upright():
    image = read(FILES["turned"])

    assert image.size == (48, 64)
    assert image.getpixel((44, 4)) == pytest.approx(BLUE, abs=6)
    assert not image.getexif()


def test_display_p3_arrives_as_srgb():
    assert read(FILES["p3"]).getpixel((60, 44)) == pytest.approx(p3_as_srgb(RED), abs=6)


def test_transparency_is_kept():
    image = read(FILES["alpha"])

    assert (image.format, image.mode, image.getchannel("A").getextrema()) == ("PNG", "RGBA", (0, 0))


def test_of_several_images_the_first_is_read():
    assert read(FILES["two"]).getpixel((4, 4)) == pytest.approx(BLUE, abs=6)


def test_a_large_photo_is_scaled_down_to_the_pixels_of_other_images():
    image = read(FILES["large"])

    assert image.size == (1264, 790)


@pytest.mark.parametrize("size", [(1600, 1000), (16_000, 16_000)])
def test_a_photo_with_too_many_pixels_is_refused_by_its_header(size):
    data = FILES["large"].replace(struct.pack(">II", 1600, 1000), struct.pack(">II", *size))

    with pytest.raises(TooLarge) as refused:
        read(data, max_heic_pixels=MEGAPIXEL)

    assert refused.value.unit == "megapixels"


@pytest.mark.parametrize(
    "data",
    [
        FILES["large"].replace(struct.pack(">II", 1600, 1000), struct.pack(">II", 64, 48)),
        FILES["plain"][:300],
        FILES["plain"][:-20],
        FILES["plain"][:40],
    ],
    ids=["a larger image than its header says", "half a file", "without its end", "a header"],
)
def test_a_damaged_photo_is_refused(data):
    with pytest.raises(UnsupportedMedia) as refused:
        read(data)

    assert (refused.value.problem, refused.value.found) in [("damaged", "HEIC"), ("damaged", "HEIF")]


def test_without_the_extra_a_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setattr(decode, "_HEIC_FORMATS", ())

    with pytest.raises(UnsupportedMedia) as refused:
        read(FILES["plain"])

    assert explain(refused.value) == (
        "HEIC photos cannot be read here: please send a JPEG or PNG. The owner can install what reads them: "
        "`.venv/bin/uv pip install -e '.[heif]'` in Easel's folder, then a restart."
    )


@pytest.mark.parametrize(
    ("brands", "expected"),
    [
        (b"heic\0\0\0\0mif1heic", True),
        (b"mif1\0\0\0\0mif1heic", True),
        (b"heix\0\0\0\0", True),
        (b"mif1\0\0\0\0mif1avif", False),
        (b"avif\0\0\0\0mif1heic", False),
        (b"isom\0\0\0\0mp42", False),
    ],
)
def test_the_bytes_say_whether_a_file_is_heic(brands, expected):
    assert is_heic(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + b"heic") is expected


# ---------------------------------------------------------------- in a confined process


@pytest.mark.process
async def test_a_confined_process_reads_photos_up_to_a_limit_of_their_own():
    settings = ImageSettings(max_mb=0.0005, max_heic_mb=0.0009, max_megapixels=1, max_heic_megapixels=2)
    async with ImageService(settings) as service:
        photo, large = await asyncio.gather(service.sanitize(FILES["plain"]), service.sanitize(FILES["large"]))
        with pytest.raises(TooLarge) as refused:
            await service.sanitize(b"\x89PNG" + bytes(600))
        with pytest.raises(TooLarge) as refused_heic:
            await service.sanitize(FILES["large"] + bytes(200))

    assert (photo.width, large.width, large.media.media_type) == (64, 1264, "image/jpeg")
    for error in (refused.value, refused_heic.value):
        assert explain(error) == "The picture is too large: at most 0.0005 MiB, or 0.0009 in HEIC."
