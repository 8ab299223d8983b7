"""Values from untrusted metadata: what is of another type, out of range or not known is dropped, and nothing raises."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bot.models import CONTROL_KINDS, REFERENCE_KINDS
from bot.options import MAX_LORA_WEIGHT, MAX_SEED
from bot.prompts.grammar import find_lora_tags
from bot.samplers import find_missing_schedule, read_sampler, read_schedule

GenerationMetadata = dict[str, Any]
"""`{"source": "easel", "a1111", ..., "command": ..., "options": {...}, "left_out": {...}}`. The last is there only if
the file names a sampler, a schedule or anything else of effect that Easel does not have."""

Names = Mapping[str, tuple[str, ...]]
"""A program's names of settings, by Easel's names and `size`."""
MAX_TEXT = 100_000
MAX_JSON = 2**20
"""ComfyUI's graphs are the longest: prompts, and the nodes that made them."""
MAX_PROMPT = 4000
_MAX_IMAGES = 16
_MAX_LORAS = 5
"""As many as a prompt may have here."""
_WEIGHTS_FILE = re.compile(r"^.*[/\\\\]|\.(?:safetensors|ckpt|pt)$", re.IGNORECASE | re.DOTALL)
_NOT_IN_TAGS = re.compile(r"[:<>]")
_MAX_SEED = 2**64 - 1
_BYTE_ORDER_MARK = "\ufeff"
_NO_GUIDANCE = 1.0
"""A CFG scale up to this switches guidance off, or leaves it to a distilled model's own."""
_SIZE = re.compile(r"\(?\s*(\d{1,5})\s*[x×X,]\s*(\d{1,5})")


