"""The text in which AUTOMATIC1111 writes a picture's settings: found in PNGs that were made here, written and read."""

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from bot.samplers import SAMPLER_NAMES, SCHEDULE_TYPES

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"iTXt")
_KEYWORD = "parameters"
_MAX_TEXT = 100_000
_PAIR = re.compile(r'\s*(\w[\w \-/]{0,60}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_NEGATIVE = "Negative prompt:"
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_SETTINGS: Mapping[str, str] = {
    "Steps": "steps",
    "Sampler": "sampler",
    "Schedule type": "schedule",
    "CFG scale": "guidance_scale",
    "Seed": "seed",
    "Model": "model",
    "Denoising strength": "strength",
}


def text_of_png(data: bytes) -> str:
    """The text in a PNG that was made here; "" without one."""
    for kind, body in _chunks_of(data):
        keyword, _, rest = body.partition(b"\0")
        if keyword.decode("latin-1") != _KEYWORD:
            continue
        if kind == b"tEXt":
            return rest.decode("latin-1")
        if kind == b"iTXt" and rest[:1] == b"\0":  # uncompressed
            return rest[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
    return ""


def _chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGNATURE) if data.startswith(_SIGNATURE) else len(data)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in _TEXTS:
            yield kind, data[at + 8 : at + 8 + min(length, _MAX_TEXT)]
        at += 12 + length


def write_infotext(options: Mapping[str, Any]) -> str:
    """Settings that another program wrote in a format of its own."""
    values = {title: options.get(name) for title, name in _SETTINGS.items()}
    values["Sampler"] = SAMPLER_NAMES.get(str(values["Sampler"]), values["Sampler"])
    values["Schedule type"] = SCHEDULE_TYPES.get(str(values["Schedule type"]))
    if options.get("width") and options.get("height"):
        values["Size"] = f"{options['width']}x{options['height']}"
    lines = [str(options.get("prompt") or "")]
    if options.get("negative_prompt"):
        lines.append(f"{_NEGATIVE} {options['negative_prompt']}")
    lines.append(", ".join(f"{title}: {value}" for title, value in values.items() if value is not None))
    return "\n".join(line for line in lines if line)


def read_infotext(text: str) -> dict[str, str]:
    """The settings by AUTOMATIC1111's names, as its `png-info` answers them."""
    *lines, last = text[:_MAX_TEXT].strip().split("\n")
    pairs = _PAIR.findall(last)
    if len(pairs) < 3:
        lines, pairs = [*lines, last], []
    prompt: list[str] = []
    negative: list[str] = []
    is_negative = False
    for line in lines:
        if line.startswith(_NEGATIVE):
            is_negative, line = True, line.removeprefix(_NEGATIVE).strip()
        (negative if is_negative else prompt).append(line)
    found = {"Prompt": "\n".join(prompt).strip(), "Negative prompt": "\n".join(negative).strip()}
    for name, value in pairs:
        found[name] = value[1:-1].replace('\\"', '"') if value.startswith('"') else value.strip()
        if name.endswith("Size") and (size := _SIZE.fullmatch(found[name])):
            found |= {f"{name}-1": size[1], f"{name}-2": size[2]}
    return found
