"""TIFF and BMP, which browsers cannot show and programs for scans and drawings write."""

import io
import struct
import time

import pytest
import pytest_asyncio
from PIL import Image, TiffImagePlugin

from bot.errors import UnsupportedMedia
from inference.images.service import ImageService

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.process]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service():
    async with ImageService() as service:
        yield service


def gradient(mode="RGB", size=(64, 48)):
    return Image.linear_gradient("L").resize(size).convert(mode)


def saved(image, image_format="TIFF", **options):
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


async def sanitized(service, data):
    clean = await service.sanitize(data)
    return clean, Image.open(io.BytesIO(clean.media.data))


def tiff_of(*entries):
    """A TIFF whose first directory has these entries: tag, type, count, value."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + directory + b"\0\0\0\0"


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd"])
async def test_a_tiff_becomes_a_png(service, compression):
    options = {"compression": compression} if compression else {}

    clean, image = await sanitized(service, saved(gradient(), **options))

    assert (clean.media.media_type, image.size, image.mode) == ("image/png", (64, 48), "RGB")
    assert abs(image.getpixel((5, 40))[0] - gradient().getpixel((5, 40))[0]) <= 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
async def test_a_bmp_becomes_a_png(service, mode):
    clean, image = await sanitized(service, saved(gradient(mode), "BMP"))

    assert (clean.media.media_type, image.size) == ("image/png", (64, 48))
    assert image.tobytes() == gradient(mode).convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("image", "light"),
    [
        (gradient("I").point(lambda v: v * 256), 250),
        (gradient("F").point(lambda v: v * (1 / 255)), 250),
        (gradient("F"), 250),
        (gradient("CMYK"), 245),
    ],
)
async def test_deep_and_printed_pixels_become_eight_bit(service, image, light):
    _, clean = await sanitized(service, saved(image))

    assert clean.convert("L").getpixel((5, 47)) >= light
    assert clean.convert("L").getpixel((5, 0)) <= 10


async def test_alpha_is_kept_and_the_first_page_counts_upright(service):
    page, tags = gradient("RGBA"), TiffImagePlugin.ImageFileDirectory_v2()
    page.putalpha(128)
    tags[274] = 6

    _, image = await sanitized(
        service, saved(page, save_all=True, append_images=[Image.new("RGB", (9, 9))], tiffinfo=tags)
    )

    assert (image.mode, image.size) == ("RGBA", (48, 64))
    assert image.getpixel((5, 5))[3] == 128


@pytest.mark.parametrize(
    ("data", "problem", "found"),
    [
        (tiff_of((254, 4, 1, 1), (256, 4, 1, 160), (257, 4, 1, 120)), "format", "RAW"),
        (tiff_of((256, 4, 1, 160), (50706, 1, 4, 0x401)), "format", "RAW"),
        (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 100, "format", "RAW"),
        (tiff_of(*((number, 3, 1, 1) for number in range(400, 1900))), "slow", "TIFF"),
        (tiff_of((256, 4, 1, 4000), (257, 4, 1, 4000), (273, 4, 2_000_000, 8)), "slow", "TIFF"),
        (tiff_of((256, 4, 1, 64)), "damaged", ""),
        (b"II*\0", "damaged", ""),
        (b"MM\0*\0\0\0\x08\xff\xff\0\0", "damaged", ""),
    ],
)
async def test_what_is_no_picture_or_would_take_long_is_refused_quickly(service, data, problem, found):
    start = time.monotonic()

    with pytest.raises(UnsupportedMedia) as refused:
        await service.sanitize(data)

    assert (refused.value.problem, refused.value.found) == (problem, found)
    assert time.monotonic() - start < 5


async def test_a_bmp_that_is_decoded_slowly_is_refused(service):
    header = struct.pack("<IiiHHIIiiII", 40, 4000, 4000, 1, 8, 1, 0, 0, 0, 256, 0)
    data = b"BM" + struct.pack("<IHHI", 10**6, 0, 0, 1078) + header + b"\0" * 1024 + b"\1\0" * 100_000

    with pytest.raises(UnsupportedMedia) as refused:
        await service.sanitize(data)

    assert (refused.value.problem, refused.value.found) == ("slow", "BMP")
