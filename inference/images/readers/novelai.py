"""NovelAI: the settings are the JSON in the chunk `Comment`; braces and brackets in the prompt are weights."""

import re
from collections.abc import Mapping
from typing import Any

from inference.images.readers.values import GenerationMetadata, Names, first_of, imagine_request, parse_object, text_of

_NOVELAI: Names = {
    "prompt": ("prompt",),
    "negative_prompt": ("uc", "negative_prompt"),
    "steps": ("steps",),
    "sampler": ("sampler",),
    "guidance_scale": ("scale",),
    "seed": ("seed",),
    "width": ("width",),
    "height": ("height",),
}
_STEP = 1.05
"""What a pair of braces multiplies a weight by, and a pair of brackets divides it by."""
_MAX_DEPTH = 20
_NUMBERED = re.compile(r"(-?\d{1,2}(?:\.\d{1,3})?)::([^:]*)::")
"""Version 4: `1.5::fox::`."""


def read_novelai(texts: Mapping[str, Any]) -> GenerationMetadata | None:
    """Its chunks: the settings are the JSON in `Comment`, the prompt is also in `Description`."""
    data = parse_object(texts.get("Comment"))
    if "sampler" not in data and "uc" not in data:
        return None
    settings = {option: first_of(data, keys) for option, keys in _NOVELAI.items()}
    for option, version_4, shorter in (
        ("prompt", "v4_prompt", texts.get("Description")),
        ("negative_prompt", "v4_negative_prompt", None),
    ):
        words = text_of(settings[option]) or text_of(shorter)
        settings[option] = _with_weights(_version_4_prompt(data.get(version_4)) or words)
    settings["strength"] = data.get("strength") if data.get("request_type") == "Img2ImgRequest" else None
    settings["model"] = re.sub(r"\s+[0-9A-F]{8}$", "", text_of(texts.get("Source")))
    settings["sampler"] = without_prefix(settings["sampler"])
    return imagine_request("novelai", settings)


def _version_4_prompt(value: object) -> str:
    """The scene and each character of a prompt in parts."""
    caption = value.get("caption") if isinstance(value, dict) else None
    if not isinstance(caption, dict):
        return ""
    people = caption.get("char_captions")
    parts = [caption.get("base_caption")]
    parts += [one.get("char_caption") for one in people if isinstance(one, dict)] if isinstance(people, list) else []
    return ", ".join(text for text in map(text_of, parts) if text)


def _with_weights(prompt: str) -> str:
    """`{fox}`, `[fox]`, `1.5::fox::` as `(fox:1.05)`, `(fox:0.952)`, `(fox:1.5)`: here braces are combinations."""
    depth = 0
    parts: list[str] = []
    for piece in re.split(r"([{}\[\]])", _NUMBERED.sub(r"(\2:\1)", prompt)):
        if piece in ("{", "]"):
            depth += 1
        elif piece in ("}", "["):
            depth -= 1
        elif depth and piece.strip(" ,"):
            weight = _STEP ** max(-_MAX_DEPTH, min(_MAX_DEPTH, depth))
            parts.append(f"({piece}:{weight:.3g})")
        else:
            parts.append(piece)
    return "".join(parts)


def without_prefix(sampler: object) -> str:
    """The name of a sampler without the prefix of k-diffusion, which early programs write."""
    return text_of(sampler).removeprefix("k_").removesuffix("_v3")
