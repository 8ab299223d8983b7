"""LoRAs named in prompts: loaded with peft and switched between forward passes.

The set of LoRAs is part of a sequence's batch key: sequences with the same set share a pass, and the set changes
between passes. Without any, the output equals that without peft, bit for bit.
"""

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bot.errors import InvalidOption
from bot.model_install.model_headers import read_tensor_shapes
from bot.ports import LoraSet as LoraSet
from bot.ports import Task
from bot.prompts.grammar import prompt_at
from bot.prompts.lora_sets import lora_set
from inference.checkpoints.identify import PIPELINES
from inference.checkpoints.lora_layout import FAMILY_BY_TEXT_WIDTH, parse_weight_name
from inference.diffusion.lora_weights import UnsupportedLora, load_factors
from inference.diffusion.tiling import renew_tiling

MAX_LOADED = 8
DatedLoras = tuple[tuple[str, float, int], ...]
"""A set's files with their weights and modification times."""


def requested_loras(task: Task, index: int = 0) -> LoraSet:
    """The LoRAs of image `index` of the task; the weights of one that is named twice are added."""
    return lora_set(prompt_at(task.options, index), task.addons)


def base_model_family(pipeline: Any) -> str:
    """The pipeline's base-model family, in the names of `inference.checkpoints.identify`; "": unknown."""
    unet = getattr(pipeline, "unet", None)
    if unet is None:
        return PIPELINES[type(pipeline).__name__][0] if type(pipeline).__name__ in PIPELINES else ""
    return FAMILY_BY_TEXT_WIDTH.get(getattr(unet.config, "cross_attention_dim", 0) or 0, "")


def load_lora(pipeline: Any, path: Path, name: str) -> None:
    """Load a LoRA's file as the adapter `name`. Raises: many types, if it does not fit; it may leave remains."""
    if getattr(pipeline, "unet", None) is not None:
        pipeline.load_lora_weights(load_factors(path, pipeline), adapter_name=name)
        return
    pipeline.load_lora_weights(
        path.parent, weight_name=path.name, adapter_name=name, use_safetensors=True, local_files_only=True
    )
    in_file = sum(
        math.prod(shape) for key, shape in read_tensor_shapes(path).items() if parse_weight_name(key).parameter == "up"
    )
    parameters = pipeline.transformer.named_parameters()
    loaded = sum(parameter.numel() for key, parameter in parameters if f".lora_B.{name}." in key)
    if loaded < in_file:  # Diffusers only warns of weights for layers that the model lacks
        raise UnsupportedLora("it has weights that this model lacks")


class LoraManager:
    """The LoRAs of one pipeline and of those that share its components. Not thread-safe."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self.before_use: Callable[[], None] = lambda: None
        """Called before LoRAs are activated: loads the denoiser's weights if they were released."""
        self._loaded: OrderedDict[tuple[str, int], str] = OrderedDict()
        """Adapter names by file and its modification time, least recently used first."""
        self._active: DatedLoras = ()
        self._load_count = 0

    def apply(self, loras: LoraSet) -> None:
        """Activate exactly these LoRAs; does nothing if they are active already.

        Raises: InvalidOption: one does not fit.
        """
        dated = self.date(loras)
        if dated == self._active:
            return
        if loras:
            self.before_use()
        names = [self._adapter_name(path, modified_at) for path, _, modified_at in dated]
        if names:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters(names, [weight for _, weight in loras])
        else:
            self._pipeline.disable_lora()
        self._active = dated
        self._evict_unused(names)

    def date(self, loras: LoraSet) -> DatedLoras:
        """What these files are now: a file that is replaced is another LoRA. One that was deleted is what was loaded of
        it, for the images in flight.

        Raises: InvalidOption: a file does not exist.
        """
        return tuple((path, weight, self._modified_at(path)) for path, weight in loras)

    def _modified_at(self, path: str) -> int:
        try:
            return Path(path).stat().st_mtime_ns
        except OSError as error:
            loaded = [modified_at for known, modified_at in self._loaded if known == path]
            if not loaded:
                raise InvalidOption("prompt", "addition_broken", value=Path(path).stem) from error
            return loaded[-1]

    def unload_all(self) -> None:
        """Unload all LoRAs."""
        if self._loaded:
            self._pipeline.unload_lora_weights()
        self._loaded.clear()
        self._active = ()

    def _adapter_name(self, path: str, modified_at: int) -> str:
        """The file's adapter, loaded if necessary. Raises: InvalidOption."""
        key = (path, modified_at)
        if key not in self._loaded:
            self._load_count += 1
            self._loaded[key] = self._load_adapter(Path(path), f"lora_{self._load_count}")
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _load_adapter(self, path: Path, name: str) -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # several adapters are intended
                load_lora(self._pipeline, path, name)
            if not any(name in adapters for adapters in self._pipeline.get_list_adapters().values()):
                raise ValueError("none of its weights belongs to this model")
            if getattr(self._pipeline, "unet", None) is not None:
                renew_tiling(self._pipeline.unet)
        except Exception as error:  # the libraries raise many types for a LoRA that does not fit
            self._discard_failed_load(name)
            raise InvalidOption("prompt", "addition_broken", value=path.stem) from error
        return name

    def _discard_failed_load(self, name: str) -> None:
        """Remove the remains of a failed load; the next `apply` activates its LoRAs again."""
        with suppress(Exception):
            self._pipeline.delete_adapters(name)
        if self._loaded:
            self._pipeline.disable_lora()
        self._active = ()

    def _evict_unused(self, used: Sequence[str]) -> None:
        """Unload the least recently used inactive LoRAs beyond `MAX_LOADED`."""
        unused = [key for key, name in self._loaded.items() if name not in used]
        for key in unused[: max(0, len(self._loaded) - MAX_LOADED)]:
            self._pipeline.delete_adapters(self._loaded.pop(key))
