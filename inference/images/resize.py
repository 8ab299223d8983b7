"""Makes kept pictures smaller to send, or larger to look at. Runs only in the picture child.

What a picture says of itself goes along; one that says nothing, such as a photo, is not made to say anything.
"""

import io

from PIL import ExifTags, Image, UnidentifiedImageError

from bot.errors import TooLarge, UnsupportedMedia
from inference.images.encode import USER_COMMENT, save
from inference.images.metadata import XMP_KEYWORD, comment_text
from inference.images.metadata_reader import easel_in_xmp
from inference.ipc.messages import EncodeReply, EnlargeRequest, ShrinkRequest

_LADDER = (("webp", 92), ("jpeg", 92), ("webp", 85), ("jpeg", 85))
"""Formats and qualities to try at full size; after that, the picture itself gets smaller."""
_SMALLER = 0.8
_SMALLEST = 64
"""Pixels of the longer side below which nothing is gained."""


def shrink(request: ShrinkRequest) -> EncodeReply:
    """The best encoding that fits. Raises: TooLarge, UnsupportedMedia."""
    image = _opened(request.data)
    parameters, easel, is_generated = said_by(image)
    pixels = image.convert("RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB")
    scale = 1.0
    while True:
        for image_format, quality in _LADDER if scale == 1 else _LADDER[2:]:
            reply = save(
                pixels if image_format == "webp" else _on_white(pixels),
                image_format,
                parameters,
                easel,
                quality=quality,
                is_generated=is_generated,
            )
            if len(reply.data) <= request.max_bytes:
                return reply
        scale *= _SMALLER
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if max(size) < _SMALLEST:
            raise TooLarge(limit=round(request.max_bytes / 2**20, 2), unit="MiB")
        pixels = pixels.resize(size, Image.Resampling.LANCZOS)


def enlarge(request: EnlargeRequest) -> EncodeReply:
    """PNG at the size asked for. Raises: UnsupportedMedia."""
    image = _opened(request.data)
    parameters, easel, is_generated = said_by(image)
    larger = image.convert("RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB").resize(
        (request.width, request.height), Image.Resampling.LANCZOS
    )
    if parameters:
        factor = request.width / image.width
        parameters += f", Postprocess upscale by: {factor:.3g}, Postprocess upscaler: Lanczos"
    return save(larger, "png", parameters, easel, is_generated=is_generated)


def said_by(image: Image.Image) -> tuple[str, str, bool]:
    """What our own encodings wrote: A1111's text, Easel's JSON, and whether it calls itself generated."""
    info = {name: _text(value) for name, value in image.info.items() if isinstance(name, str)}
    xmp = info.get("xmp") or info.get(XMP_KEYWORD, "")
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(USER_COMMENT)
    parameters = info.get("parameters") or (comment_text(comment) if isinstance(comment, bytes) else "")
    easel = info.get("easel") or easel_in_xmp(xmp)
    return parameters, easel, bool(parameters or easel or "trainedAlgorithmicMedia" in xmp)


def _opened(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
        image.load()
    except (UnidentifiedImageError, OSError) as error:
        raise UnsupportedMedia("damaged") from error
    return image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    paper = Image.new("RGB", image.size, "white")
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
