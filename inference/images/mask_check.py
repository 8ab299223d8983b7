"""Finds masks that select nothing, whatever they are scaled to. Runs only in the image worker, without numpy.

What a mask means is in `inference.images.mask_reading`; `inference.diffusion.masks` has the last word, as it knows the
size of the picture.
"""

import io

from PIL import Image

from inference.ipc.mask_messages import MaskReply, MaskRequest

REPAINTED = 128
"""Of 255: from this value on, a pixel counts as repainted."""


def check_mask(request: MaskRequest) -> MaskReply:
    """Empty: all black, or nothing drawn on a clear canvas."""
    image: Image.Image = Image.open(io.BytesIO(request.data))
    if not image.has_transparency_data:
        return MaskReply(is_empty=_is_dark(image.convert("L")))
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    is_opaque = alpha.getextrema()[0] == 255
    return MaskReply(is_empty=_is_dark(image.convert("L") if is_opaque else alpha))


def _is_dark(channel: Image.Image) -> bool:
    return int(channel.getextrema()[1]) < REPAINTED  # type: ignore[arg-type]