def parse_json(text: object, limit: int = MAX_JSON) -> Any:
    """None if it is not JSON, or is too long or too deeply nested."""
    if not isinstance(text, str) or not text or len(text) > limit:
        return None
    try:
        return json.loads(text.removeprefix(_BYTE_ORDER_MARK), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def parse_object(text: object) -> dict[str, Any]:
    """Empty if it is not a JSON object."""
    data = parse_json(text)
    return data if isinstance(data, dict) else {}


def first_of(data: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first value under these names that is not empty; None if there is none."""
    return next((data[name] for name in names if data.get(name) not in (None, "")), None)


def imagine_request(source: str, settings: Mapping[str, Any]) -> GenerationMetadata:
    """From raw values under Easel's names, and `size`, such as "512x768" or "(512, 768)"."""
    width, height = settings.get("width"), settings.get("height")
    if width is None or height is None:
        width, height = size_of(settings.get("size"))
    sampler, schedule = sampler_of(settings.get("sampler"))
    options = {
        "prompt": add_lora_tags(text_of(settings.get("prompt")), _read_loras(settings)[:_MAX_LORAS]),
        "negative_prompt": text_of(settings.get("negative_prompt")),
        "steps": integer_of(settings.get("steps"), 1, 10_000),
        "sampler": sampler,
        "schedule": read_schedule(text_of(settings.get("schedule"))) or schedule,
        "guidance_scale": number_of(settings.get("guidance_scale"), 0, 1000),
        "seed": integer_of(settings.get("seed"), 0, _MAX_SEED),
        "width": integer_of(width, 1, 65_535),
        "height": integer_of(height, 1, 65_535),
        "strength": number_of(settings.get("strength"), 0, 1),
        "model": text_of(settings.get("model"))[:200],
        **_row_options(settings),
    }
    known = {name: value for name, value in options.items() if value not in (None, "")}
    known.setdefault("prompt", "")
    metadata: GenerationMetadata = {"source": source, "command": "imagine", "options": known}
    if left_out := _find_left_out(settings, sampler):
        metadata["left_out"] = left_out
    images = read_images(settings.get("images"))
    return metadata | {"images": images} if images else metadata


def _find_left_out(settings: Mapping[str, Any], sampler: str) -> dict[str, str]:
    """By the names in its program, what has an effect there and is not possible here."""
    written, schedule = text_of(settings.get("sampler"))[:60], text_of(settings.get("schedule"))[:60]
    left_out = {"sampler": "" if sampler else written, "schedule": find_missing_schedule(written, schedule)}
    left_out["LoRAs"] = ", ".join(name for name, _ in _read_loras(settings)[_MAX_LORAS:])[:60]
    others = settings.get("left_out")
    for name, value in others.items() if isinstance(others, Mapping) else ():
        left_out[name] = text_of(value)[:60]
    return {name: value for name, value in left_out.items() if value}


def add_lora_tags(prompt: str, loras: Sequence[tuple[str, float]]) -> str:
    """The prompt with the tag of each LoRA, by name and weight, that its program keeps beside it."""
    named = {tag.name.casefold() for tag in find_lora_tags(prompt)}
    tags = (f"<lora:{name}:{weight:g}>" for name, weight in loras if name.casefold() not in named)
    return " ".join([prompt, *tags]).strip()


def _read_loras(settings: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Programs write each as a name, as a list that begins with name and weight, or as an object; SwarmUI writes the
    weights in a list of their own."""
    loras, weights = settings.get("loras"), settings.get("lora_weights")
    found = []
    for number, one in enumerate(loras[:_MAX_IMAGES] if isinstance(loras, list) else ()):
        name, weight = one, weights[number] if isinstance(weights, list) and number < len(weights) else None
        if isinstance(one, list) and one:
            name, weight = one[0], one[1] if len(one) > 1 else None
        elif isinstance(one, dict):
            name, weight = first_of(one, ("name", "file")), one.get("weight")
        plain = _NOT_IN_TAGS.sub(" ", _WEIGHTS_FILE.sub("", text_of(name))).strip()[:120]
        value = number_of(weight, -MAX_LORA_WEIGHT, MAX_LORA_WEIGHT)
        if plain and plain.casefold() != "none":
            found.append((plain, 1.0 if value is None else value))
    return found


def _row_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options of single images that change something."""
    variation = number_of(settings.get("variation_strength"), 0, 1)
    clip_skip = integer_of(settings.get("clip_skip"), 2, 50)
    return {
        "hires": number_of(settings.get("hires"), 1.01, 16),
        "variation_seed": integer_of(settings.get("variation_seed"), 0, MAX_SEED) if variation else None,
        "variation_strength": variation or None,
        "guidance_rescale": number_of(settings.get("guidance_rescale"), 0, 1) or None,
        "clip_skip": clip_skip,
        "tiling": True if str(settings.get("tiling")).casefold() == "true" else None,
    }


_CONTROL_WORDS: Mapping[str, str] = {
    **{word: word for word in ("canny", "lineart", "scribble", "depth", "tile")},
    "pose": "pose",
    "softedge": "lineart",
    "hed": "lineart",
}
"""Easel's kinds of control by words in the names of preprocessors and models."""


def control_of(names: str) -> dict[str, str]:
    """Role and kind of what a preprocessor or a model of these names makes of a picture."""
    names = names.casefold().replace("_", "-")
    if "ip-adapter" in names or "ipadapter" in names:
        return {"role": "reference", "kind": "style" if "style" in names else "subject"}
    return {"role": "control", "kind": next((kind for word, kind in _CONTROL_WORDS.items() if word in names), "")}


def read_images(values: object) -> list[dict[str, Any]]:
    """The controls and references that were used, without their pictures; what is not known is dropped."""
    images = []
    for value in values[:_MAX_IMAGES] if isinstance(values, list) else ():
        known = {"control": CONTROL_KINDS, "reference": ("", *REFERENCE_KINDS)}
        if not isinstance(value, dict) or value.get("kind") not in known.get(str(value.get("role")), ()):
            continue
        image = {"role": value["role"], "kind": value["kind"]}
        for name, default, highest in (("weight", 1.0, 2), ("start", 0.0, 1), ("end", 1.0, 1)):
            number = number_of(value.get(name), 0, highest)
            image[name] = default if number is None else number
        images.append(image)
    return images


def read_settings(source: str, data: Mapping[str, Any], names: Names) -> GenerationMetadata:
    return imagine_request(source, {option: first_of(data, keys) for option, keys in names.items()})


def clean_text(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", errors="replace").decode("utf-8")


def text_of(value: object) -> str:
    return clean_text(value[:MAX_PROMPT].lstrip(_BYTE_ORDER_MARK)).strip() if isinstance(value, str) else ""


def number_of(value: object, low: float, high: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if low <= number <= high else None


def integer_of(value: object, low: int, high: int) -> int | None:
    """Exact: seeds of 64 bits are no floats."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,20}\s*", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        number = number_of(value, low, high)
        value = int(number) if number is not None and math.floor(number) == number else None
    return value if value is not None and low <= value <= high else None


def guidance_of(cfg: Any, distilled: Any) -> Any:
    """A distilled model's own guidance where it is set and the CFG scale is off, else the CFG scale."""
    is_off = cfg in (None, "") or number_of(cfg, 0, _NO_GUIDANCE) is not None
    return cfg if distilled in (None, "") or not is_off else distilled


def size_of(value: object) -> tuple[Any, Any]:
    """Width and height, as they are written."""
    if isinstance(value, list) and len(value) == 2:
        return value[0], value[1]
    match = _SIZE.match(value) if isinstance(value, str) else None
    return (match[1], match[2]) if match else (None, None)


def sampler_of(value: object) -> tuple[str, str]:
    """Easel's names of a sampler and of the schedule written behind it; "" for what it does not have."""
    return read_sampler(value) if isinstance(value, str) else ("", "")
