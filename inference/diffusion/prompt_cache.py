"""What the prompts of tasks say to a pipeline, remembered: the same words are read once, whoever brings them."""

import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bot.ports import Task
from bot.prompts.grammar import prompt_of, words_of
from inference.diffusion.clip_encoding import Conditioning, Wish, encode, encode_all, reads_weights
from inference.diffusion.lora import Adapters, LoraSet, loras_of
from inference.diffusion.textual_inversion import inversions_of, read_vectors
from inference.engine.tokenizer_notes import prompt_notes

_MB = 2**20


class PromptEncoder:
    """`encode` with a memory: whoever asks for the same words again gets the same tensors.

    All calls come from one thread. `limit_mb`: of what is remembered, MiB.
    """

    def __init__(self, pipeline: Any, limit_mb: float = 64, adapters: Adapters | None = None) -> None:
        self._pipeline = pipeline
        self._limit = int(limit_mb * _MB)
        self._adapters = adapters
        self._kept: OrderedDict[Any, Conditioning] = OrderedDict()
        self._size = 0
        self._vectors: dict[tuple[str, int], Mapping[int, torch.Tensor]] = {}

    def conditioning(
        self,
        prompt: str,
        negative: str,
        wants_negative: bool,
        *,
        loras: LoraSet = (),
        inversions: Mapping[str, str] | None = None,
    ) -> Conditioning:
        """Args:
            loras: applied to the text encoders, too, before they read.
            inversions: files by the word that calls them.

        Raises: InvalidOption: a LoRA or an inversion does not fit.
        """
        files = tuple(sorted((word, path, Path(path).stat().st_mtime_ns) for word, path in (inversions or {}).items()))
        key = _key(prompt, negative, wants_negative, loras, files)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._adapters is not None:
            self._adapters.apply(loras)
        vectors = {word: self._read(path, changed_at) for word, path, changed_at in files}
        made = encode(self._pipeline, prompt, negative, wants_negative=wants_negative, vectors=vectors)
        self._keep(key, made)
        return made

    def prepare(self, wishes: Sequence[Wish]) -> None:
        """Read at once what several people are about to ask for; for those without LoRAs and inversions."""
        asked = {_key(one.prompt, one.negative, one.wants_negative): one for one in wishes}
        missing = {key: one for key, one in asked.items() if key not in self._kept}
        if len(missing) < 2:
            return
        if self._adapters is not None:
            self._adapters.apply(())
        for key, made in zip(missing, encode_all(self._pipeline, list(missing.values())), strict=True):
            self._keep(key, made)

    def clear(self) -> None:
        self._kept.clear()
        self._vectors.clear()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of what is remembered."""
        return self._size

    def _keep(self, key: Any, made: Conditioning) -> None:
        if made.size > self._limit:
            return
        self._kept[key] = made
        self._size += made.size
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size

    def _read(self, path: str, changed_at: int) -> Mapping[int, torch.Tensor]:
        if (path, changed_at) not in self._vectors:
            self._vectors[path, changed_at] = read_vectors(Path(path))
        return self._vectors[path, changed_at]


def _key(prompt: str, negative: str, wants_negative: bool, loras: LoraSet = (), files: tuple[Any, ...] = ()) -> Any:
    """What the answer depends on."""
    return (prompt, negative if wants_negative else None, loras, files)


class Speaker:
    """What a task's prompts say to a pipeline, as arguments of its call; whatever text encoder it has."""

    def __init__(self, pipeline: Any, adapters: Adapters) -> None:
        self.adapters = adapters
        self._pipeline = pipeline
        self._encoder = PromptEncoder(pipeline, adapters=adapters) if reads_weights(pipeline) else None

    def say(self, task: Task, index: int) -> dict[str, Any]:
        """For picture `index`. Raises: InvalidOption: what a prompt names does not fit."""
        wish = _wish(task, index)
        if self._encoder is None:
            return {"prompt": words_of(wish.prompt), "negative_prompt": words_of(wish.negative) or None}
        said = self._encoder.conditioning(
            wish.prompt,
            wish.negative,
            wish.wants_negative,
            loras=loras_of(task, index),
            inversions=inversions_of(task),
        )
        return dict(said.arguments())

    def prepare(self, pictures: Sequence[tuple[Task, int]]) -> None:
        """Several pictures, tasks with their indices, will be said next; what goes wrong will be told then."""
        if self._encoder is None or len(pictures) < 2:
            return
        plain = [(task, index) for task, index in pictures if not loras_of(task, index) and not inversions_of(task)]
        with contextlib.suppress(Exception):
            self._encoder.prepare([_wish(task, index) for task, index in plain])

    def notes(self, task: Task, *, is_demo: bool) -> tuple[str, ...]:
        """Sentences for the person."""
        is_read_whole = self._encoder is not None
        return prompt_notes(self._pipeline, prompt_of(task.options), is_demo=is_demo, is_read_whole=is_read_whole)


def _wish(task: Task, index: int) -> Wish:
    return Wish(
        prompt=prompt_of(task.options, index),
        negative=str(task.options.get("negative_prompt") or ""),
        wants_negative=float(task.options.get("guidance_scale", 0)) > 1,
    )
