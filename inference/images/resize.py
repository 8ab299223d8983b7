"""Re-encodes stored images to fit a size limit, or resizes them. Runs only in the image worker.

Generation metadata is kept; an image without any, such as a photo, gets none.
"""

import io

from PIL import ExifTags, Image, UnidentifiedImageError

from bot.errors import TooLarge, UnsupportedMedia
from inference.images.encode import USER_COMMENT, image_of, save_image
from inference.images.flatten import flatten
from inference.images.metadata import XMP_KEYWORD, comment_text
from inference.images.metadata_reader import easel_in_xmp
from inference.ipc.image_messages import ConvertRequest, EncodeReply, EncodeRequest, FitBytesRequest, ResizeRequest

_ENCODINGS = (("webp", 92), ("jpeg", 92), ("webp", 85), ("jpeg", 85))
"""Formats and qualities to try at full size, before the image is scaled down."""
_SHRINK_FACTOR = 0.8
_MIN_SIDE = 64
"""Pixels: an image is not scaled down below this longer side."""


def fit_bytes(request: FitBytesRequest) -> EncodeReply:
    """The best encoding that fits. Raises: TooLarge, UnsupportedMedia."""
    image = _open_image(request.data)
    parameters, easel, is_generated = read_own_metadata(image)
    pixels = image.convert("RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB")
    scale = 1.0
    while True:
        for image_format, quality in _ENCODINGS if scale == 1 else _ENCODINGS[2:]:
            reply = save_image(
                pixels if image_format == "webp" else flatten(pixels),
                image_format,
                parameters,
                easel,
                quality=quality,
                is_generated=is_generated,
            )
            if len(reply.data) <= request.max_bytes:
                return reply
        scale *= _SHRINK_FACTOR
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if max(size) < _MIN_SIDE:
            raise TooLarge(limit=round(request.max_bytes / 2**20, 2), unit="MiB")
        pixels = pixels.resize(size, Image.Resampling.LANCZOS)


def convert_image(request: ConvertRequest) -> EncodeReply:
    """The image in another format; JPEG shows transparency as white. Raises: UnsupportedMedia."""
    image = _open_image(request.data)
    parameters, easel, is_generated = read_own_metadata(image)
    pixels = image.convert("RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB")
    return save_image(
        flatten(pixels) if request.image_format == "jpeg" else pixels,
        request.image_format,
        parameters,
        easel,
        quality=request.quality,
        is_generated=is_generated,
    )


def resize_image(request: ResizeRequest) -> EncodeReply:
    """PNG at the requested size. Raises: UnsupportedMedia."""
    image = _open_image(request.data)
    parameters, easel, is_generated = read_own_metadata(image)
    resized = image.convert("RGBA" if image.mode in ("RGBA", "LA", "PA") else "RGB").resize(
        (request.width, request.height), Image.Resampling.LANCZOS
    )
    if parameters:
        factor = request.width / image.width
        parameters += f", Postprocess upscale by: {factor:.3g}, Postprocess upscaler: Lanczos"
    return save_image(resized, "png", parameters, easel, is_generated=is_generated)


def encode_derived(request: EncodeRequest) -> EncodeReply:
    """Encode a map, a mask or an enlarged image with the metadata of the image it was computed from.

    `request.parameters`: what was done to that image, which is marked as generated then.
    """
    parameters, easel, is_generated = read_own_metadata(_open_image(request.source))
    parameters = ", ".join(text for text in (parameters, request.parameters) if text)
    is_marked = is_generated or bool(request.parameters)
    return save_image(image_of(request), request.image_format, parameters, easel, is_generated=is_marked)


def read_own_metadata(image: Image.Image) -> tuple[str, str, bool]:
    """The metadata that Easel writes: A1111's text, Easel's JSON, and whether the image is marked as generated."""
    info = {name: _text(value) for name, value in image.info.items() if isinstance(name, str)}
    xmp = info.get("xmp") or info.get(XMP_KEYWORD, "")
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(USER_COMMENT)
    parameters = info.get("parameters") or (comment_text(comment) if isinstance(comment, bytes) else "")
    easel = info.get("easel") or easel_in_xmp(xmp)
    return parameters, easel, bool(parameters or easel or "trainedAlgorithmicMedia" in xmp)


def _open_image(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
        image.load()
    except (UnidentifiedImageError, OSError) as error:
        raise UnsupportedMedia("damaged") from error
    return image


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
