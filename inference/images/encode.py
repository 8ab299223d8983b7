"""Turns raw pixels into picture files with their metadata. Runs only in the picture child.

PNG is lossless with either writer: `fpng`, an optional extra, is many times quicker than Pillow.
"""

import io
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from inference.images.metadata import XMP_KEYWORD, user_comment, xmp_packet
from inference.ipc.messages import EncodeReply, EncodeRequest, GridRequest

try:
    import fpng
except ImportError:  # the extra "fast" is not installed
    fpng = None

USER_COMMENT = 0x9286
_GAP = 4
"""Pixels between the pictures of a sheet."""
_PAPER = (24, 24, 27)
_PNG_START = 8 + 25
"""Bytes of a PNG file before its second chunk: the signature and IHDR."""


def encode(request: EncodeRequest) -> EncodeReply:
    """RGB, 8 bit, to a picture file. The same request gives the same bytes."""
    image = Image.frombytes("RGB", (request.width, request.height), request.pixels)
    return save(image, request.image_format, request.parameters, request.easel)


def grid(request: GridRequest) -> EncodeReply:
    """Pictures on one sheet, in rows, each cell as large as the largest picture."""
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in request.pictures]
    columns = request.columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = max(i.width for i in images), max(i.height for i in images)
    size = (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        sheet.paste(image, (column * (width + _GAP), row * (height + _GAP)))
    return save(sheet, request.image_format, request.parameters, request.easel)


def save(
    image: Image.Image,
    image_format: str,
    parameters: str,
    easel: str,
    *,
    quality: int = 0,
    is_generated: bool = True,
) -> EncodeReply:
    """`quality` 0: the format's own. A picture that was not generated gets no word about how it was made."""
    told = _told(parameters, easel) if is_generated else {}
    if image_format == "png":
        data = _png(image, told)
    else:
        out = io.BytesIO()
        image.save(out, image_format.upper(), **_hidden(told), **_quality(image_format, quality))
        data = out.getvalue()
    return EncodeReply(data, f"image/{image_format}", image.width, image.height, parameters)


def _png(image: Image.Image, told: Mapping[str, str]) -> bytes:
    """A lossless file with `told` as text chunks, keyword to text."""
    chunks = PngInfo()
    for keyword, text in told.items():
        chunks.add_itxt(keyword, text)
    if fpng is not None and image.mode in ("RGB", "RGBA"):
        file: bytes = fpng.from_bytes(image.tobytes(), image.width, image.height, len(image.mode))
        texts = b"".join(_chunk(kind, body) for kind, body, *_ in chunks.chunks)
        return file[:_PNG_START] + texts + file[_PNG_START:]
    out = io.BytesIO()
    # Run lengths after the filters: three times as quick as zlib's search for repeats, and photos come out no larger.
    image.save(out, "PNG", pnginfo=chunks, compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    """Source: PNG specification, 5.3: length, type, data, CRC of type and data."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _quality(image_format: str, quality: int) -> dict[str, Any]:
    match image_format:
        case "jpeg":
            return {"quality": quality, "optimize": True} if quality else {"quality": 95, "subsampling": 0}
        case "webp":
            return {"quality": quality or 90}
    return {}


def _told(parameters: str, easel: str) -> dict[str, str]:
    """What the file says of itself, by the keyword under which PNG has it."""
    said = {"parameters": parameters, "easel": easel, XMP_KEYWORD: xmp_packet(easel)}
    return {keyword: text for keyword, text in said.items() if text}


def _hidden(told: Mapping[str, str]) -> dict[str, Any]:
    """What Pillow's `save` needs to write it into formats without text chunks."""
    if not told:
        return {}
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[USER_COMMENT] = user_comment(told.get("parameters", ""))
    return {"exif": exif, "xmp": told[XMP_KEYWORD].encode()}
