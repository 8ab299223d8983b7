"""Converts images to sRGB, by the ICC profiles in them. Runs only in the image worker.

A profile that is damaged, or belongs to another kind of image, is ignored.
"""

import io

from PIL import Image, ImageChops, ImageCms

_STEPS = range(0, 256, 17)
_SAMPLES = bytes(value for red in _STEPS for green in _STEPS for blue in _STEPS for value in (red, green, blue))
_SAMPLES_SIZE = (64, 64)
_ROUNDING = 2
"""Of 255. A profile that changes no value by more is sRGB."""


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
