"""Stored images re-encoded to fit and resized, in a real image worker."""

import io
import random

import pytest
import pytest_asyncio
from PIL import Image, ImageChops, ImageStat

from bot.errors import TooLarge, UnsupportedMedia
from bot.jobs import Media
from inference.images.metadata import SOURCE_TYPE
from inference.images.metadata_reader import parse_generation_metadata
from inference.images.resize import read_own_metadata
from inference.images.service import ImageService

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.process]

PARAMETERS = "a fox\nSteps: 4, Seed: 7, Size: 256x192, Version: Easel"
EASEL = '{"easel": 1, "command": "imagine", "options": {"prompt": "a fox", "seed": 7}}'
SIZE = (256, 192)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service():
    async with ImageService() as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def noisy(service):
    """A result that PNG cannot compress."""
    pixels = random.Random(1).randbytes(SIZE[0] * SIZE[1] * 3)
    return await service.encode_image(pixels, *SIZE, parameters=PARAMETERS, easel=EASEL)


def photo(image_format="JPEG", mode="RGB"):
    out = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).convert(mode).save(out, image_format)
    return Media(out.getvalue(), f"image/{image_format.lower()}")


def opened(media):
    return Image.open(io.BytesIO(media.data))


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
async def test_an_image_in_another_format_keeps_its_metadata(service, noisy, image_format):
    converted = await service.convert(noisy, image_format, 60)
    parameters, easel, is_generated = read_own_metadata(opened(converted))

    assert (converted.media_type, opened(converted).format) == (f"image/{image_format}", image_format.upper())
    assert (parameters, easel, is_generated) == (PARAMETERS, EASEL, True)
    assert SOURCE_TYPE.encode() in converted.data


async def test_jpeg_shows_transparency_as_white(service):
    out = io.BytesIO()
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(out, "PNG")
    converted = await service.convert(Media(out.getvalue(), "image/png"), "jpeg")

    assert min(opened(converted).getpixel((4, 4))) > 250


@pytest.mark.parametrize(
    ("max_bytes", "media_type"),
    [(140_000, "image/webp"), (60_000, None), (9_000, None)],
)
async def test_an_image_that_is_made_to_fit_keeps_its_metadata(service, noisy, max_bytes, media_type):
    assert len(noisy.data) > 140_000
    small = await service.fit_bytes(noisy, max_bytes)
    parameters, easel, is_generated = read_own_metadata(opened(small))

    assert len(small.data) <= max_bytes
    assert media_type in (None, small.media_type)
    assert (parameters, easel, is_generated) == (PARAMETERS, EASEL, True)
    assert SOURCE_TYPE.encode() in small.data


async def test_full_size_is_kept_as_long_as_an_encoding_fits(service, noisy):
    small = await service.fit_bytes(noisy, 140_000)
    tiny = await service.fit_bytes(noisy, 9_000)

    assert opened(small).size == SIZE
    assert opened(tiny).width < SIZE[0]
    assert abs(opened(tiny).width / opened(tiny).height - 4 / 3) < 0.05


async def test_an_image_that_cannot_fit_is_refused(service, noisy):
    with pytest.raises(TooLarge):
        await service.fit_bytes(noisy, 500)


async def test_a_photo_is_not_marked_as_generated(service):
    small = await service.fit_bytes(photo("PNG"), 900)
    large = await service.resize(photo(), 128, 96)

    assert SOURCE_TYPE.encode() not in small.data
    assert SOURCE_TYPE.encode() not in large.media.data
    assert large.parameters == ""


async def test_transparency_is_kept_where_the_format_supports_it(service):
    transparent = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    out = io.BytesIO()
    transparent.save(out, "PNG", compress_level=0)
    small = await service.fit_bytes(Media(out.getvalue(), "image/png"), 5_000)

    assert opened(small).mode == "RGBA"


async def test_a_resized_image_names_its_resizing(service, noisy):
    large = await service.resize(noisy, 512, 384)
    image = opened(large.media)
    back = image.resize(SIZE, Image.Resampling.BOX)

    assert (large.width, large.height, image.size, image.format) == (512, 384, (512, 384), "PNG")
    assert large.parameters.startswith(PARAMETERS)
    assert "Postprocess upscale by: 2" in large.parameters
    assert image.text["parameters"] == large.parameters
    metadata = parse_generation_metadata({"easel": image.text["easel"]})
    assert metadata is not None
    assert metadata["options"]["seed"] == 7
    difference = ImageStat.Stat(ImageChops.difference(back, opened(noisy).convert("RGB"))).mean
    assert max(difference) < 25


async def test_bytes_that_are_not_an_image_are_refused(service):
    with pytest.raises(UnsupportedMedia):
        await service.fit_bytes(Media(b"x" * 9000, "image/png"), 100)
    with pytest.raises(UnsupportedMedia):
        await service.resize(Media(b"", "image/png"), 10, 10)


async def test_a_contact_sheet_is_marked_as_generated(service, noisy):
    sheet = await service.contact_sheet([noisy, noisy, noisy])

    assert opened(sheet).size == (SIZE[0] * 2 + 4, SIZE[1] * 2 + 4)
    assert SOURCE_TYPE.encode() in sheet.data


async def test_an_enlarged_image_keeps_the_metadata_of_its_source_and_names_the_upscaler(service, noisy):
    pixels = Image.new("RGB", (320, 240), "teal").tobytes()

    large = await service.encode_derived(pixels, 320, 240, source=noisy, postprocess="Postprocess upscaler: tiny")

    assert large.parameters.startswith(PARAMETERS)
    assert large.parameters.endswith(", Postprocess upscaler: tiny")
    assert opened(large.media).text["parameters"] == large.parameters
    assert opened(large.media).text["easel"] == opened(noisy).text["easel"]


async def test_a_photo_that_a_model_enlarged_is_marked_and_names_the_upscaler(service):
    pixels = Image.new("RGBA", (8, 6), (0, 128, 0, 100)).tobytes()

    large = await service.encode_derived(pixels, 8, 6, source=photo(), postprocess="Postprocess upscaler: tiny")

    assert large.parameters == "Postprocess upscaler: tiny"
    assert SOURCE_TYPE.encode() in large.media.data
    assert opened(large.media).mode == "RGBA"
    assert opened(large.media).getpixel((0, 0)) == (0, 128, 0, 100)
