"""Turns raw pixels into picture files with their metadata. Runs only in the picture child."""

import io
import math
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from inference.metadata import XMP_KEYWORD, user_comment, xmp_packet
from inference.protocol import EncodeReply, EncodeRequest, GridRequest

USER_COMMENT = 0x9286
_GAP = 4
"""Pixels between the pictures of a sheet."""
_PAPER = (24, 24, 27)


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
    out = io.BytesIO()
    told = _options(image_format, parameters, easel) if is_generated else {}
    image.save(out, image_format.upper(), **told, **_quality(image_format, quality))
    return EncodeReply(out.getvalue(), f"image/{image_format}", image.width, image.height, parameters)


def _quality(image_format: str, quality: int) -> dict[str, Any]:
    match image_format:
        case "jpeg":
            return {"quality": quality, "optimize": True} if quality else {"quality": 95, "subsampling": 0}
        case "webp":
            return {"quality": quality or 90}
    return {}


def _options(image_format: str, parameters: str, easel: str) -> dict[str, Any]:
    """What Pillow's `save` needs to write the metadata in this format."""
    xmp = xmp_packet(easel)
    if image_format == "png":
        chunks = PngInfo()
        if parameters:
            chunks.add_itxt("parameters", parameters)
        if easel:
            chunks.add_itxt("easel", easel)
        chunks.add_itxt(XMP_KEYWORD, xmp)
        return {"pnginfo": chunks}
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[USER_COMMENT] = user_comment(parameters)
    return {"exif": exif, "xmp": xmp.encode()}
