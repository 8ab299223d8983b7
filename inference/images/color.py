"""Converts images to sRGB, by their ICC profiles or the color spaces that they name. Runs only in the image worker.

A profile that is damaged, or belongs to another kind of image, is ignored.
"""

import io
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any

from PIL import Image, ImageChops, ImageCms

_STEPS = range(0, 256, 17)
_SAMPLES = bytes(value for red in _STEPS for green in _STEPS for blue in _STEPS for value in (red, green, blue))
_SAMPLES_SIZE = (64, 64)
_ROUNDING = 2
"""Of 255. A profile that changes no value by more is sRGB."""
_COLORANTS = {
    9: ((0.67346, 0.27904, -0.00193), (0.16566, 0.67534, 0.02998), (0.12510, 0.04562, 0.79713)),
    12: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
"""XYZ of red, green and blue at D50, by the number of the primaries: BT.2020 and Display P3. Source: ITU-T H.273."""
_SDR_TRANSFERS = (1, 6, 13, 14, 15)
"""Numbers of tone curves that are near that of sRGB. What is brighter than white cannot be kept."""
_MAX_HEADER = 256 * 1024
"""Bytes of a file before its pixels that are searched."""


def find_profile(info: Mapping[Any, Any], data: bytes) -> Any:
    """The ICC profile of a file, or one of the wide color space that it names by numbers; None: it is sRGB.

    `info`: Pillow's of the image.
    """
    if info.get("icc_profile"):
        return info["icc_profile"]
    named = info.get("nclx_profile")  # of a HEIC
    if isinstance(named, dict):
        primaries, transfer = named.get("color_primaries"), named.get("transfer_characteristics")
    else:
        primaries, transfer = _find_numbers(data[:_MAX_HEADER])
    return _wide_profile(primaries) if primaries in _COLORANTS and transfer in _SDR_TRANSFERS else None


def _find_numbers(header: bytes) -> tuple[int, int]:
    """Of the primaries and the tone curve, of an AVIF or a PNG; zeros if it names none."""
    is_png = header.startswith(b"\x89PNG")
    name, layout = (b"\0\0\0\x04cICP", ">BB") if is_png else (b"colrnclx", ">HH")
    at = header.find(name) + len(name)
    is_named = at >= len(name) + 8 and (is_png or header[4:8] == b"ftyp") and at + 4 <= len(header)
    primaries, transfer = struct.unpack_from(layout, header, at) if is_named else (0, 0)
    return primaries, transfer


@cache
def _wide_profile(primaries: int) -> bytes:
    """The profile of sRGB with other colorants: the tone curve is the same."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    colorants = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), _COLORANTS[primaries], strict=True))
    (count,) = struct.unpack_from(">I", profile, 128)
    for tag in range(count):
        name, at, _ = struct.unpack_from(">4sII", profile, 132 + 12 * tag)
        if name in colorants:
            struct.pack_into(">3i", profile, at + 8, *(round(value * 65536) for value in colorants[name]))
    return bytes(profile)


def convert_to_srgb(image: Image.Image, mode: str, profile: object) -> Image.Image:
    """The 8-bit image in `mode`, "RGB" or "RGBA". Without a usable profile its values are kept."""
    plain = image.convert(mode)
    if not isinstance(profile, bytes) or not profile:
        return plain
    try:
        return _apply_profile(image, plain, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError, AttributeError):
        return plain


def _apply_profile(image: Image.Image, plain: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    space, srgb = profile.profile.xcolor_space.strip(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    if space == "RGB":
        transform = ImageCms.buildTransform(profile, srgb, plain.mode, plain.mode)
        return plain if _is_identity(transform, plain.mode) else _transform(plain, transform)
    if space == "CMYK" and image.mode == "CMYK":
        return _transform(image, ImageCms.buildTransform(profile, srgb, "CMYK", "RGB"))
    if space == "GRAY" and image.mode in ("L", "LA"):
        gray = _transform(image.convert("L"), ImageCms.buildTransform(profile, srgb, "L", "RGB"))
        if plain.mode == "RGBA":
            gray.putalpha(plain.getchannel("A"))
        return gray
    return plain


def _transform(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("the image was converted in place")
    return converted


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    samples = Image.frombytes("RGB", _SAMPLES_SIZE, _SAMPLES).convert(mode)
    return max(ImageChops.difference(samples, _transform(samples, transform)).tobytes()) <= _ROUNDING
