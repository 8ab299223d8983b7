"""Fields that both APIs for texts have, as options of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.openai.fields import Fields
from adapters.openai.model_names import READING, chosen_model, find_model
from bot.commands.generation_options import GENERATION
from bot.errors import InvalidOption
from bot.models import IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec
from bot.options import OptionSpec
from bot.usecases import Request

MAX_STOPS = 4
MAX_STOP_LENGTH = 200
"""Characters of each: streams compare their beginnings with the end of the answer."""
_OWN = {spec.name: spec for spec in GENERATION}
_MOST_TOKENS = int(_OWN["max_new_tokens"].maximum or 0)
_LEAST_TOP_P = _OWN["top_p"].minimum or 0
_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_TEMPERATURE = OptionSpec(name="temperature", kind=float, help="", minimum=0, maximum=2)
_TOP_P = OptionSpec(name="top_p", kind=float, help="", minimum=0, maximum=1)
_ONE = OptionSpec(name="n", kind=int, help="", minimum=1, maximum=1)
_STREAM = OptionSpec(name="stream", kind=bool, help="")
_EXTRA = tuple(name for name in _OWN if name not in {"model", "temperature", "top_p", "num_return_sequences"})
"""Options of ours that may be sent beside OpenAI's fields."""


@dataclass(frozen=True, kw_only=True)
class TextOrder:
    """`stop`: texts that end the answer before them."""

    options: dict[str, Any]
    model: ModelSpec | None
    stop: tuple[str, ...]
    is_stream: bool


@dataclass(frozen=True, kw_only=True)
class AskedText:
    """What remains of a request for a text once its images are stored: its body may be large, and the job may wait
    long."""

    request: Request
    order: TextOrder
    headers: Mapping[str, str]
    has_usage: bool = False


def read_text_order(fields: Fields, models: ModelRegistry) -> TextOrder:
    """Raises: InvalidOption, ModelNotFound."""
    name = find_model(models, fields.get("model"))
    model = chosen_model(models, name, (VISUAL_QUESTION_ANSWERING, IMAGE_TO_TEXT))
    if name is not None and model is not None and not READING & set(model.tasks):
        able = [spec.name for spec in models if READING & set(spec.tasks)]
        raise InvalidOption("model", "choice", value=name, allowed=", ".join(able))
    options: dict[str, Any] = {} if name is None else {"model": name}
    known = () if model is None else model.capabilities.get("options", (_TEMPERATURE.name, _TOP_P.name))
    for spec in (_TEMPERATURE, _TOP_P):
        value = fields.read(spec)
        if value is not None and spec.name not in known:
            fields.ignore(spec.name)
        elif value is not None:
            options[spec.name] = max(value, _LEAST_TOP_P) if spec is _TOP_P else value
    fields.read(_ONE)
    limits = [limit for name in _LIMITS if (limit := fields.read(_limit_spec(name))) is not None]
    if limits:
        options["max_new_tokens"] = min(*limits, _MOST_TOKENS)
    options |= fields.take(_EXTRA)
    return TextOrder(options=options, model=model, stop=_read_stop(fields), is_stream=bool(fields.read(_STREAM)))


def _limit_spec(name: str) -> OptionSpec:
    """A limit above ours is no mistake: no answer is that long."""
    return OptionSpec(name=name, kind=int, help="", minimum=1)


def _read_stop(fields: Fields) -> tuple[str, ...]:
    """Raises: InvalidOption."""
    given = fields.get("stop")
    texts = [given] if isinstance(given, str) else given or []
    if not isinstance(texts, list) or len(texts) > MAX_STOPS or not all(isinstance(text, str) for text in texts):
        raise InvalidOption("stop", "body", allowed=f"it must be a text, or a list of at most {MAX_STOPS} texts")
    longest = max(map(len, texts), default=0)
    if longest > MAX_STOP_LENGTH:
        raise InvalidOption("stop", "long", value=longest, allowed=str(MAX_STOP_LENGTH))
    return tuple(text for text in texts if text)
