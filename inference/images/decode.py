"""Sanitizes an uploaded image. Runs only in the image worker, whose memory and time are limited.

The header is checked before anything is decoded. The result is a new image that shares only its pixels with the upload.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import AvifImagePlugin, ExifTags, Image, ImageOps, UnidentifiedImageError, features

from bot.errors import TooLarge, UnsupportedMedia
from bot.ports.images import is_heic
from inference.images import heif
from inference.images.color import convert_to_srgb, find_profile
from inference.images.metadata import XMP_KEYWORD, comment_text
from inference.images.metadata_reader import (
    DESCRIPTION,
    STEALTH,
    USER_COMMENT,
    XMP,
    parse_generation_metadata,
)
from inference.images.png_texts import drop_long_texts
from inference.images.readers.stealth import read_stealth
from inference.images.readers.values import MAX_JSON, GenerationMetadata
from inference.images.tiff_header import is_camera_raw, is_slow_tiff, is_tiff
from inference.ipc.image_messages import SanitizeReply, SanitizeRequest

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")
"""TIFF and BMP are tried only for files that begin as such."""
_HEIC_FORMATS = heif.register_decoder()
"""Only for files that say so: no other process may start the threads of their decoder."""
_PHOTO_FORMATS = ("JPEG", "MPO", "AVIF", heif.FORMAT)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the process may start no thread
_JPEG_QUALITY = 95
_USER_COMMENT = 0x9286
_MAX_SCANS = 100
"""Cameras and programs write about ten. Each costs a pass over all pixels and may take 30 bytes of the file."""
_MAX_SEGMENTS = 1000
_MAX_BETWEEN = 64 * 1024
"""Bytes between the segments before the first scan: padding, of which programs write some bytes."""
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
"""One that has a length, or the end of the image; in the data of a scan, 0xFF is followed by 0 or a restart marker."""
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9

_UNSUPPORTED_FORMATS = (
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"<svg", "SVG"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
)
"""First bytes of formats that are not supported but may be uploaded as images."""


def sanitize(request: SanitizeRequest) -> SanitizeReply:
    """The first frame, upright, as 8-bit sRGB with any alpha, without metadata. JPEG, and AVIF and HEIC without alpha,
    become JPEG; other images, such as TIFF and BMP, become PNG. HEIC may have more pixels than others, and is scaled
    down to their limit.

    Raises: UnsupportedMedia, TooLarge.
    """
    if not request.data:
        raise UnsupportedMedia("empty")
    with warnings.catch_warnings():
        # Decompression bombs are errors. Other warnings are about odd metadata and multi-picture files of phones.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        megapixels = round(request.max_pixels / 1e6)
        if request.data.startswith(b"\xff\xd8") and is_slow_jpeg(request.data):
            raise UnsupportedMedia("slow", found="JPEG")
        image = _open_header(request.data, megapixels)
        source_format = image.format
        most = max(request.max_pixels, request.max_heic_pixels) if heif.is_heif(image) else request.max_pixels
        _require_size(image, most)
        try:
            if not heif.is_heif(image):  # it is opened at the image that it names as its first
                image.seek(0)
            image.load()
            _require_size(image, most)  # the header of a HEIC may be wrong
            profile = find_profile(image.info, request.data)
            upright = _to_upright_rgb(_shrink(image, request.max_pixels), profile)
            texts = _read_texts(image)
        except MemoryError:
            raise TooLarge(limit=megapixels, unit="megapixels") from None
        except TooLarge:
            raise
        except Exception as error:  # decoders can raise anything for damaged data
            raise UnsupportedMedia("damaged", found=image.format or "") from error
        is_photo = source_format in _PHOTO_FORMATS and upright.mode == "RGB"
        return _encode_reply(upright, "JPEG" if is_photo else "PNG", texts)


def _open_header(data: bytes, megapixels: int) -> Image.Image:
    """Read the header; no pixel is decoded."""
    formats = _formats_of(data)
    try:
        image = Image.open(io.BytesIO(drop_long_texts(data)), formats=formats)
    except UnidentifiedImageError as error:
        raise _refusal_for(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(limit=megapixels, unit="megapixels") from error
    except Exception as error:
        raise UnsupportedMedia("damaged") from error
    if image.width < 1 or image.height < 1:
        raise UnsupportedMedia("damaged", found=image.format or "")
    if any(tile.codec_name == "bmp_rle" for tile in image.tile):  # Pillow decodes it in Python
        raise UnsupportedMedia("slow", found="BMP")
    return image


def _formats_of(data: bytes) -> tuple[str, ...]:
    """What the file may be. Raises: UnsupportedMedia: a TIFF that is none that could be read."""
    if is_heic(data):
        return _HEIC_FORMATS
    if is_tiff(data):
        if is_camera_raw(data):
            raise UnsupportedMedia("format", found="RAW")
        if is_slow_tiff(data):
            raise UnsupportedMedia("slow", found="TIFF")
        return ("TIFF",)
    return ("BMP",) if data.startswith(b"BM") else FORMATS


def _require_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise TooLarge(limit=round(max_pixels / 1e6), unit="megapixels")


def _shrink(image: Image.Image, max_pixels: int) -> Image.Image:
    """The image with at most so many pixels, with what it says about orientation and color."""
    factor = math.sqrt(max_pixels / (image.width * image.height))
    if factor >= 1:
        return image
    size = (max(1, int(image.width * factor)), max(1, int(image.height * factor)))
    smaller = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    smaller.info = dict(image.info)
    return smaller


def is_slow_jpeg(data: bytes) -> bool:
    """Whether its markers say that Pillow, which reads the header in Python, or the decoder would take too long."""
    scans = segments = between = 0
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind = data[marker.end() - 1]
        if kind == _END_OF_IMAGE:
            return False
        segments += 1
        between += 0 if scans else marker.start() - at
        scans += kind == _START_OF_SCAN
        if scans > _MAX_SCANS or segments > _MAX_SEGMENTS or between > _MAX_BETWEEN:
            return True
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return not scans and len(data) - at > _MAX_BETWEEN


def _refusal_for(data: bytes) -> UnsupportedMedia:
    """The error for bytes in none of the formats."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if is_heic(data):
        return UnsupportedMedia("damaged" if _HEIC_FORMATS else "heic", found="HEIC")
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return UnsupportedMedia("damaged" if features.check("avif") else "format", found="AVIF")
    if b"<svg" in start.lower():
        return UnsupportedMedia("format", found="SVG")
    for magic, name in _UNSUPPORTED_FORMATS:
        if data.startswith(magic) or start.startswith(magic):
            return UnsupportedMedia("format", found=name)
    for magic in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*"):
        if data.startswith(magic):
            return UnsupportedMedia("damaged")
    return UnsupportedMedia("not_a_picture")


