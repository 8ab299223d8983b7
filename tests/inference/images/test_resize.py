"""Kept pictures made smaller to send and larger to look at, through the real picture child."""

import io
import random

import pytest
import pytest_asyncio
from PIL import Image, ImageChops, ImageStat

from bot.errors import TooLarge, UnsupportedMedia
from bot.jobs import Media
from inference.images.metadata import SOURCE_TYPE
from inference.images.metadata_reader import read_recipe
from inference.images.resize import said_by
from inference.images.service import PictureService

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARAMETERS = "a fox\nSteps: 4, Seed: 7, Size: 256x192, Version: Easel"
EASEL = '{"easel": 1, "command": "imagine", "options": {"prompt": "a fox", "seed": 7}}'
SIZE = (256, 192)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pictures():
    async with PictureService() as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def noisy(pictures):
    """A result that PNG cannot pack."""
    pixels = random.Random(1).randbytes(SIZE[0] * SIZE[1] * 3)
    return await pictures.encode(pixels, *SIZE, parameters=PARAMETERS, easel=EASEL)


def photo(image_format="JPEG", mode="RGB"):
    out = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).convert(mode).save(out, image_format)
    return Media(out.getvalue(), f"image/{image_format.lower()}")


def opened(media):
    return Image.open(io.BytesIO(media.data))


@pytest.mark.parametrize(
    ("max_bytes", "media_type"),
    [(140_000, "image/webp"), (60_000, None), (9_000, None)],
)
async def test_a_picture_is_made_to_fit_and_still_says_how_it_was_made(pictures, noisy, max_bytes, media_type):
    assert len(noisy.data) > 140_000
    small = await pictures.shrink(noisy, max_bytes)
    parameters, easel, is_generated = said_by(opened(small))

    assert len(small.data) <= max_bytes
    assert media_type in (None, small.media_type)
    assert (parameters, easel, is_generated) == (PARAMETERS, EASEL, True)
    assert SOURCE_TYPE.encode() in small.data


async def test_full_size_is_kept_as_long_as_an_encoding_fits(pictures, noisy):
    small = await pictures.shrink(noisy, 140_000)
    tiny = await pictures.shrink(noisy, 9_000)

    assert opened(small).size == SIZE
    assert opened(tiny).width < SIZE[0]
    assert abs(opened(tiny).width / opened(tiny).height - 4 / 3) < 0.05


async def test_what_cannot_fit_is_refused(pictures, noisy):
    with pytest.raises(TooLarge):
        await pictures.shrink(noisy, 500)


async def test_a_photo_is_not_made_to_call_itself_generated(pictures):
    small = await pictures.shrink(photo("PNG"), 900)
    large = await pictures.enlarge(photo(), 128, 96)

    assert SOURCE_TYPE.encode() not in small.data
    assert SOURCE_TYPE.encode() not in large.media.data
    assert large.parameters == ""


async def test_transparency_survives_where_the_format_has_it(pictures):
    see_through = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    out = io.BytesIO()
    see_through.save(out, "PNG", compress_level=0)
    small = await pictures.shrink(Media(out.getvalue(), "image/png"), 5_000)

    assert opened(small).mode == "RGBA"


async def test_a_picture_is_enlarged_and_says_so(pictures, noisy):
    large = await pictures.enlarge(noisy, 512, 384)
    image = opened(large.media)
    back = image.resize(SIZE, Image.Resampling.BOX)

    assert (large.width, large.height, image.size, image.format) == (512, 384, (512, 384), "PNG")
    assert large.parameters.startswith(PARAMETERS)
    assert "Postprocess upscale by: 2" in large.parameters
    assert image.text["parameters"] == large.parameters
    recipe = read_recipe(easel=image.text["easel"])
    assert recipe is not None
    assert recipe["options"]["seed"] == 7
    difference = ImageStat.Stat(ImageChops.difference(back, opened(noisy).convert("RGB"))).mean
    assert max(difference) < 25


async def test_bytes_that_are_no_picture_are_refused(pictures):
    with pytest.raises(UnsupportedMedia):
        await pictures.shrink(Media(b"x" * 9000, "image/png"), 100)
    with pytest.raises(UnsupportedMedia):
        await pictures.enlarge(Media(b"", "image/png"), 10, 10)


async def test_a_sheet_calls_itself_generated(pictures, noisy):
    sheet = await pictures.grid([noisy, noisy, noisy])

    assert opened(sheet).size == (SIZE[0] * 2 + 4, SIZE[1] * 2 + 4)
    assert SOURCE_TYPE.encode() in sheet.data
