"""What every picture made here says of itself, in every encoding.

Three things travel with the pixels: the text that A1111 introduced and many tools read, Easel's own JSON, which
gives the exact command back, and the IPTC's word that an algorithm made it.
"""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from bot.models import IMAGE_TO_IMAGE
from bot.ports import Task
from bot.prompts.grammar import prompt_of
from inference.ipc.messages import RawPicture

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC NewsCodes, Digital Source Type: created by a model trained on sampled content."""
XMP_KEYWORD = "XML:com.adobe.xmp"
"""The iTXt keyword under which PNG files carry XMP."""
_UNICODE = b"UNICODE\0"


def software() -> str:
    try:
        return f"Easel {version('easel')}"
    except PackageNotFoundError:
        return "Easel 0.1.0"


def about(task: Task, picture: RawPicture) -> tuple[str, str]:
    """The A1111 text and Easel's JSON of one picture; each makes this one picture again."""
    own = {name: value for name, value in task.options.items() if name not in ("prompts", "asked")}
    if "prompt" in own:
        own["prompt"] = prompt_of(task.options, picture.index)
    options = own | {"count": 1, "seed": picture.seed, "model": task.model.name}
    if picture.sampler:
        options["sampler"] = picture.sampler
    has_strength = task.task == IMAGE_TO_IMAGE
    size = (picture.width, picture.height)
    easel = {
        "easel": 1,
        "command": task.command,
        "options": options,
        "model_revision": picture.revision,
    }
    # ASCII only: it must pass through XML and PNG unharmed whatever the prompt holds.
    return a1111_text(options, size, has_strength=has_strength), json.dumps(easel)


def a1111_text(options: Mapping[str, Any], size: tuple[int, int], *, has_strength: bool) -> str:
    """The prompt, the negative prompt if any, and a last line of settings. `size`: width, height."""
    settings = {
        "Steps": options.get("steps"),
        "Sampler": options.get("sampler") or None,
        "CFG scale": options.get("guidance_scale"),
        "Seed": options.get("seed"),
        "Size": f"{size[0]}x{size[1]}",
        "Model": options.get("model"),
        "Denoising strength": options.get("strength") if has_strength else None,
        "Version": software(),
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
        f" xmp:CreatorTool={quoteattr(software())}"
        f" Iptc4xmpExt:DigitalSourceType={quoteattr(SOURCE_TYPE)}>"
        f"<easel:request>{escape(easel)}</easel:request>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="r"?>'
    )


def user_comment(text: str) -> bytes:
    """The value of EXIF's UserComment, as A1111 writes it: a code word, then UTF-16, big-endian."""
    return _UNICODE + text.encode("utf-16-be")


def comment_text(value: bytes) -> str:
    """Read a UserComment that anybody wrote; "" when it is no text."""
    code, body = value[:8], value[8:]
    if code == _UNICODE:
        body = body[: len(body) // 2 * 2]
        texts = [body.decode(order, errors="replace") for order in ("utf-16-be", "utf-16-le")]
        return next((text for text in texts if "Steps: " in text), texts[0])
    if code in (b"ASCII\0\0\0", b"\0" * 8):
        return body.decode("utf-8", errors="replace")
    return ""


def _quoted(value: object) -> str:
    """A value as A1111 writes it: as JSON when it would be taken for several."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ',:\n"') else text


def _encodable(text: str) -> str:
    """Without NUL, which ends a text chunk, and lone surrogates, which no encoding takes."""
    return text.replace("\0", "").encode("utf-8", errors="replace").decode("utf-8")
