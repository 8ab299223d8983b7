"""Names of models: ours, and those of OpenAI that programs have built in."""

import re
from collections.abc import Iterable
from typing import Any

from adapters.openai.openai_errors import ModelNotFound
from bot.models import (
    IMAGE_TASKS,
    IMAGE_TO_TEXT,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelRegistry,
    ModelSpec,
)
from bot.options import clean_excerpt

DRAWING = IMAGE_TASKS
READING = frozenset({IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING})
EMBEDDING = frozenset({ZERO_SHOT_IMAGE_CLASSIFICATION})
_LISTED = DRAWING | READING | EMBEDDING
_OPENAI = re.compile(r"(dall-e|gpt|chatgpt|text-embedding|o[1-9])(-.*)?|gpt.*", re.IGNORECASE)
"""OpenAI's own names mean the default model, unless a model here has that name."""
_CREATED = 1_700_000_000
"""Clients sort by it; a model here has no such time."""
_MAX_NAME = 60


def find_model(models: ModelRegistry, name: object) -> str | None:
    """The name of the model that is asked for; None: the default. Raises: ModelNotFound."""
    text = name if isinstance(name, str) else ""
    if models.get(text) is not None:
        return text
    if name is None or (isinstance(name, str) and (not name or _OPENAI.fullmatch(name))):
        return None
    shown = clean_excerpt(text or str(name), _MAX_NAME)
    raise ModelNotFound(shown, ", ".join(spec.name for spec in listed(models)))


def chosen_model(models: ModelRegistry, name: str | None, tasks: Iterable[str]) -> ModelSpec | None:
    """The model of this name, else the default for the first of the tasks that has one."""
    if name is not None:
        return models.get(name)
    return next((spec for task in tasks if (spec := models.default_for(task)) is not None), None)


def listed(models: ModelRegistry) -> list[ModelSpec]:
    """Models that an endpoint of this API can use."""
    return [spec for spec in models if _LISTED & set(spec.tasks)]


def model_json(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "easel"}
