"""Guesses whether a file that people send may be a picture, by what they and their programs say about it.

Only its bytes decide in the end: the image worker refuses what is none.
"""

_UNTYPED = ("", "application/octet-stream", "binary/octet-stream", "application/unknown")
"""Media types of programs that do not know the type."""
IMAGE_ENDINGS = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".avif", ".heic", ".heif"),
    *(".tif", ".tiff", ".bmp"),
)
"""Of a folder that the command line is given, only such files are read."""


def may_be_picture(media_type: str, filename: str) -> bool:
    """Whether a file is worth downloading although nobody named it as a picture."""
    said = media_type.partition(";")[0].strip().casefold()
    return said.startswith("image/") or said in _UNTYPED or filename.casefold().endswith(IMAGE_ENDINGS)


def is_other_media(media_type: str) -> bool:
    """Whether a file is sound or film, which nobody needs to download to know."""
    return media_type.strip().casefold().startswith(("video/", "audio/"))
