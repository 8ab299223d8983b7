"""Files as phones and other programs write them, in a real image worker: wide colors, AVIF, and long texts."""

import io
import struct
import zlib
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import ExifTags, Image, ImageChops, ImageCms, PngImagePlugin

from bot.errors import TooLarge, UnsupportedMedia
from inference.images.png_texts import drop_long_texts
from inference.images.service import ImageService

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.process]

RED = (234, 51, 35)
HEIC = Path(__file__).with_name("heic").joinpath("plain.heic").read_bytes()
MB = 2**20
DISPLAY_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make_p3_profile() -> bytes:
    """The profile of sRGB with the primaries of Display P3, which has the same tone curve."""
    profile = bytearray(SRGB)
    (count,) = struct.unpack(">I", profile[128:132])
    for tag in range(count):
        name, at, _ = struct.unpack(">4sII", profile[132 + 12 * tag : 144 + 12 * tag])
        if name in DISPLAY_P3:
            profile[at + 8 : at + 20] = struct.pack(">3i", *[round(value * 65536) for value in DISPLAY_P3[name]])
    return bytes(profile)


P3 = make_p3_profile()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service():
    async with ImageService() as service:
        yield service


def saved(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


async def pixels_of(service, data: bytes) -> Image.Image:
    return Image.open(io.BytesIO((await service.sanitize(data)).media.data))


def difference(first: Image.Image, second: Image.Image) -> int:
    return max(ImageChops.difference(first.convert("RGB"), second.convert("RGB")).tobytes())


# ---------------------------------------------------------------- colors


def to_srgb(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def to_linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def p3_as_srgb(color: tuple[int, int, int]) -> list[int]:
    """By the published matrix from linear Display P3 to linear sRGB."""
    red, green, blue = (to_linear(value / 255) for value in color)
    linear = (
        1.22494 * red - 0.22494 * green,
        -0.04206 * red + 1.04206 * green,
        -0.01964 * red - 0.07864 * green + 1.09828 * blue,
    )
    return [round(255 * to_srgb(min(1.0, max(0.0, value)))) for value in linear]


@pytest.mark.parametrize(
    ("image_format", "options"),
    [("PNG", {}), ("JPEG", {"quality": 98}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 98})],
)
@pytest.mark.parametrize("color", [RED, (60, 180, 90), (128, 128, 128)])
async def test_display_p3_arrives_as_srgb(service, image_format, options, color):
    data = saved(Image.new("RGB", (32, 32), color), image_format, icc_profile=P3, **options)

    converted = await pixels_of(service, data)

    assert converted.getpixel((5, 5)) == pytest.approx(p3_as_srgb(color), abs=6)
    assert "icc_profile" not in converted.info


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA"])
async def test_a_profile_is_applied_to_images_of_every_mode(service, mode):
    image = Image.new("RGBA", (8, 8), (*RED, 100)).convert(mode)

    converted = await pixels_of(service, saved(image, icc_profile=P3))

    red, green, blue, alpha = image.convert("RGBA").tobytes()[:4]
    expected = [*p3_as_srgb((red, green, blue)), alpha]
    assert list(converted.convert("RGBA").tobytes()[:4]) == pytest.approx(expected, abs=6)


async def test_an_image_whose_profile_is_srgb_keeps_its_exact_pixels(service):
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")

    assert difference(await pixels_of(service, saved(image, icc_profile=SRGB)), image) == 0


def numbered(image_format: str, primaries: int, transfer: int = 13) -> bytes:
    """A red image without a profile, whose file names its color space by numbers."""
    if image_format == "PNG":
        cicp = chunk(b"cICP", bytes([primaries, transfer, 0, 1]))
        data = saved(Image.new("RGB", (32, 32), RED))
        return data[:33] + cicp + data[33:]
    plain = HEIC if image_format == "HEIC" else saved(Image.new("RGB", (32, 32), RED), "AVIF", quality=98)
    at = plain.index(b"colrnclx") + 8
    return plain[:at] + struct.pack(">HH", primaries, transfer) + plain[at + 4 :]


@pytest.mark.parametrize("image_format", ["PNG", "AVIF", "HEIC"])
async def test_display_p3_that_is_named_by_numbers_arrives_as_srgb(service, image_format):
    converted = await pixels_of(service, numbered(image_format, 12))

    assert converted.getpixel((converted.width - 5, 25)) == pytest.approx(p3_as_srgb(RED), abs=8)


async def test_bt2020_arrives_as_srgb(service):
    red, green, blue = (await pixels_of(service, numbered("PNG", 9))).tobytes()[:3]

    assert red == 255
    assert max(green, blue) < min(RED[1:])


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (2, 2), (12, 16), (0, 0), (255, 255)])
async def test_other_numbers_keep_the_pixels(service, primaries, transfer):
    assert (await pixels_of(service, numbered("PNG", primaries, transfer))).getpixel((5, 5)) == RED


LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
DAMAGED_PROFILES = [b"", b"not a profile", P3[:200], P3[:128] + b"\xff" * 300, P3[:16] + b"CMYK" + P3[20:], LAB]


@pytest.mark.parametrize("profile", DAMAGED_PROFILES)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
async def test_a_profile_that_is_damaged_or_of_another_kind_is_ignored(service, mode, profile):
    image = Image.new("RGB", (8, 8), RED).convert(mode)

    assert difference(await pixels_of(service, saved(image, icc_profile=profile)), image) == 0


async def test_a_cmyk_photo_with_a_profile_of_another_kind_is_accepted(service):
    converted = await pixels_of(service, saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", icc_profile=P3))

    assert min(converted.getchannel("R").tobytes()) > 200


# ---------------------------------------------------------------- AVIF


async def test_an_avif_keeps_its_transparency_and_is_turned_upright(service):
    image = Image.new("RGBA", (16, 8), (*RED, 0))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6

    clean = await service.sanitize(saved(image, "AVIF", exif=exif))

    assert (clean.width, clean.height, clean.media.media_type) == (8, 16, "image/png")
    assert Image.open(io.BytesIO(clean.media.data)).getchannel("A").tobytes()[0] == 0


async def test_an_avif_without_transparency_becomes_a_jpeg(service):
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")

    clean = await service.sanitize(saved(image, "AVIF", quality=98))

    assert clean.media.media_type == "image/jpeg"
    assert difference(Image.open(io.BytesIO(clean.media.data)), image) < 12


async def test_an_avif_that_is_too_large_is_refused_by_its_header(service):
    size = struct.pack(">II", 64, 48)
    data = saved(Image.new("RGB", (64, 48), RED), "AVIF")

    with pytest.raises(TooLarge):
        await service.sanitize(data.replace(size, struct.pack(">II", 16_000, 16_000)))


# ---------------------------------------------------------------- texts in PNG


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(*chunks: bytes, at_end: bool = False) -> bytes:
    data = saved(Image.new("RGB", (8, 8), RED))
    at = len(data) - 12 if at_end else 33
    return data[:at] + b"".join(chunks) + data[at:]


PARAMETERS = chunk(b"tEXt", b"parameters\0a fox\nSteps: 9, Sampler: Euler, CFG scale: 5, Seed: 3, Size: 64x64")
LONG = zlib.compress(b"x" * 1_200_000)
FULL = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * (MB - 1)))
UNREADABLE = {
    "a long text": chunk(b"zTXt", b"workflow\0\0" + LONG),
    "a long international text": chunk(b"iTXt", b"workflow\0\1\0en\0\0" + LONG),
    "a long profile": chunk(b"iCCP", b"icc\0\0" + LONG),
    "a bomb": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * 30_000_000)),
    "many texts": FULL * 70,
    "many short texts": chunk(b"tEXt", b"k\0v") * 3000,
    "one unknown method": chunk(b"zTXt", b"workflow\0\7x"),
    "a profile of an unknown method": chunk(b"iCCP", b"icc\0\7x"),
    "a profile without a name": chunk(b"iCCP", b"icc"),
    "a text of a name that Pillow uses": chunk(b"tEXt", b"transparency\0x"),
    "a wrong checksum": PARAMETERS[:-1] + bytes([PARAMETERS[-1] ^ 1]),
    "a wrong checksum of another kind": chunk(b"gAMA", b"1234")[:-1] + b"?",
    "a damaged profile": chunk(b"iCCP", b"icc\0\0rubbish"),
}


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("texts", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_png_with_texts_that_cannot_be_read_is_accepted_and_its_other_metadata_read(service, texts, at_end):
    clean = await service.sanitize(with_chunks(PARAMETERS, texts, at_end=at_end))

    assert (clean.width, clean.parameters["options"]["prompt"]) == (8, "a fox")


async def test_texts_are_unpacked_to_sixteen_mebibytes_in_all():
    kept = drop_long_texts(with_chunks(FULL * 40))

    assert kept.count(FULL) == 16
    assert drop_long_texts(with_chunks(FULL)) == with_chunks(FULL)
    assert drop_long_texts(kept) == kept


async def test_the_file_without_its_long_texts_is_the_same_image():
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 1_200_000, zip=True)
    info.add_text("Comment", "short")
    image = Image.linear_gradient("L").resize((64, 48)).convert("RGB")

    opened = PngImagePlugin.PngImageFile(io.BytesIO(drop_long_texts(saved(image, pnginfo=info))))

    assert (opened.tobytes(), opened.text) == (image.tobytes(), {"Comment": "short"})


@pytest.mark.parametrize("length", [0, 20, 40, 60])
async def test_a_png_that_ends_within_a_text_is_damaged(service, length):
    data = with_chunks(UNREADABLE["a long text"])[: 33 + length]

    with pytest.raises(UnsupportedMedia) as refused:
        await service.sanitize(data)

    assert refused.value.problem == "damaged"
