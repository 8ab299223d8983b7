"""Mutated images through the upload path: every one is stored or refused, and no child's end is anybody's."""

import asyncio
import io
import random
import struct
from collections.abc import Iterator, Sequence

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from inference.images.decode import FORMATS
from tests.fuzz.findings import Findings, Stopwatch
from tests.fuzz.target import FuzzTarget

READ_FORMATS = (*FORMATS, "TIFF", "BMP")
OTHER_FORMATS = ("ICO", "TGA", "PPM", "JPEG2000")
"""What people upload by mistake."""
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\1\0\0\0")
ALLOWED = {201, 413, 415, 422, 429}
CONCURRENCY = 4


def draw_seeds(formats: Sequence[str], rng: random.Random) -> list[bytes]:
    """Small images in the formats that this Pillow can write: modes, animations, metadata, progressive scans."""
    seeds = []
    for image_format in formats:
        for mode in ("RGB", "RGBA", "P", "L", "1", "CMYK", "I;16"):
            width, height = rng.randint(1, 90), rng.randint(1, 90)
            noise = Image.frombytes("RGB", (width, height), rng.randbytes(width * height * 3))
            image = noise.convert(mode if mode != "I;16" else "I").convert(mode)
            for options in ({}, {"progressive": True}, {"save_all": True, "append_images": [image] * 3}):
                file = io.BytesIO()
                try:
                    image.save(file, image_format, **options, **_metadata(image_format, rng))
                except (OSError, ValueError, KeyError, TypeError, AttributeError):
                    continue  # this Pillow cannot write it
                seeds.append(file.getvalue())
    return seeds


def _metadata(image_format: str, rng: random.Random) -> dict[str, object]:
    words = "".join(chr(rng.choice((0, 65, 0xE9, 0x4E00, 0x1F600))) for _ in range(rng.randint(0, 300)))
    if image_format == "PNG":
        information = PngInfo()
        information.add_itxt("parameters", words.replace("\0", "") + "\nSteps: 1e999, Seed: -1, Size: 9x")
        return {"pnginfo": information}
    exif = Image.Exif()
    exif[0x0112], exif[0x9286] = rng.randint(0, 70_000) % 65_536, words
    return {"exif": exif, "xmp": words.encode()} if image_format in ("JPEG", "WEBP", "AVIF") else {}


def mutate(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """One to four mutations; most keep the beginning, so that the format is still recognised."""
    mutated = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(mutated) or 1)
        match rng.randrange(8):
            case 0:
                mutated[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del mutated[rng.randrange(4, max(5, len(mutated))) :]
            case 2:
                mutated[at : at + 4] = rng.choice(EXTREMES)
            case 3:
                mutated[at:at] = rng.randbytes(rng.randint(1, 64))
            case 4:
                length = rng.randint(1, 64)
                mutated[at:at] = mutated[at : at + length] * rng.randint(1, 50)
            case 5:
                other = rng.choice(others)
                mutated[at:] = other[rng.randrange(len(other)) :]
            case 6:
                del mutated[at : at + rng.randint(1, 64)]
            case 7:
                mutated[8:24] = mutated[8:16] + struct.pack(
                    ">II", rng.getrandbits(32), rng.getrandbits(rng.choice((8, 32)))
                )
    return bytes(mutated)


def mutated_images(count: int, rng: random.Random) -> Iterator[bytes]:
    accepted, others = draw_seeds(READ_FORMATS, rng), draw_seeds(OTHER_FORMATS, rng)
    for _ in range(count):
        yield mutate(rng.choice(accepted if rng.random() < 0.8 else others), rng, accepted)


async def upload_mutated_images(target: FuzzTarget, findings: Findings, *, count: int, rng: random.Random) -> None:
    images = mutated_images(count, rng)

    async def upload() -> None:
        for data in images:
            watch = Stopwatch()
            answer = await client.post("/api/v1/media", files={"file": ("picture", data)})
            findings.count(answer.status_code, data[:40], watch.seconds)
            findings.expect(answer.status_code in ALLOWED, f"{answer.status_code} for the image {data.hex()[:2000]}")

    async with target.open_client(target.ann) as client:
        await asyncio.gather(*(upload() for _ in range(CONCURRENCY)))
