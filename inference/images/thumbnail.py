"""Thumbnails of stored images. Runs only in the image worker."""

import io

from PIL import Image

from bot.errors import UnsupportedMedia
from inference.images.encode import save_image
from inference.images.resize import read_own_metadata
from inference.ipc.image_messages import EncodeReply
from inference.ipc.thumbnail_messages import ThumbnailRequest

QUALITY = 80
MAX_HEIGHT = 16_383
"""Of a WebP."""


def make_thumbnail(request: ThumbnailRequest) -> EncodeReply:
    """WebP, never enlarged, with the image's transparency. If the image is marked as generated, so is its thumbnail;
    only the image itself says how it was made.

    Raises: UnsupportedMedia.
    """
    try:
        image = Image.open(io.BytesIO(request.data), formats=("PNG", "JPEG", "WEBP"))
        factor = min(1.0, request.max_width / image.width, MAX_HEIGHT / image.height)
        size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
        image.draft("RGB", (2 * size[0], 2 * size[1]))
        image.load()
        *_, is_generated = read_own_metadata(image)
        has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
        pixels = image.convert("RGBA" if has_alpha else "RGB")
    except Exception as error:  # decoders can raise anything for damaged data
        raise UnsupportedMedia("damaged") from error
    smaller = pixels.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return save_image(smaller, "webp", "", "", quality=QUALITY, is_generated=is_generated)
