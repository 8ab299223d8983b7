"""Uploads of every kind, harmless and hostile, in a real image worker."""

import io
import random
import struct
import warnings
import zlib

import pytest
import pytest_asyncio
from PIL import ExifTags, Image, ImageOps, PngImagePlugin

from bot.errors import TooLarge, UnsupportedMedia, UserError
from bot.jobs import Media
from inference.images.service import ImageService

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.process]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service():
    async with ImageService() as service:
        yield service


def saved(image: Image.Image, image_format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


def opened(media: Media) -> Image.Image:
    return Image.open(io.BytesIO(media.data))


def gradient(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def png_header(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    """A PNG whose header claims this size, with almost no data."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_with_scans(scans: int, side: int = 64) -> bytes:
    """A progressive JPEG, all grey: each scan after the first is 12 bytes and a pass over all pixels."""

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    blocks = (side // 8) ** 2
    tables = segment(0xDB, b"\0" + b"\1" * 64) + segment(0xC2, struct.pack(">BHH", 8, side, side) + b"\1\1\x11\0")
    codes = b"".join(segment(0xC4, bytes([at, 1]) + bytes(15) + symbol) for at, symbol in ((0, b"\0"), (0x10, b"\xe0")))
    first = segment(0xDA, b"\1\1\0\0\0\0") + bytes(blocks // 8)
    run = int(f"0{max(blocks, 2**14) - 2**14:014b}1", 2).to_bytes(2, "big")  # no block has anything more
    return b"\xff\xd8" + tables + codes + first + (segment(0xDA, b"\1\1\0\1\x3f\x10") + run) * (scans - 1) + b"\xff\xd9"


# ---------------------------------------------------------------- accepted


async def test_a_photo_stays_a_jpeg_and_looks_the_same(service):
    photo = saved(gradient(), "JPEG", quality=90)

    clean = await service.sanitize(photo)

    assert clean.media.media_type == "image/jpeg"
    assert (clean.width, clean.height) == (64, 48)
    difference = max(
        abs(a - b) for a, b in zip(opened(clean.media).tobytes(), Image.open(io.BytesIO(photo)).tobytes(), strict=True)
    )
    assert difference <= 4


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "GIF"])
async def test_other_formats_become_png(service, image_format):
    clean = await service.sanitize(saved(gradient(), image_format))

    assert clean.media.media_type == "image/png"
    assert opened(clean.media).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_photo_is_turned_upright(service, orientation):
    upright = Image.new("RGB", (40, 24), "black")
    upright.paste("white", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = _as_the_camera_stores(upright, orientation)

    clean = await service.sanitize(saved(stored, "PNG", exif=exif))

    assert opened(clean.media).tobytes() == upright.tobytes()


def _as_the_camera_stores(upright: Image.Image, orientation: int) -> Image.Image:
    """The image that looks like `upright` after applying the EXIF orientation."""
    methods = (None, 0, 3, 1, 5, 2, 6, 4)  # Transpose values that undo orientations 1 to 8
    method = methods[orientation - 1]
    return upright if method is None else upright.transpose(Image.Transpose(method))


async def test_all_metadata_is_gone(service):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Canary camera"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Comment", "canary comment")
    uploads = [
        saved(gradient(), "JPEG", exif=exif, comment=b"canary comment", xmp=b"<canary/>", icc_profile=b"canary"),
        saved(gradient(), "PNG", exif=exif, pnginfo=chunks, icc_profile=b"canary profile"),
        saved(gradient(), "WEBP", exif=exif, xmp=b"<canary/>"),
    ]

    for data in uploads:
        clean = await service.sanitize(data)
        assert b"anary" in data
        assert b"anary" not in clean.media.data
        assert not opened(clean.media).getexif()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "RGB"), ("L", "RGB"), ("LA", "RGBA"), ("P", "RGB"), ("RGBA", "RGBA"), ("I;16", "RGB")],
)
async def test_every_png_mode_becomes_eight_bit_rgb_or_rgba(service, mode, expected):
    image = gradient("L")
    image = image.point(lambda value: value * 257, "I").convert("I;16") if mode == "I;16" else image.convert(mode)

    clean = await service.sanitize(saved(image, "PNG"))

    result = opened(clean.media)
    assert result.mode == expected
    low, high = result.convert("L").tobytes()[0], result.convert("L").tobytes()[-1]
    assert (low < 5, high > 250) == (True, True)


async def test_sixteen_bit_grey_keeps_its_shades(service):
    image = Image.new("I;16", (2, 1))
    image.putpixel((0, 0), 32768)
    image.putpixel((1, 0), 65535)

    clean = await service.sanitize(saved(image, "PNG"))

    assert opened(clean.media).tobytes() == bytes([128] * 3 + [255] * 3)


async def test_cmyk_photos_become_rgb(service):
    clean = await service.sanitize(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))

    red, green, blue = opened(clean.media).tobytes()[:3]
    assert red > 200
    assert max(green, blue) < 60


async def test_transparent_palettes_keep_their_transparency(service):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((0, 0), 1)

    clean = await service.sanitize(saved(image, "GIF", transparency=1))

    assert opened(clean.media).mode == "RGBA"
    assert opened(clean.media).tobytes()[3] == 0


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG", "AVIF"])
async def test_only_the_first_frame_of_an_animation_is_kept(service, image_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = saved(frames[0], image_format, save_all=True, append_images=frames[1:], **options)

    clean = await service.sanitize(data)

    assert opened(clean.media).convert("RGB").getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=3)
    assert getattr(opened(clean.media), "n_frames", 1) == 1


async def test_a_photo_with_damaged_exif_data_is_accepted(service):
    clean = await service.sanitize(saved(gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffrubbish"))

    assert (clean.width, clean.height) == (64, 48)


async def test_the_first_image_of_a_multi_picture_file_is_used(service):
    clean = await service.sanitize(saved(gradient(), "MPO", save_all=True, append_images=[gradient()]))

    assert clean.media.media_type == "image/jpeg"


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("data", "problem", "found"),
    [
        (b"", "empty", ""),
        (b"hello, this is text", "not_a_picture", ""),
        (b"\0" * 1000, "not_a_picture", ""),
        (b"<!doctype html><html></html>", "not_a_picture", ""),
        (b"%PDF-1.7\n", "format", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "format", "PostScript"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "format", "SVG"),
        (b"\xef\xbb\xbf<svg/>", "format", "SVG"),
        (b"II+\0\x08\0\0\0", "format", "BigTIFF"),
        (b"II*\0\xff\xff\xff\0", "damaged", ""),
        (b"BMW is no picture", "not_a_picture", ""),
        (saved(gradient(), "ICO"), "format", "ICO"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "damaged", "HEIC"),
        (b"\x89PNG\r\n\x1a\n", "damaged", ""),
        (b"\xff\xd8\xff\xe0", "damaged", ""),
        (b"GIF89a", "damaged", ""),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "damaged", "AVIF"),
    ],
)
async def test_an_unsupported_file_is_refused_by_its_format(service, data, problem, found):
    with pytest.raises(UnsupportedMedia) as refused:
        await service.sanitize(data)

    assert (refused.value.problem, refused.value.found) == (problem, found)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
async def test_a_truncated_image_is_damaged(service, image_format):
    noise = Image.frombytes("RGB", (64, 64), random.Random(0).randbytes(64 * 64 * 3))
    data = saved(noise, image_format)

    with pytest.raises(UnsupportedMedia) as refused:
        await service.sanitize(data[: len(data) // 2])

    assert refused.value.problem == "damaged"


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (0, 0)])
async def test_an_image_without_area_is_refused(service, size):
    with pytest.raises(UnsupportedMedia):
        await service.sanitize(png_header(*size))


@pytest.mark.parametrize("size", [(5000, 5000), (13000, 13000), (14000, 14000), (100_000, 100_000), (16_000_001, 1)])
async def test_a_decompression_bomb_is_refused_by_its_header(service, size):
    with pytest.raises(TooLarge) as refused:
        await service.sanitize(png_header(*size))

    assert (refused.value.limit, refused.value.unit) == (16, "megapixels")


async def test_an_image_of_exactly_the_maximum_size_is_accepted(service):
    clean = await service.sanitize(saved(Image.new("L", (4000, 4000)), "PNG"))

    assert (clean.width, clean.height) == (4000, 4000)


async def test_a_jpeg_with_more_scans_than_any_program_writes_is_refused_before_it_costs_time(service):
    with pytest.raises(UnsupportedMedia) as refused:
        await service.sanitize(jpeg_with_scans(150))

    assert refused.value.problem == "slow"


@pytest.mark.parametrize(
    "data",
    [
        jpeg_with_scans(100),
        saved(gradient(), "JPEG", progressive=True, restart_marker_blocks=1),
        saved(gradient(), "JPEG") + b"\xff\xda" * 200,
    ],
    ids=["as many as allowed", "a progressive photo", "a photo with a video behind it"],
)
async def test_a_jpeg_with_fewer_scans_is_accepted(service, data):
    assert (await service.sanitize(data)).media.media_type == "image/jpeg"


async def test_a_file_over_ten_mebibytes_is_refused_unread(service):
    with pytest.raises(TooLarge) as refused:
        await service.sanitize(b"\x89PNG" + b"\0" * 10 * 2**20)

    assert (refused.value.limit, refused.value.unit) == (10, "MiB")


async def test_bit_flips_result_in_an_image_or_a_refusal(service):
    rng = random.Random(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        intact = [saved(gradient(), kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "AVIF")]
    outcomes = set()
    for _ in range(120):
        data = bytearray(rng.choice(intact))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            outcomes.add(type(await service.sanitize(bytes(data))).__name__)
        except UserError as error:
            outcomes.add(type(error).__name__)

    assert {"SanitizedImage", "UnsupportedMedia"} <= outcomes


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
async def test_a_thumbnail_is_made_in_the_confined_process(service, image_format):
    xmp = {"xmp": b"trainedAlgorithmicMedia"} if image_format == "WEBP" else {}
    data = saved(gradient("RGB", (640, 480)), image_format, exif=Image.Exif(), **xmp)

    small = opened(await service.make_thumbnail(Media(data, f"image/{image_format.lower()}"), 256, owner="ann"))

    assert (small.format, small.size) == ("WEBP", (256, 192))
    assert ("xmp" in small.info) == bool(xmp)


async def test_a_damaged_image_has_no_thumbnail(service):
    with pytest.raises(UnsupportedMedia):
        await service.make_thumbnail(Media(b"nothing", "image/png"), 256, owner="ann")


async def test_the_rotations_used_in_these_tests_are_right():
    upright = gradient(size=(6, 4))
    for orientation in range(1, 9):
        stored = _as_the_camera_stores(upright, orientation)
        stored.getexif()[ExifTags.Base.Orientation] = orientation
        assert ImageOps.exif_transpose(stored).tobytes() == upright.tobytes()
