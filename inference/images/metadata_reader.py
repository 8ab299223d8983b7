"""Reads what a picture file says about how it was made: by Easel, A1111 and its kin, or ComfyUI.

Everything here comes from strangers. Sizes are bounded before parsing, types and ranges are checked, and what is
not understood is left out; nothing raises.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import unescape

from bot.models import SAMPLERS

Recipe = dict[str, Any]
"""`{"source": "easel" | "a1111" | "comfyui", "command": ..., "options": {...}}`"""

MAX_TEXT = 100_000
_MAX_PROMPT = 4000
_MAX_OPTIONS = 40
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_PAIR = re.compile(r'\s*(\w[\w \-/]{0,40}):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_EASEL_IN_XMP = re.compile(r"<easel:request>([^<]*)</easel:request>")

_OTHER_NAMES: Mapping[str, str] = {
    "euler a": "euler_a",
    "euler ancestral": "euler_a",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde",
    "dpmpp 2m": "dpmpp_2m",
    "dpmpp sde": "dpmpp_sde",
    "uni pc": "unipc",
    "plms": "pndm",
}
"""Sampler names of other programs, in lower case, `_` read as a space."""


def read_recipe(*, easel: str = "", xmp: str = "", parameters: str = "", comfyui: str = "") -> Recipe | None:
    """The best of what the file holds. `comfyui`: the JSON of its PNG chunk `prompt`."""
    return _from_easel(easel) or _from_easel(easel_in_xmp(xmp)) or _from_a1111(parameters) or _from_comfyui(comfyui)


def easel_in_xmp(xmp: str) -> str:
    """Easel's JSON out of an XMP packet; "" without one."""
    found = _EASEL_IN_XMP.search(xmp[:MAX_TEXT]) if xmp else None
    return unescape(found[1]) if found else ""


def _json(text: str) -> Any:
    """None for what is no JSON, or is too big or too deep to be ours."""
    if not text or len(text) > MAX_TEXT:
        return None
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


# ---------------------------------------------------------------- Easel


def _from_easel(text: str) -> Recipe | None:
    said = _json(text)
    if not isinstance(said, dict) or said.get("easel") != 1:
        return None
    command, options = said.get("command"), said.get("options")
    if not (isinstance(command, str) and _NAME.fullmatch(command) and isinstance(options, dict)):
        return None
    kept = {
        name: _cleaned(value) if isinstance(value, str) else value
        for name, value in list(options.items())[:_MAX_OPTIONS]
        if _NAME.fullmatch(name) and _is_option_value(value)
    }
    return {"source": "easel", "command": command, "options": kept}


def _is_option_value(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_PROMPT
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53)


# ---------------------------------------------------------------- A1111


def _from_a1111(text: str) -> Recipe | None:
    if not text or len(text) > MAX_TEXT:
        return None
    body, _, last = text.strip().rpartition("\n")
    if not last.startswith("Steps: "):
        return None
    prompt, _, negative = body.partition("\nNegative prompt: ")
    if body.startswith("Negative prompt: "):
        prompt, negative = "", body.removeprefix("Negative prompt: ")
    said = {name.strip(): _unquoted(value) for name, value in _PAIR.findall(last[:_MAX_PROMPT])}
    width, _, height = said.get("Size", "").partition("x")
    options = {
        "prompt": _text(prompt),
        "negative_prompt": _text(negative),
        "steps": _whole(said.get("Steps"), 1, 10_000),
        "sampler": _sampler(said.get("Sampler")),
        "guidance_scale": _number(said.get("CFG scale"), 0, 1000),
        "seed": _whole(said.get("Seed"), 0, 2**32 - 1),
        "width": _whole(width, 1, 65_535),
        "height": _whole(height, 1, 65_535),
        "strength": _number(said.get("Denoising strength"), 0, 1),
        "model": _text(said.get("Model"))[:200],
    }
    return _imagine("a1111", options)


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        read = _json(value)
        return read if isinstance(read, str) else value
    return value.strip()


# ---------------------------------------------------------------- ComfyUI


def _from_comfyui(text: str) -> Recipe | None:
    """Best effort: the first KSampler and what hangs on it."""
    graph = _json(text)
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
    latent = _followed(nodes, sampler.get("latent_image"), "width")
    strength = _number(sampler.get("denoise"), 0, 1)
    seed = sampler.get("seed", sampler.get("noise_seed"))
    options = {
        "prompt": _text(_followed(nodes, sampler.get("positive"), "text").get("text")),
        "negative_prompt": _text(_followed(nodes, sampler.get("negative"), "text").get("text")),
        "steps": _whole(sampler.get("steps"), 1, 10_000),
        "sampler": _sampler(sampler.get("sampler_name")),
        "guidance_scale": _number(sampler.get("cfg"), 0, 1000),
        "seed": _whole(seed, 0, 2**32 - 1),
        "width": _whole(latent.get("width"), 1, 65_535),
        "height": _whole(latent.get("height"), 1, 65_535),
        "strength": None if strength == 1 else strength,
        "model": _text(_followed(nodes, sampler.get("model"), "ckpt_name").get("ckpt_name"))[:200],
    }
    return _imagine("comfyui", options)


def _followed(nodes: Mapping[str, Any], link: object, wanted: str) -> Mapping[str, Any]:
    """The inputs of the nearest node up the link that has `wanted` as a value; at most eight nodes up."""
    for _ in range(8):
        if not (isinstance(link, list) and link and str(link[0]) in nodes):
            return {}
        inputs: Mapping[str, Any] = nodes[str(link[0])][1]
        if wanted in inputs and not isinstance(inputs[wanted], list):
            return inputs
        link = next((value for value in inputs.values() if isinstance(value, list)), None)
    return {}


# ---------------------------------------------------------------- values


def _imagine(source: str, options: Mapping[str, Any]) -> Recipe:
    kept = {name: value for name, value in options.items() if value not in (None, "")}
    kept.setdefault("prompt", "")
    return {"source": source, "command": "imagine", "options": kept}


def _cleaned(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", errors="replace").decode("utf-8")


def _text(value: object) -> str:
    return _cleaned(value[:_MAX_PROMPT]) if isinstance(value, str) else ""


def _number(value: object, low: float, high: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None


def _whole(value: object, low: int, high: int) -> int | None:
    number = _number(value, low, high)
    return int(number) if number is not None and number == int(number) else None


def _sampler(value: object) -> str:
    """Easel's name for a sampler, "" when it has none."""
    name = value.lower().strip() if isinstance(value, str) else ""
    for scheduler in (" karras", " exponential", " automatic"):
        name = name.removesuffix(scheduler)
    if name in SAMPLERS:
        return name
    plain = name.replace("_", " ")
    return _OTHER_NAMES.get(plain, plain.replace(" ", "_") if plain.replace(" ", "_") in SAMPLERS else "")
