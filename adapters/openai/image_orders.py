"""What is asked for in a request for images: options of the command, and how the answer is to look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.openai.fields import Fields
from adapters.openai.model_names import chosen_model, find_model
from bot.commands import Imagine
from bot.errors import InvalidOption
from bot.models import ModelRegistry, ModelSpec
from bot.options import MAX_PROMPT, OptionSpec
from bot.prompts.combinations import expand_combinations

MAX_IMAGES = 4
PARAMS: Mapping[str, str] = {"count": "n", "images": "image", "init": "image", "aspect": "size", "quote": "prompt"}
"""OpenAI's names of our options."""
_PROMPT = OptionSpec(name="prompt", kind=str, help="", maximum=MAX_PROMPT, is_required=True)
_COUNT = OptionSpec(name="n", kind=int, help="", minimum=1, maximum=MAX_IMAGES)
_SIZE = OptionSpec(name="size", kind=str, help="", maximum=20)
_FORM = OptionSpec(name="response_format", kind=str, help="", choices=("b64_json", "url"))
_FILE_FORMAT = OptionSpec(name="output_format", kind=str, help="", choices=("png", "jpeg", "webp"))
_COMPRESSION = OptionSpec(name="output_compression", kind=int, help="", minimum=0, maximum=100)
_BACKGROUND = OptionSpec(name="background", kind=str, help="", choices=("auto", "opaque"))
_STREAM = OptionSpec(name="stream", kind=bool, help="")
_PARTIAL = OptionSpec(name="partial_images", kind=int, help="", minimum=0, maximum=3)
_STEP_FACTORS: Mapping[str, float] = {
    "auto": 1.0,
    "standard": 1.0,
    "medium": 1.0,
    "low": 0.5,
    "high": 1.5,
    "hd": 1.5,
    "xhigh": 2.0,
    "max": 2.0,
}
"""Steps by quality, relative to the model's own number."""
_QUALITY = OptionSpec(name="quality", kind=str, help="", choices=tuple(_STEP_FACTORS))
EXTRA = tuple(
    spec.name for spec in Imagine.specs if spec.name not in {"prompt", "count", "size", "best", "style", "model"}
)
"""Options of ours that may be sent beside OpenAI's fields."""


@dataclass(frozen=True, kw_only=True)
class ImageOutput:
    """`file_quality`: 1 to 100; 0: the format's default. `quality`: as it was asked for."""

    file_format: str = "png"
    file_quality: int = 0
    is_url: bool = False
    quality: str = "auto"


@dataclass(frozen=True, kw_only=True)
class ImageOrder:
    """`is_batch`: its prompt has combinations, of which each becomes one image. `partial_images` None: no stream.
    `named`: the model's name as it was sent."""

    options: Mapping[str, Any]
    model: ModelSpec | None
    output: ImageOutput
    named: str = ""
    is_batch: bool = False
    partial_images: int | None = None


def read_order(
    fields: Fields, models: ModelRegistry, styles: tuple[str, ...], tasks: tuple[str, ...], *, has_prompt: bool = True
) -> ImageOrder:
    """`tasks`: what the model must be able to do, one of them. Raises: InvalidOption, ModelNotFound."""
    named = fields.get("model")
    name = find_model(models, named)
    model = chosen_model(models, name, tasks)
    prompt = fields.require(_PROMPT) if has_prompt else None
    count = fields.read(_COUNT) or 1
    is_batch = prompt is not None and _is_batch(prompt, count)
    options: dict[str, Any] = {"prompt": prompt} if prompt is not None else {}
    options |= {"count": 1 if is_batch else count}
    if name is not None:
        options["model"] = name
    if (size := fields.read(_SIZE)) and size.casefold() != "auto":
        options["size"] = size
    if (style := fields.get("style")) in styles:
        options["style"] = style
    elif style is not None:
        fields.ignore("style")
    output = _read_output(fields)
    if (steps := _steps_of(output.quality, model)) is not None:
        options["steps"] = steps
    options |= fields.take(EXTRA)
    return ImageOrder(
        options=options,
        model=model,
        output=output,
        named=named if isinstance(named, str) else "",
        is_batch=is_batch,
        partial_images=(fields.read(_PARTIAL) or 0) if fields.read(_STREAM) else None,
    )


def _is_batch(prompt: str, count: int) -> bool:
    """Whether the prompt has `{a|b}`: `n` must be the number of images that it makes. Raises: InvalidOption."""
    combinations = len(expand_combinations(prompt))
    if combinations > 1 and count != combinations:
        raise InvalidOption("n", "n_combinations", value=combinations, allowed=str(MAX_IMAGES))
    return combinations > 1


def _read_output(fields: Fields) -> ImageOutput:
    fields.read(_BACKGROUND)
    file_format = fields.read(_FILE_FORMAT) or "png"
    compression = fields.read(_COMPRESSION)
    if compression is not None and file_format == "png":
        fields.ignore(_COMPRESSION.name)
    is_lossy = compression is not None and file_format != "png"
    return ImageOutput(
        file_format=file_format,
        file_quality=max(1, compression) if is_lossy else 0,
        is_url=fields.read(_FORM) == "url",
        quality=fields.read(_QUALITY) or "auto",
    )


def _steps_of(quality: str, model: ModelSpec | None) -> int | None:
    """None: the model's own number."""
    factor = _STEP_FACTORS[quality]
    if model is None or factor == 1:
        return None
    return min(model.max_steps, max(1, round(factor * model.steps)))
