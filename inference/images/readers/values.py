"""Values from untrusted metadata: what is of another type, out of range or not known is dropped, and nothing raises."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bot.samplers import SAMPLER_ALIASES, SAMPLERS

GenerationMetadata = dict[str, Any]
"""`{"source": "easel", "a1111", ..., "command": ..., "options": {...}, "left_out": {...}}`. The last is there only if
the file names a sampler that Easel does not have."""

Names = Mapping[str, tuple[str, ...]]
"""A program's names of settings, by Easel's names and `size`."""
MAX_TEXT = 100_000
MAX_JSON = 2**20
"""ComfyUI's graphs are the longest: prompts, and the nodes that made them."""
MAX_PROMPT = 4000
_MAX_SEED = 2**64 - 1
_BYTE_ORDER_MARK = "\ufeff"
_SCHEDULES = tuple(
    f" {name}"
    for name in (
        "karras", "exponential", "polyexponential", "automatic", "simple", "normal", "beta", "sgm uniform",
        "ddim uniform", "uniform", "kl optimal", "align your steps", "ays", "turbo", "trailing", "substep", "gpu",
    )
)  # fmt: skip
"""What programs add to the name of a sampler."""
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
    options = {
        "prompt": text_of(settings.get("prompt")),
        "negative_prompt": text_of(settings.get("negative_prompt")),
        "steps": integer_of(settings.get("steps"), 1, 10_000),
        "sampler": sampler_of(settings.get("sampler")),
        "guidance_scale": number_of(settings.get("guidance_scale"), 0, 1000),
        "seed": integer_of(settings.get("seed"), 0, _MAX_SEED),
        "width": integer_of(width, 1, 65_535),
        "height": integer_of(height, 1, 65_535),
        "strength": number_of(settings.get("strength"), 0, 1),
        "model": text_of(settings.get("model"))[:200],
    }
    known = {name: value for name, value in options.items() if value not in (None, "")}
    known.setdefault("prompt", "")
    metadata: GenerationMetadata = {"source": source, "command": "imagine", "options": known}
    sampler = text_of(settings.get("sampler"))[:60]
    if sampler and "sampler" not in known:
        metadata["left_out"] = {"sampler": sampler}
    return metadata


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


def sampler_of(value: object) -> str:
    """Easel's name of a sampler; "" if it has none."""
    name = value.casefold().strip().removeprefix("sample_") if isinstance(value, str) else ""
    plain = name.replace("_", " ")
    for schedule in _SCHEDULES:
        plain = plain.removesuffix(schedule)
    name = plain.replace(" ", "_")
    return SAMPLER_ALIASES.get(plain, name if name in SAMPLERS else "")
