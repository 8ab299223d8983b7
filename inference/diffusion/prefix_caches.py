"""Prefix caches that are part of a model: the keys and values of what does not change from step to step.

Each image has a cache of its own, which its pipeline makes. In a shared pass the caches are joined row by row: what the
pass stores goes to the rows' caches, and what it reads comes from them.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bot.ports import Task
from inference.diffusion.batching import pad_tokens
from inference.diffusion.sequence import ImageSequence
from inference.memory.offload import offloader_of
from inference.memory.planner import free_device_mb

MAX_TASKS = {"Flux2KleinKVPipeline": 4, "QwenImage21Pipeline": 4}
"""Tasks in flight at the same time, by the pipeline's class."""
REFERENCE_MB = 2048
"""Device memory for the keys and values of a reference of a megapixel, MiB; a memory plan counts one."""


def max_tasks(pipeline: Any) -> int:
    """Tasks in flight at the same time for which there is memory, of pipelines whose images have such caches."""
    return min(MAX_TASKS.get(type(pipeline).__name__, sys.maxsize), max_references(pipeline))


def max_references(pipeline: Any) -> int:
    """References at the same time for whose keys and values there is memory; `sys.maxsize`: any number, or unknown."""
    offloader = offloader_of(pipeline)
    if type(pipeline).__name__ not in MAX_TASKS or offloader is None:
        return sys.maxsize
    free_mb = free_device_mb(str(offloader.device))
    spare_mb = free_mb - offloader.plan.step_mb - offloader.plan.decode_mb
    return max(1, 1 + spare_mb // REFERENCE_MB) if free_mb else sys.maxsize


def count_references(task: Task) -> int:
    """Whose keys and values each image of the task keeps; twice where guidance is a pass of its own."""
    is_guided = task.model.takes_guidance and float(task.options.get("guidance_scale", 1)) > 1
    return sum(image.role != "mask" for image in task.images) * (2 if is_guided else 1)


def select_startable(
    waiting: Sequence[ImageSequence], unfinished: Iterable[ImageSequence], most: int
) -> list[ImageSequence]:
    """Of the images that have not started, those that may: they and the unfinished ones keep at most `most` references,
    or the image is alone. The first image of every task comes before the second of any."""
    if most == sys.maxsize:
        return list(waiting)
    kept = sum(count_references(one.task) for one in unfinished if one not in waiting)
    startable: list[ImageSequence] = []
    is_full = False
    for sequence in sorted(waiting, key=lambda one: (one.index, one.arrival)):
        needed = count_references(sequence.task)
        is_full |= bool(kept and needed and kept + needed > most)  # smaller ones do not overtake a large one
        if not needed or not is_full:
            startable.append(sequence)
            kept += needed
    return startable


def empty_cache(arguments: Mapping[str, Any]) -> None:
    """Of an image that ends early: what failed it may refer to its calls until garbage is collected."""
    cache = arguments.get("kv_cache")
    for layers in vars(cache).values() if cache is not None else ():
        for layer in layers if isinstance(layers, list) else ():
            layer.__dict__.update(dict.fromkeys(layer.__dict__))


class StoredPrefixes:
    """Takes the place of a cache in a shared first step, and fills those of its rows. `rows`: of each cache."""

    def __init__(self, caches: Sequence[Any], rows: Sequence[int]) -> None:
        self._caches, self._rows = caches, list(rows)

    def get_layer(self, index: int) -> "_StoredLayer":
        return _StoredLayer([cache.get_layer(index) for cache in self._caches], self._rows)


@dataclass(frozen=True)
class _StoredLayer:
    caches: Sequence[Any]
    rows: list[int]

    def store(self, k: torch.Tensor, v: torch.Tensor) -> None:
        for cache, keys, values in zip(self.caches, k.split(self.rows), v.split(self.rows), strict=True):
            cache.store(keys.clone(), values.clone())


class JoinedPrefixes:
    """Takes the place of a cache in later steps: the rows' prefixes, padded to one length.

    `turns`: of each cache's keys, on the first axis.
    """

    def __init__(self, caches: Sequence[Any], length: int, turns: Sequence[torch.Tensor | None]) -> None:
        self._caches, self._length, self._turns = caches, length, turns

    def get_layer(self, index: int) -> "_JoinedLayer":
        return _JoinedLayer([cache.get_layer(index) for cache in self._caches], self._length, self._turns)


@dataclass(frozen=True)
class _JoinedLayer:
    caches: Sequence[Any]
    length: int
    turns: Sequence[torch.Tensor | None]

    def get(self) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [cache.get() for cache in self.caches]
        keys = [turn_keys(k, turn) for (k, _), turn in zip(pairs, self.turns, strict=True)]
        return (
            torch.cat([pad_tokens(one, self.length) for one in keys]),
            torch.cat([pad_tokens(v, self.length) for _, v in pairs]),
        )


def turn_keys(keys: torch.Tensor, turn: torch.Tensor | None) -> torch.Tensor:
    """Keys, (rows, tokens, heads, channels), further along the axis of their first channels."""
    if turn is None:
        return keys
    width = 2 * len(turn)
    pairs = torch.view_as_complex(keys[..., :width].float().unflatten(-1, (-1, 2)).contiguous())
    turned = torch.view_as_real(pairs * turn.to(keys.device)).flatten(-2)
    return torch.cat([turned.to(keys.dtype), keys[..., width:]], dim=-1)


class JoinedReferences:
    """FLUX.2 klein's caches of reference images as one, for a shared pass."""

    def __init__(self, caches: Sequence[Any]) -> None:
        self._caches = caches
        self.num_ref_tokens = int(caches[0].num_ref_tokens)

    def get_double(self, index: int) -> "_JoinedLayer":
        return self._join([cache.get_double(index) for cache in self._caches])

    def get_single(self, index: int) -> "_JoinedLayer":
        return self._join([cache.get_single(index) for cache in self._caches])

    def _join(self, layers: Sequence[Any]) -> _JoinedLayer:
        return _JoinedLayer(layers, self.num_ref_tokens, [None] * len(layers))


def split_references(cache: Any, rows: Sequence[int]) -> list[Any]:
    """FLUX.2 klein's cache of a shared pass as one for each row's pipeline, which clears its own when it ends."""
    doubles, singles = len(cache.double_block_caches), len(cache.single_block_caches)
    own = [type(cache)(doubles, singles) for _ in rows]
    for one in own:
        one.num_ref_tokens = cache.num_ref_tokens
    layers = [(cache.get_double(n), [one.get_double(n) for one in own]) for n in range(doubles)]
    layers += [(cache.get_single(n), [one.get_single(n) for one in own]) for n in range(singles)]
    for shared, parts in layers:
        k, v = shared.get()
        for part, keys, values in zip(parts, k.split(list(rows)), v.split(list(rows)), strict=True):
            part.store(keys.clone(), values.clone())
    return own
