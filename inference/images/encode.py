"""Encodes raw pixels as image files with their metadata. Runs only in the image worker.

PNG is lossless with either encoder: `fpng`, an optional extra, is many times faster than Pillow.
"""

import io
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from inference.images.flatten import open_on_white
from inference.images.metadata import XMP_KEYWORD, user_comment, xmp_packet
from inference.ipc.image_messages import ContactSheetRequest, EncodeReply, EncodeRequest

try:
    import fpng
except ImportError:  # the extra "fast" is not installed
    fpng = None

USER_COMMENT = 0x9286
_GAP = 4
"""Pixels between the images of a sheet."""
_BACKGROUND = (24, 24, 27)
_PNG_START = 8 + 25
"""Bytes of a PNG file before its second chunk: the signature and IHDR."""


def encode_image(request: EncodeRequest) -> EncodeReply:
    """Encode 8-bit pixels. The same request gives the same bytes."""
    return save_image(image_of(request), request.image_format, request.parameters, request.easel)


def image_of(request: EncodeRequest) -> Image.Image:
    """With transparency, if the pixels have four bytes."""
    size = (request.width, request.height)
    has_alpha = len(request.pixels) == 4 * request.width * request.height
    return Image.frombytes("RGBA" if has_alpha else "RGB", size, request.pixels)


def contact_sheet(request: ContactSheetRequest) -> EncodeReply:
    """Lay out images on one sheet, in rows, each cell as large as the largest image."""
    images = [open_on_white(data) for data in request.images]
    columns = request.columns or math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    width, height = max(image.width for image in images), max(image.height for image in images)
    size = (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, _BACKGROUND)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        sheet.paste(image, (column * (width + _GAP), row * (height + _GAP)))
    return save_image(sheet, request.image_format, request.parameters, request.easel)


def save_image(
    image: Image.Image,
    image_format: str,
    parameters: str,
    easel: str,
    *,
    quality: int = 0,
    is_generated: bool = True,
) -> EncodeReply:
    """`quality` 0: the format's default. An image that was not generated gets no generation metadata."""
    texts = _metadata_texts(parameters, easel) if is_generated else {}
    if image_format == "png":
        data = _encode_png(image, texts)
    else:
        out = io.BytesIO()
        image.save(out, image_format.upper(), **_exif_and_xmp(texts), **_quality_options(image_format, quality))
        data = out.getvalue()
    return EncodeReply(data, f"image/{image_format}", image.width, image.height, parameters)


def _encode_png(image: Image.Image, texts: Mapping[str, str]) -> bytes:
    """A lossless file with `texts` as text chunks, by keyword."""
    chunks = PngInfo()
    for keyword, text in texts.items():
        chunks.add_itxt(keyword, text)
    if fpng is not None and image.mode in ("RGB", "RGBA"):
        file: bytes = fpng.from_bytes(image.tobytes(), image.width, image.height, len(image.mode))
        encoded = b"".join(_chunk(kind, body) for kind, body, *_ in chunks.chunks)
        return file[:_PNG_START] + encoded + file[_PNG_START:]
    out = io.BytesIO()
    # Run-length encoding is three times as fast as zlib's default strategy, and photos come out no larger.
    image.save(out, "PNG", pnginfo=chunks, compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    """Length, type, data, CRC of type and data. Source: PNG specification, 5.3."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _quality_options(image_format: str, quality: int) -> dict[str, Any]:
    match image_format:
        case "jpeg":
            return {"quality": quality, "optimize": True} if quality else {"quality": 95, "subsampling": 0}
        case "webp":
            return {"quality": quality or 90}
    return {}


def _metadata_texts(parameters: str, easel: str) -> dict[str, str]:
    """The file's metadata, by PNG keyword."""
    texts = {"parameters": parameters, "easel": easel, XMP_KEYWORD: xmp_packet(easel)}
    return {keyword: text for keyword, text in texts.items() if text}


def _exif_and_xmp(texts: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of Pillow's `save` that write the metadata into formats without text chunks."""
    if not texts:
        return {}
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[USER_COMMENT] = user_comment(texts.get("parameters", ""))
    return {"exif": exif, "xmp": texts[XMP_KEYWORD].encode()}
