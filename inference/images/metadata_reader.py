"""Reads the settings of an image's generation from its file, as Easel and many other programs write them.

All input is untrusted: sizes are limited before parsing, types and ranges are checked, unknown values are dropped, and
nothing raises.
"""

import math
import re
from collections.abc import Iterator, Mapping
from html import unescape

from inference.images.readers.a1111 import read_a1111
from inference.images.readers.comfyui import read_comfyui
from inference.images.readers.comfyui_workflow import graph_of
from inference.images.readers.invokeai import read_invokeai
from inference.images.readers.novelai import read_novelai
from inference.images.readers.programs import read_easy_diffusion, read_json_settings
from inference.images.readers.values import (
    MAX_PROMPT,
    MAX_TEXT,
    GenerationMetadata,
    clean_text,
    parse_json,
    parse_object,
    read_images,
)

USER_COMMENT, DESCRIPTION, XMP, STEALTH = "UserComment", "ImageDescription", "xmp", "stealth"
"""Names of texts that are no PNG chunks: EXIF's, the XMP packet in any file, and the text in the alpha channel."""
_MAX_OPTIONS = 40
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_EASEL_IN_XMP = re.compile(r"<easel:request>([^<]*)</easel:request>")
_COMMENT_IN_XMP = re.compile(r"<exif:UserComment>(?:\s*<[^<>]*>)*([^<]*)|exif:UserComment=\"([^\"]*)\"")
_DESCRIPTION_IN_XMP = re.compile(r"<dc:description>(?:\s*<[^<>]*>)*([^<]*)")


def parse_generation_metadata(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """The most exact settings in the file. `texts`: by PNG keyword, or by the names above."""
    xmp = texts.get(XMP, "")
    return (
        _read_easel(texts.get("easel", ""))
        or _read_easel(easel_in_xmp(xmp))
        or read_novelai(texts)
        or read_invokeai(texts)
        or _read_text(texts.get("parameters", ""))
        or _read_text(texts.get(USER_COMMENT, ""))
        or _read_text(texts.get(DESCRIPTION, ""))
        or next((found for text in _texts_in_xmp(xmp) if (found := _read_text(text))), None)
        or _read_graph(parse_object(texts.get("prompt")))
        or read_comfyui(graph_of(parse_object(texts.get("workflow"))))
        or read_easy_diffusion(texts)
        or _read_text(texts.get(STEALTH, ""))
    )


def easel_in_xmp(xmp: str) -> str:
    """Easel's JSON in an XMP packet; "" if there is none."""
    match = _EASEL_IN_XMP.search(xmp[:MAX_TEXT]) if xmp else None
    return unescape(match[1]) if match else ""


def _texts_in_xmp(xmp: str) -> Iterator[str]:
    """What Draw Things writes: JSON, and the same in words."""
    for pattern in (_COMMENT_IN_XMP, _DESCRIPTION_IN_XMP):
        match = pattern.search(xmp[:MAX_TEXT])
        if match:
            yield unescape(next((group for group in match.groups() if group), ""))


def _read_text(text: str) -> GenerationMetadata | None:
    """Settings in a text of any kind: JSON of a program, a graph, or A1111's lines."""
    data = parse_object(text) if text.lstrip("\ufeff \t\r\n").startswith("{") else {}
    return (_read_graph(data) or read_json_settings(data)) if data else read_a1111(text)


def _read_graph(data: Mapping[str, object]) -> GenerationMetadata | None:
    """ComfyUI's graph; where Civitai has added the settings that its person saw, these count."""
    graph, said = read_comfyui(data), read_json_settings(data) if "extraMetadata" in data else None
    if graph is None or said is None:
        return said or graph
    return said | {"options": graph["options"] | said["options"]}


# ---------------------------------------------------------------- Easel


def _read_easel(text: str) -> GenerationMetadata | None:
    data = parse_json(text, MAX_TEXT)
    if not isinstance(data, dict) or data.get("easel") != 1:
        return None
    command, options = data.get("command"), data.get("options")
    if not (isinstance(command, str) and _NAME.fullmatch(command) and isinstance(options, dict)):
        return None
    valid = {
        name: clean_text(value) if isinstance(value, str) else value
        for name, value in list(options.items())[:_MAX_OPTIONS]
        if _NAME.fullmatch(name) and _is_option_value(value)
    }
    metadata: GenerationMetadata = {"source": "easel", "command": command, "options": valid}
    images = read_images(data.get("images"))
    return metadata | {"images": images} if images else metadata


def _is_option_value(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_PROMPT
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53)
