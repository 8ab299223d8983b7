"""Turns raw pixels into picture files with their metadata. Runs only in the picture child."""

import io
import math
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from inference.metadata import XMP_KEYWORD, user_comment, xmp_packet
from inference.protocol import EncodeReply, EncodeRequest, GridRequest

_USER_COMMENT = 0x9286
_GAP = 4
"""Pixels between the pictures of a sheet."""
_PAPER = (24, 24, 27)


def encode(request: EncodeRequest) -> EncodeReply:
    """RGB, 8 bit, to a picture file. The same request gives the same bytes."""
    image = Image.frombytes("RGB", (request.width, request.height), request.pixels)
    return _saved(image, request.image_format, request.parameters, request.easel)


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
    return _saved(sheet, request.image_format, request.parameters, request.easel)


def _saved(image: Image.Image, image_format: str, parameters: str, easel: str) -> EncodeReply:
    out = io.BytesIO()
    image.save(out, image_format.upper(), **_options(image_format, parameters, easel))
    return EncodeReply(out.getvalue(), f"image/{image_format}", image.width, image.height)


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
    exif.get_ifd(ExifTags.IFD.Exif)[_USER_COMMENT] = user_comment(parameters)
    quality = {"quality": 95, "subsampling": 0} if image_format == "jpeg" else {"quality": 90}
    return {"exif": exif, "xmp": xmp.encode(), **quality}
