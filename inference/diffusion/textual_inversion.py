"""Textual inversions: vectors that were learned for a word, put where a text encoder would look the word up.

Neither tokenizer nor encoder is changed: added tokens would match inside other words, and would be taken for the end of
the text where the pooled output is found by the largest id.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bot.errors import InvalidOption
from bot.ports import Task

Vectors = Mapping[str, Mapping[int, torch.Tensor]]
"""By word, then by width: (vectors, width). SDXL's inversions have one width for each encoder."""
MOST_VECTORS = 75


def inversions_of(task: Task) -> Mapping[str, str]:
    """Files by the word that calls them."""
    return {one.name: one.path for one in task.additions if one.kind == "inversion"}


def read_vectors(path: Path) -> Mapping[int, torch.Tensor]:
    """By width. A1111's `emb_params`, SDXL's `clip_l` and `clip_g`, or Diffusers' one tensor under any name.

    Raises: InvalidOption: it is no inversion.
    """
    try:
        tensors = [tensor for tensor in load_file(path).values() if 1 <= tensor.ndim <= 2]
    except Exception as error:  # it was looked at when it came here; since then anything may have happened to it
        raise InvalidOption("prompt", "addition_broken", value=path.stem) from error
    flat = [tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors]
    if not flat or any(len(tensor) > MOST_VECTORS for tensor in flat):
        raise InvalidOption("prompt", "addition_broken", value=path.stem)
    return {int(tensor.shape[-1]): tensor for tensor in flat}


def split(text: str, vectors: Vectors, width: int) -> Iterator[str | torch.Tensor]:
    """The text with each word that has vectors of this width replaced by them: (vectors, width)."""
    known = {word.casefold(): found[width] for word, found in vectors.items() if width in found}
    if not known:
        yield text
        return
    words = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
    for part in re.split(rf"(?<![\w-])({words})(?![\w-])", text, flags=re.IGNORECASE):
        if part:
            yield known.get(part.casefold(), part)


@contextmanager
def speaking(encoder: Any, places: Mapping[tuple[int, int], torch.Tensor]) -> Iterator[None]:
    """Within it, the encoder finds these vectors at (row, token) in place of what the ids there mean."""

    def put(_module: Any, _args: Any, found: torch.Tensor) -> torch.Tensor:
        spoken = found.clone()
        for place, vector in places.items():
            spoken[place] = vector.to(spoken)
        return spoken

    handle = encoder.get_input_embeddings().register_forward_hook(put) if places else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()
