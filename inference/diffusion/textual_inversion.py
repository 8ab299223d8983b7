"""Textual inversions: learned vectors that replace the token embeddings of a trigger word.

Tokenizer and encoder stay unchanged: added tokens would match inside other words, and encoders that find the pooled
output at the largest id would mistake them for the end token.
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
from inference.checkpoints.identify import inversion_tensors

InversionVectors = Mapping[str, Mapping[int, torch.Tensor]]
"""By trigger word, then by width: (vectors, width). SDXL's inversions have one width per encoder."""
MAX_VECTORS = 75


def requested_inversions(task: Task) -> Mapping[str, str]:
    """Files by trigger word."""
    return {one.name: one.path for one in task.addons if one.kind == "inversion"}


def load_vectors(path: Path) -> Mapping[int, torch.Tensor]:
    """By width. A1111's `emb_params`, SDXL's `clip_l` and `clip_g`, or Diffusers' single tensor under any name.

    Raises: InvalidOption: not a textual inversion.
    """
    try:
        stored = load_file(path)
        tensors = [stored[name] for name in inversion_tensors(stored) if 1 <= stored[name].ndim <= 2]
    except Exception as error:  # it was checked when it was added, but the file may have changed since
        raise InvalidOption("prompt", "addition_broken", value=path.stem) from error
    flat = [tensor.reshape(-1, tensor.shape[-1]) for tensor in tensors]
    if not flat or any(len(tensor) > MAX_VECTORS for tensor in flat):
        raise InvalidOption("prompt", "addition_broken", value=path.stem)
    return {int(tensor.shape[-1]): tensor for tensor in flat}


def split_at_trigger_words(text: str, vectors: InversionVectors, width: int) -> Iterator[str | torch.Tensor]:
    """The text with each trigger word replaced by its vectors of this width, (vectors, width), if it has any.

    ComfyUI's `embedding:` before the word is no text, nor is a file's ending after it.
    """
    by_word = {word.casefold(): by_width[width] for word, by_width in vectors.items() if width in by_width}
    if not by_word:
        yield text
        return
    words = "|".join(re.escape(word) for word in sorted(by_word, key=len, reverse=True))
    named = rf"(?<![\w-])(?:embedding:({words})(?:\.safetensors|\.pt)?|({words}))(?![\w-])"
    for part in re.split(named, text, flags=re.IGNORECASE):
        if part:
            yield by_word.get(part.casefold(), part)


@contextmanager
def inject_vectors(encoder: Any, vectors: Mapping[tuple[int, int], torch.Tensor]) -> Iterator[None]:
    """Within it, the encoder's token embeddings at these (row, token) positions are these vectors."""

    def replace(_module: Any, _args: Any, embeddings: torch.Tensor) -> torch.Tensor:
        replaced = embeddings.clone()
        for position, vector in vectors.items():
            replaced[position] = vector.to(replaced)
        return replaced

    handle = encoder.get_input_embeddings().register_forward_hook(replace) if vectors else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()
