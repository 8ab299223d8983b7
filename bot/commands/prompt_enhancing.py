"""`enhance`: which model makes prompts richer, and how many texts that takes. Pure.

A vision-language model that chats writes them.
"""

from collections.abc import Mapping
from typing import Any

from bot.commands.ask import chats
from bot.errors import InvalidOption
from bot.models import VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec

UNENHANCED = "unenhanced"
"""The option of a task that keeps its `prompt` and `prompts` as they were."""
BEFORE_PLUGINS = "before_plugins"
"""The same for its texts before plugins changed them, which is done first."""
MAX_ENHANCED_TOKENS = 200


def enhancing_model(models: ModelRegistry) -> ModelSpec | None:
    """None: no installed model can."""
    default = models.default_for(VISUAL_QUESTION_ANSWERING)
    return next((one for one in [default, *models.installed()] if one is not None and chats(one)), None)


def require_enhancer(models: ModelRegistry) -> ModelSpec:
    """Raises: InvalidOption."""
    model = enhancing_model(models)
    if model is not None:
        return model
    presets = sorted((one for one in models.presets if chats(one)), key=lambda one: one.memory_mb)
    addable = presets[0].name if presets else ""
    raise InvalidOption("enhance", "no_enhancer_but" if addable else "no_enhancer", nearest=addable)


def count_prompts(options: Mapping[str, Any]) -> int:
    """How many different prompts a job's images have."""
    return len(set(options.get("prompts") or [""]))
