"""InvokeAI: JSON since version 2, and before that the command that made the image."""

import re
from collections.abc import Mapping
from typing import Any

from inference.images.readers.novelai import without_prefix
from inference.images.readers.values import (
    GenerationMetadata,
    first_of,
    guidance_of,
    imagine_request,
    integer_of,
    parse_object,
    text_of,
)


def read_invokeai(texts: Mapping[str, str]) -> GenerationMetadata | None:
    """The chunk of any of its versions: `invokeai_metadata`, `sd-metadata` or `Dream`."""
    if data := parse_object(texts.get("invokeai_metadata")):
        return _read_invokeai_3(data)
    if data := parse_object(texts.get("sd-metadata")):
        return _read_invokeai_2(data)
    return _read_dream(texts.get("Dream", ""))


def _read_invokeai_3(data: Mapping[str, Any]) -> GenerationMetadata | None:
    if "positive_prompt" not in data and "steps" not in data:
        return None
    model = data.get("model")
    settings = {name: data.get(name) for name in ("negative_prompt", "steps", "seed", "width", "height", "strength")}
    settings["prompt"] = data.get("positive_prompt")
    settings["sampler"] = data.get("scheduler")
    settings["guidance_rescale"] = data.get("cfg_rescale_multiplier")
    settings["clip_skip"] = _counted_from_one(data.get("clip_skip"))
    settings["tiling"] = data.get("seamless_x") is True and data.get("seamless_y") is True
    settings["guidance_scale"] = guidance_of(data.get("cfg_scale"), data.get("guidance"))
    if data.get("generation_mode") == "txt2img":
        settings["strength"] = None
    settings["model"] = _model_name(model)
    loras = data.get("loras")
    settings["loras"] = [
        [_model_name(one.get("model") or one.get("lora")), one.get("weight")]
        for one in (loras if isinstance(loras, list) else ())
        if isinstance(one, dict)
    ]
    settings["left_out"] = {"VAE": _model_name(data.get("vae")), "Refiner": _model_name(data.get("refiner_model"))}
    return imagine_request("invokeai", settings)


def _model_name(model: object) -> Any:
    return first_of(model, ("name", "model_name")) if isinstance(model, dict) else model


def _counted_from_one(clip_skip: object) -> int | None:
    """InvokeAI counts the layers that are left out; A1111 also counts the last one."""
    skipped = integer_of(clip_skip, 0, 50)
    return None if skipped is None else skipped + 1


def _read_invokeai_2(data: Mapping[str, Any]) -> GenerationMetadata | None:
    image = data.get("image")
    if not isinstance(image, dict):
        return None
    parts = image.get("prompt")
    if isinstance(parts, list):
        parts = ", ".join(text_of(one.get("prompt")) for one in parts if isinstance(one, dict))
    prompt, negative = _split_brackets(text_of(parts))
    settings = {name: image.get(name) for name in ("steps", "seed", "width", "height", "strength")}
    settings |= {"prompt": prompt, "negative_prompt": negative, "model": data.get("model_weights")}
    settings["sampler"] = without_prefix(image.get("sampler"))
    settings["guidance_scale"] = image.get("cfg_scale")
    return imagine_request("invokeai", settings)


def _read_dream(command: str) -> GenerationMetadata | None:
    """`"a cat [dog]" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_euler_a`."""
    match = re.match(r'\s*"((?:\\.|[^\\"])*)"(.*)', command[:10_000], re.DOTALL)
    if match is None:
        return None
    flags = dict(re.findall(r"\s-(\w)\s?([^\s-]\S*)", match[2]))
    prompt, negative = _split_brackets(match[1].replace('\\"', '"'))
    settings: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative}
    names = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "guidance_scale", "f": "strength"}
    settings |= {option: flags.get(flag) for flag, option in names.items()}
    settings["sampler"] = without_prefix(flags.get("A"))
    return imagine_request("invokeai", settings)


def _split_brackets(text: str) -> tuple[str, str]:
    """The prompt, and what stands in brackets: the negative prompt."""
    negative = ", ".join(part.strip(" ,") for part in re.findall(r"\[([^\[\]]*)\]", text))
    return re.sub(r"\s{2,}", " ", re.sub(r"\[[^\[\]]*\]", "", text)).strip(" ,"), negative
