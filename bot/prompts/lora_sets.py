"""The LoRAs that a prompt names, with their weights. Pure."""

from collections.abc import Iterable

from bot.ports import LoraSet
from bot.ports.pool import TaskAddon
from bot.prompts.addon_names import fold_name
from bot.prompts.grammar import find_lora_tags


def lora_set(prompt: str, addons: Iterable[TaskAddon]) -> LoraSet:
    """The LoRAs of a prompt, of those that are installed; the weights of one that is named twice are added."""
    files = {fold_name(addon.name): addon.path for addon in addons if addon.kind == "lora"}
    wanted: dict[str, float] = {}
    for tag in find_lora_tags(prompt):
        path = files.get(fold_name(tag.name))
        if path is not None and tag.weight is not None:
            wanted[path] = wanted.get(path, 0.0) + tag.weight
    return tuple(sorted((path, weight) for path, weight in wanted.items() if weight))
