"""LoRAs that a prompt names: loaded beside the weights with peft, switched on and off between forward passes.

A set of LoRAs is part of a row's key: rows with the same set share a pass, and the set is changed between groups. With
none, the weights compute what they compute without peft, bit for bit.
"""

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bot.errors import InvalidOption
from bot.ports import Task
from bot.prompts.grammar import lora_tags, prompt_of

MOST_LOADED = 8
LoraSet = tuple[tuple[str, float], ...]
"""File and weight of each LoRA, in the order of the files; a part of keys."""
_FAMILIES = {768: "sd15", 1024: "sd21", 2048: "sdxl"}
"""By how wide the words are that the denoiser's cross attention reads."""


def loras_of(task: Task, index: int = 0) -> LoraSet:
    """What picture `index` of the task asks for; one named twice counts with the sum of its weights."""
    files = {one.name: one.path for one in task.additions if one.kind == "lora"}
    wanted: dict[str, float] = {}
    for tag in lora_tags(prompt_of(task.options, index)):
        path = files.get(tag.name.casefold())
        if path is not None and tag.weight is not None:
            wanted[path] = wanted.get(path, 0.0) + tag.weight
    return tuple(sorted((path, weight) for path, weight in wanted.items() if weight))


def family_of(pipeline: Any) -> str:
    """The base-model family of a pipeline, as `inference.checkpoints.identify` names it; "": unknown."""
    config = getattr(getattr(pipeline, "unet", None), "config", None)
    return _FAMILIES.get(getattr(config, "cross_attention_dim", 0) or 0, "") if config is not None else ""


class Adapters:
    """The LoRAs of one pipeline and of those that share its parts. All calls come from one thread."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._loaded: OrderedDict[tuple[str, int], str] = OrderedDict()
        """Adapter names by file and its time of change."""
        self._applied: LoraSet = ()
        self._count = 0

    def apply(self, loras: LoraSet) -> None:
        """Make these, and no others, a part of what the pipeline computes. Does nothing when they are already.

        Raises: InvalidOption: one does not fit.
        """
        if loras == self._applied:
            return
        names = [self._name_of(path) for path, _ in loras]
        if names:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters(names, [weight for _, weight in loras])
        else:
            self._pipeline.disable_lora()
        self._applied = loras
        self._forget(names)

    def unload(self) -> None:
        """Give all of them back."""
        if self._loaded:
            self._pipeline.unload_lora_weights()
        self._loaded.clear()
        self._applied = ()

    def _name_of(self, path: str) -> str:
        """The file's adapter, loaded if it is not yet. Raises: InvalidOption."""
        key = (path, _changed_at(path))
        if key not in self._loaded:
            self._count += 1
            self._loaded[key] = self._load(Path(path), f"lora_{self._count}")
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _load(self, path: Path, name: str) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there are several is what we want
                self._pipeline.load_lora_weights(
                    path.parent, weight_name=path.name, adapter_name=name, use_safetensors=True, local_files_only=True
                )
            if not any(name in adapters for adapters in self._pipeline.get_list_adapters().values()):
                raise ValueError("none of its weights belongs to this model")
        except Exception as error:  # what does not fit is told in many ways
            self._clean_up(name)
            raise InvalidOption("prompt", "addition_broken", value=path.stem) from error
        return name

    def _clean_up(self, name: str) -> None:
        """What a failed load left behind; the set applied before it is applied again with the next `apply`."""
        with suppress(Exception):
            self._pipeline.delete_adapters(name)
        if self._loaded:
            self._pipeline.disable_lora()
        self._applied = ()

    def _forget(self, used: Sequence[str]) -> None:
        """The least recently used of those that are not applied, beyond `MOST_LOADED`."""
        spare = [key for key, name in self._loaded.items() if name not in used]
        for key in spare[: max(0, len(self._loaded) - MOST_LOADED)]:
            self._pipeline.delete_adapters(self._loaded.pop(key))


def _changed_at(path: str) -> int:
    """Raises: InvalidOption: the file is gone."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError as error:
        raise InvalidOption("prompt", "addition_broken", value=Path(path).stem) from error
