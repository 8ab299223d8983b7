"""Makes an uploaded picture safe. Runs only in the picture child, whose memory and time are limited.

The header decides before anything is decoded. What comes out is a new image that shares nothing with the
upload but its pixels.
"""

import io
import warnings
from typing import Any

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from bot.errors import TooLarge, UnsupportedMedia
from inference.images.metadata import XMP_KEYWORD, comment_text
from inference.images.metadata_reader import MAX_TEXT, Recipe, read_recipe
from inference.ipc.messages import CleanReply, CleanRequest

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_JPEG_QUALITY = 95
_USER_COMMENT = 0x9286

_OTHER_KINDS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"<svg", "SVG"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
)
"""How files begin that people take for pictures but that are not read here."""
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF", b"avis": "AVIF"}


def clean(request: CleanRequest) -> CleanReply:
    """The first frame, upright, 8-bit RGB or RGBA, without metadata; JPEG stays JPEG, the rest is PNG.

    Raises: UnsupportedMedia, TooLarge.
    """
    if not request.data:
        raise UnsupportedMedia("empty")
    with warnings.catch_warnings():
        # Bombs are errors. The rest is about odd metadata and odd multi-picture files, which phones write every day.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        megapixels = round(request.max_pixels / 1e6)
        image = _opened(request.data, megapixels)
        if image.width * image.height > request.max_pixels:
            raise TooLarge(limit=megapixels, unit="megapixels")
        try:
            kind = image.format
            fresh = _upright(image)
            recipe = _recipe(image)
        except MemoryError:
            raise TooLarge(limit=megapixels, unit="megapixels") from None
        except Exception as error:  # decoders raise nearly anything for bytes that are wrong
            raise UnsupportedMedia("damaged", found=image.format or "") from error
        return _reply(fresh, "JPEG" if kind in ("JPEG", "MPO") else "PNG", recipe)


def _opened(data: bytes, megapixels: int) -> Image.Image:
    """The header read, no pixel decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _refusal(data) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(limit=megapixels, unit="megapixels") from error
    except Exception as error:
        raise UnsupportedMedia("damaged") from error
    if image.width < 1 or image.height < 1:
        raise UnsupportedMedia("damaged", found=image.format or "")
    return image


def _refusal(data: bytes) -> UnsupportedMedia:
    """Why bytes that are none of `FORMATS` are refused."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS:
        return UnsupportedMedia("format", found=_BRANDS[data[8:12]])
    if b"<svg" in start.lower():
        return UnsupportedMedia("format", found="SVG")
    for magic, name in _OTHER_KINDS:
        if data.startswith(magic) or start.startswith(magic):
            return UnsupportedMedia("format", found=name)
    for magic in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF"):
        if data.startswith(magic):
            return UnsupportedMedia("damaged")
    return UnsupportedMedia("not_a_picture")


def _upright(image: Image.Image) -> Image.Image:
    image.seek(0)
    image.load()
    turned = _turned(_eight_bit(image))
    mode = "RGBA" if _has_alpha(turned) else "RGB"
    pixels = turned.convert(mode)
    fresh = Image.new(mode, pixels.size)
    fresh.paste(pixels)
    return fresh


def _turned(image: Image.Image) -> Image.Image:
    """As EXIF says that the camera was held; as it lies when EXIF is rubbish."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bit; `convert` alone would cut every light value off at white."""
    if not image.mode.startswith("I"):
        return image
    grey = image.point(lambda value: value * (1 / 256)).convert("L")
    grey.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return grey


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _reply(image: Image.Image, kind: str, recipe: Recipe | None) -> CleanReply:
    out = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(out, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    else:
        image.save(out, "PNG")
    return CleanReply(
        data=out.getvalue(),
        media_type=f"image/{kind.lower()}",
        width=image.width,
        height=image.height,
        parameters=recipe,
    )


# ---------------------------------------------------------------- what it says of itself


def _recipe(image: Image.Image) -> Recipe | None:
    """Never raises: a picture is worth keeping even if what it says is rubbish."""
    try:
        texts = {name: _as_text(value) for name, value in image.info.items() if isinstance(name, str)}
        xmp = texts.get("xmp") or texts.get(XMP_KEYWORD, "")
        parameters = texts.get("parameters") or _user_comment(image)
        easel, comfyui = texts.get("easel", ""), texts.get("prompt", "")
        return read_recipe(easel=easel, xmp=xmp, parameters=parameters, comfyui=comfyui)
    except Exception:
        return None


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value[:MAX_TEXT].decode("utf-8", errors="replace")
    return str(value)[:MAX_TEXT] if isinstance(value, str) else ""


def _user_comment(image: Image.Image) -> str:
    value = image.getexif().get_ifd(ExifTags.IFD.Exif).get(_USER_COMMENT)
    return comment_text(value[:MAX_TEXT]) if isinstance(value, bytes) else ""
