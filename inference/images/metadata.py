"""The metadata of every generated image, in every encoding.

Three things are stored with the pixels: the text format of AUTOMATIC1111, which many tools read; Easel's own JSON,
which restores the exact command; and the IPTC source type for generated media.
"""

import codecs
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from bot.commands.prompt_enhancing import BEFORE_PLUGINS, UNENHANCED
from bot.commands.refine_tiles import TILE_PROMPTS
from bot.models import IMAGE_TO_IMAGE
from bot.options import MAX_SEED
from bot.ports import Task
from bot.prompts.grammar import prompt_at
from bot.samplers import SAMPLER_NAMES
from inference.images.used_settings import control_settings, row_settings, used_images
from inference.ipc.messages import RawImage

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC NewsCodes, Digital Source Type: created by a model trained on sampled content."""
XMP_KEYWORD = "XML:com.adobe.xmp"
"""The iTXt keyword for XMP in PNG files."""
_NOT_ASKED = ("prompts", "asked", "best", "enhance", UNENHANCED, BEFORE_PLUGINS, TILE_PROMPTS)
"""What Easel adds to the options itself, and what one image alone has nothing of."""
EMPTY: Mapping[str, Any] = MappingProxyType({})
_UNICODE = b"UNICODE\0"
_EIGHT_BIT = (b"ASCII\0\0\0", b"JIS\0\0\0\0\0", b"\0" * 8)
"""The other character codes that EXIF knows. What programs write in JIS is ASCII."""


@cache
def software_name() -> str:
    try:
        return f"Easel {version('easel')}"
    except PackageNotFoundError:
        return "Easel 0.1.0"


def generation_metadata(task: Task, image: RawImage) -> tuple[str, str]:
    """The A1111 text and Easel's JSON of one image; each reproduces this one image."""
    options = {name: value for name, value in task.options.items() if name not in _NOT_ASKED}
    if "prompt" in options:
        options["prompt"] = prompt_at(task.options, image.index)
    options |= {"count": 1, "seed": image.seed, "model": task.model.name}
    if image.sampler:
        options["sampler"] = image.sampler
    if "variation_seed" in options:  # picture k has the k-th of each
        options["variation_seed"] = (int(options["variation_seed"]) + image.index) % (MAX_SEED + 1)
    has_strength = task.task == IMAGE_TO_IMAGE or bool(options.get("hires"))
    size = (options["width"], options["height"]) if options.get("hires") else (image.width, image.height)
    easel = {
        "easel": 1,
        "command": task.command,
        "options": options,
        "model_revision": image.revision,
    }
    images = used_images(task.images)
    if images:
        easel["images"] = images
    added = row_settings(options) | control_settings(task)
    before = task.options.get(BEFORE_PLUGINS) or task.options.get(UNENHANCED)
    if before:
        easel["unenhanced_prompt"] = added["Original prompt"] = prompt_at(before, image.index)
    # ASCII only: any prompt must survive XML and PNG unchanged.
    return a1111_text(options, size, has_strength=has_strength, added=added), json.dumps(easel)


def a1111_text(
    options: Mapping[str, Any], size: tuple[int, int], *, has_strength: bool, added: Mapping[str, Any] = EMPTY
) -> str:
    """The prompt, the negative prompt if any, and a last line of settings. `size`: width, height."""
    sampler = str(options.get("sampler") or "")
    settings: dict[str, Any] = {
        "Steps": options.get("steps"),
        "Sampler": SAMPLER_NAMES.get(sampler, sampler) or None,
        "Schedule type": added.get("Schedule type"),
        "CFG scale": options.get("guidance_scale"),
        "Seed": options.get("seed"),
        "Size": f"{size[0]}x{size[1]}",
        "Model": options.get("model"),
        "Denoising strength": options.get("strength") if has_strength else None,
        **added,
        "Version": software_name(),
    }
    negative = str(options.get("negative_prompt") or "")
    lines = [str(options.get("prompt", ""))]
    if negative:
        lines.append(f"Negative prompt: {negative}")
    pairs = (f"{name}: {_quoted(value)}" for name, value in settings.items() if value is not None)
    lines.append(", ".join(pairs))
    return _encodable("\n".join(lines))


def xmp_packet(easel: str) -> str:
    """An XMP packet with the source type and, for encodings without text chunks, Easel's JSON."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about=""'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        ' xmlns:easel="urn:easel:1/"'
        f" xmp:CreatorTool={quoteattr(software_name())}"
        f" Iptc4xmpExt:DigitalSourceType={quoteattr(SOURCE_TYPE)}>"
        f"<easel:request>{escape(easel)}</easel:request>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    )


def user_comment(text: str) -> bytes:
    """The value of EXIF's UserComment, as A1111 writes it: a character code, then UTF-16, big-endian."""
    return _UNICODE + text.encode("utf-16-be")


def comment_text(value: bytes) -> str:
    """The text of a UserComment from any program, some of which forget the code; "" when it is not text."""
    code, body = value[:8], value[8:]
    if code.upper() == _UNICODE:
        return _decode_unicode(body)
    if code in _EIGHT_BIT:
        return body.decode("utf-8", errors="replace")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _decode_unicode(body: bytes) -> str:
    """EXIF does not say which encoding this is: UTF-16 has a mark of its byte order, or zeros in ASCII letters."""
    if b"\0" not in body:
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    big, little = body[::2].count(0), body[1::2].count(0)
    if body.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE)):
        order = "utf-16"
    else:
        order = "utf-16-le" if little > big else "utf-16-be"
    return body[: len(body) // 2 * 2].decode(order, errors="replace")


def _quoted(value: object) -> str:
    """A value as A1111 writes it: as JSON when it contains separators."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(separator in text for separator in ',:\n"') else text


def _encodable(text: str) -> str:
    """Without NUL, which ends a text chunk, and lone surrogates, which cannot be encoded."""
    return text.replace("\0", "").encode("utf-8", errors="replace").decode("utf-8")
