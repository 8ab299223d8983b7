"""AUTOMATIC1111's text and that of its forks and of Civitai: the prompt, the negative prompt, then a line of settings.

More lines may follow: templates of extensions, captions of other tools, the rest of a value with a line break.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from bot.samplers import automatic_schedule, read_sampler
from inference.images.readers.values import (
    MAX_TEXT,
    GenerationMetadata,
    control_of,
    guidance_of,
    imagine_request,
    number_of,
    parse_json,
)

_MAX_SETTINGS = 20_000
"""Characters. Civitai lists every model and LoRA among the settings."""
_MAX_PAIRS = 200
_NAME = re.compile(r"[\s,]*(\w[\w \-/]{0,40}):[ \t]*")
_QUOTED = re.compile(r'"(?:\\.|[^\\"])*"', re.DOTALL)
_PLAIN = re.compile(r"[^,\n]*")
_END_OF_PAIR = re.compile(r"[^,\n]*(?:[,\n]|$)")
_NEGATIVE = re.compile(r"^Negative prompt:[ \t]*", re.MULTILINE)
_STEPS = re.compile(r"^[ \t]*Steps: ?\d", re.MULTILINE)
_OTHER_START = re.compile(r"^[ \t]*(?:Sampler|Schedule type|CFG scale|Seed|Size|Model|Steps): ?\S", re.MULTILINE)
_USUAL_NAMES = frozenset(("Steps", "Sampler", "CFG scale", "Seed", "Size", "Model"))
_RESCALES = ("CFG rescale", "CFG Rescale", "CFG Rescale phi", "Guidance rescale")
"""SD.Next's name, and those of extensions of A1111."""
_NOT_HERE = ("Refiner", "VAE", "ADetailer model", "Face restoration", "Hypernet")
"""Settings with an effect on the image that nothing here has."""
_CONTROL = re.compile(r"ControlNet \d{1,2}")
_DECODER = json.JSONDecoder()
_SEVERAL = 3
"""Fewer of the usual names do not make a line of settings, unless no other line begins with `Steps`."""


def read_a1111(text: str) -> GenerationMetadata | None:
    if not text or len(text) > MAX_TEXT:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = _find_settings(text)
    if found is None:
        return None
    start, settings = found
    prompt, negative = _split_prompts(text[:start])
    resources = settings.get("Civitai resources")
    hires = number_of(settings.get("Hires upscale"), 1.01, 16)
    is_second_pass = any(name.startswith("Hires ") for name in settings)  # whose strength is not that of an input image
    cfg = settings.get("CFG scale") or settings.get("Guidance Scale")
    sampler = settings.get("Sampler")
    metadata = imagine_request(
        "a1111",
        {
            "prompt": prompt,
            "negative_prompt": negative,
            "steps": settings.get("Steps"),
            "sampler": sampler,
            "schedule": _schedule_of(settings.get("Schedule type"), sampler),
            "guidance_scale": guidance_of(cfg, settings.get("Distilled CFG Scale")),
            "seed": settings.get("Seed"),
            "size": settings.get("Size"),
            "strength": None if is_second_pass and not hires else settings.get("Denoising strength"),
            "model": settings.get("Model") or _checkpoint_of(resources),
            "hires": hires,
            "variation_seed": settings.get("Variation seed"),
            "variation_strength": settings.get("Variation seed strength"),
            "guidance_rescale": next((settings[name] for name in _RESCALES if name in settings), None),
            "clip_skip": settings.get("Clip skip"),
            "tiling": settings.get("Tiling"),
            "images": _controls_of(settings),
            "left_out": {name: settings[name] for name in _NOT_HERE if name in settings},
        },
    )
    has_values = metadata["options"].keys() - {"prompt", "negative_prompt"}
    return metadata if has_values or _has_several(settings) else None


def _find_settings(text: str) -> tuple[int, dict[str, Any]] | None:
    """Where the settings start, and their values: of the first line that has several, else of the last.

    Without `Steps` at its start, it is a line that has several of the usual names.
    """
    found = None
    for line in list(_STEPS.finditer(text))[:20]:
        found = line.start(), _parse_settings(text[line.start() :])
        first_line, _, _ = text[line.start() :].partition("\n")
        if _has_several(_parse_settings(first_line)):
            return found
    if found is not None:
        return found
    starts = [line.start() for line in _OTHER_START.finditer(text)][:20]
    read = ((start, _parse_settings(text[start:])) for start in starts)
    return next(((start, settings) for start, settings in read if _has_several(settings)), None)


def _has_several(settings: dict[str, Any]) -> bool:
    return len(_USUAL_NAMES & settings.keys()) >= _SEVERAL


def _split_prompts(body: str) -> tuple[str, str]:
    negative = _NEGATIVE.search(body)
    return (body[: negative.start()], body[negative.end() :]) if negative else (body, "")


def _parse_settings(text: str) -> dict[str, Any]:
    """Each name with its first value: text, or the list or object of a value that is JSON."""
    text = text[:_MAX_SETTINGS]
    settings: dict[str, Any] = {}
    at = 0
    for _ in range(_MAX_PAIRS):
        name = _NAME.match(text, at)
        if name is None:
            rest = _END_OF_PAIR.match(text, at)
            if rest is None or rest.end() == at:
                break
            at = rest.end()
            continue
        value, at = _parse_value(text, name.end())
        settings.setdefault(name[1].strip(), value)
    return settings


def _parse_value(text: str, at: int) -> tuple[Any, int]:
    """The value at this position, and where it ends."""
    quoted = _QUOTED.match(text, at)
    if quoted is not None:
        parsed = parse_json(quoted[0])
        return parsed if isinstance(parsed, str) else quoted[0][1:-1], quoted.end()
    if text[at : at + 1] in ("[", "{"):
        try:
            return _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            pass
    plain = _PLAIN.match(text, at)
    assert plain is not None  # it matches the empty text
    return plain[0].strip(), plain.end()


def _schedule_of(name: object, sampler: object) -> object:
    """A1111's "Automatic" is a schedule of the sampler's own."""
    if isinstance(name, str) and name.casefold() == "automatic" and isinstance(sampler, str):
        return automatic_schedule(read_sampler(sampler)[0])
    return name


def _controls_of(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of sd-webui-controlnet: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1, ..."."""
    images = []
    for name, value in settings.items():
        if not _CONTROL.fullmatch(name) or not isinstance(value, str):
            continue
        fields = {
            key.strip().casefold(): part.strip() for key, _, part in (one.partition(":") for one in value.split(","))
        }
        images.append(
            {
                **control_of(f"{fields.get('module', '')} {fields.get('model', '')}"),
                "weight": fields.get("weight"),
                "start": fields.get("guidance start"),
                "end": fields.get("guidance end"),
            }
        )
    return images


def _checkpoint_of(resources: object) -> str:
    """The name of the model among Civitai's resources."""
    for one in resources if isinstance(resources, list) else ():
        if isinstance(one, dict) and str(one.get("type", "")).casefold() == "checkpoint":
            return str(one.get("modelName") or "")
    return ""
