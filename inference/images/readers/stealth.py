"""Settings in the lowest bits of the alpha channel, by columns, as NovelAI and an extension of A1111 write them."""

import zlib

from PIL import Image

from inference.images.readers.values import MAX_TEXT

_PLAIN, _PACKED = b"stealth_pnginfo", b"stealth_pngcomp"
_LENGTH_AT, _TEXT_AT = len(_PLAIN), len(_PLAIN) + 4
_BITS = bytes(ord("01"[value & 1]) for value in range(256))
_GZIP = 31
"""For zlib: a window of any size, in gzip's format."""


def read_stealth(image: Image.Image) -> str:
    """The hidden text; "" if there is none."""
    if image.mode != "RGBA":
        return ""
    header = _read_bytes(image, 0, _TEXT_AT)
    length = int.from_bytes(header[_LENGTH_AT:], "big") // 8
    if not header.startswith((_PLAIN, _PACKED)) or length > MAX_TEXT:
        return ""
    data = _read_bytes(image, _TEXT_AT, length)
    if header.startswith(_PACKED):
        try:
            data = zlib.decompressobj(_GZIP).decompress(data, MAX_TEXT)
        except zlib.error:
            return ""
    return data.decode("utf-8", errors="replace")


def _read_bytes(image: Image.Image, start: int, count: int) -> bytes:
    """`count` bytes from byte `start`; fewer if the image ends."""
    columns = min(image.width, -(-8 * (start + count) // image.height))
    alpha = image.crop((0, 0, columns, image.height)).getchannel("A").transpose(Image.Transpose.TRANSPOSE)
    bits = alpha.tobytes().translate(_BITS)[8 * start : 8 * (start + count)]
    bits = bits[: len(bits) // 8 * 8]
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""
