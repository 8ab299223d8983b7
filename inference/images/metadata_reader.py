"""Parses the generation metadata of an image file, as written by Easel, AUTOMATIC1111 and its forks, or ComfyUI.

All input is untrusted: sizes are limited before parsing, types and ranges are checked, unknown values are dropped, and
nothing raises.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import unescape

from bot.samplers import SAMPLER_ALIASES, SAMPLERS

GenerationMetadata = dict[str, Any]
"""`{"source": "easel" | "a1111" | "comfyui", "command": ..., "options": {...}}`"""

MAX_TEXT = 100_000
_MAX_PROMPT = 4000
_MAX_OPTIONS = 40
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PAIR = re.compile(r'\s*(\w[\w \-/]{0,40}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_EASEL_IN_XMP = re.compile(r"<easel:request>([^<]*)</easel:request>")


def parse_generation_metadata(
    *, easel: str = "", xmp: str = "", parameters: str = "", comfyui: str = ""
) -> GenerationMetadata | None:
    """The metadata of the most exact kind in the file. `comfyui`: the JSON of its PNG chunk `prompt`."""
    return _from_easel(easel) or _from_easel(easel_in_xmp(xmp)) or _from_a1111(parameters) or _from_comfyui(comfyui)


def easel_in_xmp(xmp: str) -> str:
    """Easel's JSON in an XMP packet; "" if there is none."""
    match = _EASEL_IN_XMP.search(xmp[:MAX_TEXT]) if xmp else None
    return unescape(match[1]) if match else ""


def _parse_json(text: str) -> Any:
    """None if the text is not JSON, or is too long or too deeply nested."""
    if not text or len(text) > MAX_TEXT:
        return None
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------- Easel


def _from_easel(text: str) -> GenerationMetadata | None:
    data = _parse_json(text)
    if not isinstance(data, dict) or data.get("easel") != 1:
        return None
    command, options = data.get("command"), data.get("options")
    if not (isinstance(command, str) and _NAME.fullmatch(command) and isinstance(options, dict)):
        return None
    valid = {
        name: _clean_text(value) if isinstance(value, str) else value
        for name, value in list(options.items())[:_MAX_OPTIONS]
        if _NAME.fullmatch(name) and _is_option_value(value)
    }
    return {"source": "easel", "command": command, "options": valid}


def _is_option_value(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_PROMPT
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53)


# ---------------------------------------------------------------- A1111


def _from_a1111(text: str) -> GenerationMetadata | None:
    if not text or len(text) > MAX_TEXT:
        return None
    body, _, last = text.strip().rpartition("\n")
    if not last.startswith("Steps: "):
        return None
    prompt, _, negative = body.partition("\nNegative prompt: ")
    if body.startswith("Negative prompt: "):
        prompt, negative = "", body.removeprefix("Negative prompt: ")
    settings = {name.strip(): _unquote(value) for name, value in _PAIR.findall(last[:_MAX_PROMPT])}
    width, _, height = settings.get("Size", "").partition("x")
    options = {
        "prompt": _text(prompt),
        "negative_prompt": _text(negative),
        "steps": _integer(settings.get("Steps"), 1, 10_000),
        "sampler": _sampler(settings.get("Sampler")),
        "guidance_scale": _number(settings.get("CFG scale"), 0, 1000),
        "seed": _integer(settings.get("Seed"), 0, 2**32 - 1),
        "width": _integer(width, 1, 65_535),
        "height": _integer(height, 1, 65_535),
        "strength": _number(settings.get("Denoising strength"), 0, 1),
        "model": _text(settings.get("Model"))[:200],
    }
    return _imagine_request("a1111", options)


def _unquote(value: str) -> str:
    if value.startswith('"'):
        parsed = _parse_json(value)
        return parsed if isinstance(parsed, str) else value
    return value.strip()


# ---------------------------------------------------------------- ComfyUI


def _from_comfyui(text: str) -> GenerationMetadata | None:
    """Best effort: the first KSampler and the nodes linked to it."""
    graph = _parse_json(text)
    if not isinstance(graph, dict):
        return None
    nodes = {
        str(name): (str(node.get("class_type", "")), node["inputs"])
        for name, node in graph.items()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
    }
    sampler = next((inputs for kind, inputs in nodes.values() if "KSampler" in kind), None)
    if sampler is None:
        return None
    latent = _linked_inputs(nodes, sampler.get("latent_image"), "width")
    strength = _number(sampler.get("denoise"), 0, 1)
    seed = sampler.get("seed", sampler.get("noise_seed"))
    options = {
        "prompt": _text(_linked_inputs(nodes, sampler.get("positive"), "text").get("text")),
        "negative_prompt": _text(_linked_inputs(nodes, sampler.get("negative"), "text").get("text")),
        "steps": _integer(sampler.get("steps"), 1, 10_000),
        "sampler": _sampler(sampler.get("sampler_name")),
        "guidance_scale": _number(sampler.get("cfg"), 0, 1000),
        "seed": _integer(seed, 0, 2**32 - 1),
        "width": _integer(latent.get("width"), 1, 65_535),
        "height": _integer(latent.get("height"), 1, 65_535),
        "strength": None if strength == 1 else strength,
        "model": _text(_linked_inputs(nodes, sampler.get("model"), "ckpt_name").get("ckpt_name"))[:200],
    }
    return _imagine_request("comfyui", options)


def _linked_inputs(nodes: Mapping[str, Any], link: object, field: str) -> Mapping[str, Any]:
    """The inputs of the nearest node upstream that has `field` as a value, at most eight nodes away."""
    for _ in range(8):
        if not (isinstance(link, list) and link and str(link[0]) in nodes):
            return {}
        inputs: Mapping[str, Any] = nodes[str(link[0])][1]
        if field in inputs and not isinstance(inputs[field], list):
            return inputs
        link = next((value for value in inputs.values() if isinstance(value, list)), None)
    return {}


# ---------------------------------------------------------------- values


def _imagine_request(source: str, options: Mapping[str, Any]) -> GenerationMetadata:
    known = {name: value for name, value in options.items() if value not in (None, "")}
    known.setdefault("prompt", "")
    return {"source": source, "command": "imagine", "options": known}


def _clean_text(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", errors="replace").decode("utf-8")


def _text(value: object) -> str:
    return _clean_text(value[:_MAX_PROMPT]) if isinstance(value, str) else ""


def _number(value: object, low: float, high: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None


def _integer(value: object, low: int, high: int) -> int | None:
    number = _number(value, low, high)
    return int(number) if number is not None and number == int(number) else None


def _sampler(value: object) -> str:
    """Easel's name of a sampler; "" if it has none."""
    name = value.lower().strip() if isinstance(value, str) else ""
    for scheduler in (" karras", " exponential", " automatic"):
        name = name.removesuffix(scheduler)
    if name in SAMPLERS:
        return name
    plain = name.replace("_", " ")
    return SAMPLER_ALIASES.get(plain, plain.replace(" ", "_") if plain.replace(" ", "_") in SAMPLERS else "")