def _to_upright_rgb(image: Image.Image, profile: object) -> Image.Image:
    upright = _apply_exif_orientation(_to_eight_bit(image))
    mode = "RGBA" if _has_alpha(upright) else "RGB"
    pixels = convert_to_srgb(upright, mode, profile)
    clean = Image.new(mode, pixels.size)
    clean.paste(pixels)
    return clean


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    """Turn the image as its EXIF orientation says; unchanged if the EXIF data is damaged."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bit, and grey in floating point; `convert` alone would clip all light values to white."""
    if image.mode == "F":
        return _scale_floats(image)
    if not image.mode.startswith("I"):
        return image
    grey = image.point(lambda value: value * (1 / 256)).convert("L")
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return grey


def _scale_floats(image: Image.Image) -> Image.Image:
    """White is 1, or the lightest value where that is more. Raises: ValueError: there is no such value."""
    lightest = float(image.getextrema()[1])  # type: ignore[arg-type]
    if not math.isfinite(lightest):
        raise ValueError("it has no lightest value")
    factor = 255 / max(1.0, lightest)
    return image.point(lambda value: value * factor).convert("L")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _encode_reply(image: Image.Image, image_format: str, texts: Mapping[str, str]) -> SanitizeReply:
    out = io.BytesIO()
    if image_format == "JPEG":
        image.convert("RGB").save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        image.save(out, "PNG")
    return SanitizeReply(
        data=out.getvalue(),
        media_type=f"image/{image_format.lower()}",
        width=image.width,
        height=image.height,
        parameters=_parse_metadata(texts),
        text=next((texts[name] for name in _SETTINGS if texts.get(name)), ""),
    )


# ---------------------------------------------------------------- metadata


_SETTINGS = ("parameters", USER_COMMENT)
"""Where A1111 and many other programs write their text: in a PNG, and in other formats."""


def _read_texts(image: Image.Image) -> dict[str, str]:
    """Never raises: an image with damaged metadata is still accepted."""
    try:
        texts = {name: _as_text(value) for name, value in image.info.items() if isinstance(name, str)}
        texts[XMP] = texts.get("xmp") or texts.get(XMP_KEYWORD, "")
        return texts | _exif_texts(image) | {STEALTH: read_stealth(image)}
    except Exception:
        return {}


def _parse_metadata(texts: Mapping[str, str]) -> GenerationMetadata | None:
    try:
        return parse_generation_metadata(texts)
    except Exception:  # readers of many programs' formats; whatever they stumble over, the image is accepted
        return None


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:MAX_JSON].decode("utf-8", errors="replace")
    return str(value)[:MAX_JSON] if isinstance(value, str) else ""


def _exif_texts(image: Image.Image) -> dict[str, str]:
    """Programs write into EXIF where a format has no texts; ComfyUI writes its graph as a camera's model and
    its workflow as the camera's maker."""
    exif = image.getexif()
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(_USER_COMMENT)
    texts = {DESCRIPTION: _as_text(exif.get(ExifTags.Base.ImageDescription))}
    if comment:
        texts[USER_COMMENT] = comment_text(comment[:MAX_JSON]) if isinstance(comment, bytes) else _as_text(comment)
    for tag in (ExifTags.Base.Model, ExifTags.Base.Make):
        name, is_named, text = _as_text(exif.get(tag)).partition(":")
        if is_named and name.casefold() in ("prompt", "workflow"):
            texts[name.casefold()] = text
    return texts
