"""Encodes the prompts of tasks with a cache: equal prompts are encoded once for all users."""

import contextlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bot.ports import Task
from bot.prompts.grammar import plain_text, prompt_at
from inference.diffusion.clip_encoding import (
    PromptEmbeds,
    PromptRequest,
    encode_batch,
    encode_prompt,
    supports_prompt_weights,
)
from inference.diffusion.lora import LoraManager, LoraSet, requested_loras
from inference.diffusion.textual_inversion import load_vectors, requested_inversions
from inference.engine.tokenizer_notes import prompt_notes

_MB = 2**20


class PromptEncoder:
    """`clip_encoding.encode_prompt` with an LRU cache.

    Not thread-safe: all calls come from one thread. `limit_mb`: size of the cached tensors, MiB.
    """

    def __init__(self, pipeline: Any, limit_mb: float = 64, loras: LoraManager | None = None) -> None:
        self._pipeline = pipeline
        self._limit = int(limit_mb * _MB)
        self._loras = loras
        self._entries: OrderedDict[Any, PromptEmbeds] = OrderedDict()
        self._nbytes = 0
        self._vectors: dict[tuple[str, int], Mapping[int, torch.Tensor]] = {}

    def encode_prompt(
        self,
        prompt: str,
        negative_prompt: str,
        uses_guidance: bool,
        *,
        loras: LoraSet = (),
        inversions: Mapping[str, str] | None = None,
    ) -> PromptEmbeds:
        """Args:
            loras: also applied to the text encoders before they encode.
            inversions: files by trigger word.

        Raises: InvalidOption: a LoRA or an inversion does not fit.
        """
        files = tuple(sorted((word, path, Path(path).stat().st_mtime_ns) for word, path in (inversions or {}).items()))
        key = _cache_key(prompt, negative_prompt, uses_guidance, loras, files)
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        if self._loras is not None:
            self._loras.apply(loras)
        vectors = {word: self._load_vectors(path, modified_at) for word, path, modified_at in files}
        embeds = encode_prompt(self._pipeline, prompt, negative_prompt, uses_guidance=uses_guidance, vectors=vectors)
        self._store(key, embeds)
        return embeds

    def warm_up(self, requests: Sequence[PromptRequest]) -> None:
        """Encode several prompts without LoRAs and inversions in one batch, for the next calls."""
        wanted = {_cache_key(one.prompt, one.negative_prompt, one.uses_guidance): one for one in requests}
        missing = {key: request for key, request in wanted.items() if key not in self._entries}
        if len(missing) < 2:
            return
        if self._loras is not None:
            self._loras.apply(())
        for key, embeds in zip(missing, encode_batch(self._pipeline, list(missing.values())), strict=True):
            self._store(key, embeds)

    def clear(self) -> None:
        self._entries.clear()
        self._vectors.clear()
        self._nbytes = 0

    @property
    def nbytes(self) -> int:
        """Size of the cached embeddings."""
        return self._nbytes

    def _store(self, key: Any, embeds: PromptEmbeds) -> None:
        if embeds.nbytes > self._limit:
            return
        self._entries[key] = embeds
        self._nbytes += embeds.nbytes
        while self._nbytes > self._limit:
            _, oldest = self._entries.popitem(last=False)
            self._nbytes -= oldest.nbytes

    def _load_vectors(self, path: str, modified_at: int) -> Mapping[int, torch.Tensor]:
        if (path, modified_at) not in self._vectors:
            self._vectors[path, modified_at] = load_vectors(Path(path))
        return self._vectors[path, modified_at]


def _cache_key(
    prompt: str, negative_prompt: str, uses_guidance: bool, loras: LoraSet = (), files: tuple[Any, ...] = ()
) -> Any:
    """Everything the embeddings depend on."""
    return (prompt, negative_prompt if uses_guidance else None, loras, files)


class PromptConditioner:
    """Turns a task's prompts into arguments of a pipeline's call, for any text encoder."""

    def __init__(self, pipeline: Any, loras: LoraManager) -> None:
        self.loras = loras
        self._pipeline = pipeline
        self._encoder = PromptEncoder(pipeline, loras=loras) if supports_prompt_weights(pipeline) else None

    def conditioning_for(self, task: Task, index: int) -> dict[str, Any]:
        """For image `index`. Raises: InvalidOption: a LoRA or inversion of the prompt does not fit."""
        request = _prompt_request(task, index)
        if self._encoder is None:
            return {
                "prompt": plain_text(request.prompt),
                "negative_prompt": plain_text(request.negative_prompt) or None,
            }
        embeds = self._encoder.encode_prompt(
            request.prompt,
            request.negative_prompt,
            request.uses_guidance,
            loras=requested_loras(task, index),
            inversions=requested_inversions(task),
        )
        return dict(embeds.pipeline_arguments())

    def warm_up(self, images: Sequence[tuple[Task, int]]) -> None:
        """Encode the prompts of several images, tasks with indices, in one batch; errors come in `conditioning_for`."""
        if self._encoder is None or len(images) < 2:
            return
        plain = [
            (task, index)
            for task, index in images
            if not requested_loras(task, index) and not requested_inversions(task)
        ]
        with contextlib.suppress(Exception):
            self._encoder.warm_up([_prompt_request(task, index) for task, index in plain])

    def prompt_notes(self, task: Task, *, is_demo: bool) -> tuple[str, ...]:
        """Sentences for the user."""
        is_read_in_full = self._encoder is not None
        return prompt_notes(
            self._pipeline,
            prompt_at(task.options),
            is_demo=is_demo,
            is_read_in_full=is_read_in_full,
            trigger_words=tuple(requested_inversions(task)),
        )


def _prompt_request(task: Task, index: int) -> PromptRequest:
    return PromptRequest(
        prompt=prompt_at(task.options, index),
        negative_prompt=str(task.options.get("negative_prompt") or ""),
        uses_guidance=float(task.options.get("guidance_scale", 0)) > 1,
    )
