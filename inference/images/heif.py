"""HEIC, which phones take photos in, decoded by `pi-heif`: an optional extra that has no encoder.

Its library starts a thread for each image, so images are decoded in processes that may start threads, one at a time.
What an image holds beside its pixels, such as its thumbnail and its depth, is not read.
"""

from PIL import Image

try:
    import pi_heif
except ImportError:  # the extra "heif" is not installed
    pi_heif = None

FORMAT = "HEIF"
"""Pillow's name of it."""


def register_decoder() -> tuple[str, ...]:
    """Make Pillow open it; its formats, none without the extra."""
    if pi_heif is None:
        return ()
    pi_heif.register_heif_opener(decode_threads=0, thumbnails=False, depth_images=False, aux_images=False)
    return (FORMAT,)


def is_heif(image: Image.Image) -> bool:
    return image.format == FORMAT
