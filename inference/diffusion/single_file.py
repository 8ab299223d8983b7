"""Loads a whole model from one `.safetensors` file, offline: what it is made of lies beside this file, in `layouts/`.

Diffusers would ask the hub for that, and leaves weights that the file lacks without a value: such a file is refused.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import SingleFileComponentError
from safetensors import safe_open
from transformers import CLIPTokenizer

from bot.errors import ModelRefused, ModelUnavailable
from bot.models import ModelSpec
from inference.checkpoints import identify

LAYOUTS = Path(__file__).parent / "layouts"
MERGES = "clip-merges.txt"
_PIPELINES: Mapping[str, str] = {"sd15": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}
_PADS = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}
"""What fills a short prompt up. Source: tokenizer_config.json of stable-diffusion-xl-base-1.0."""
_TOKENS = 77


def load_single_file(model: ModelSpec, path: Path, dtype: torch.dtype) -> Any:
    """The file's pipeline from text to image, in main memory.

    Raises: ModelUnavailable: it is no whole model of a family whose layout is known.
    """
    try:
        found = identify.recognise(path)
    except ModelRefused as error:
        raise ModelUnavailable(model.name, error.detail) from error
    if found.kind != "single-file":
        raise ModelUnavailable(model.name, f"{path.name} is no whole model: {found.reason or found.kind}")
    folder = LAYOUTS / found.family
    parts = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    tokenizers = {name: _tokenizer(pad) for name, pad in _PADS.items() if name in parts}
    try:
        pipeline = getattr(diffusers, _PIPELINES[found.family]).from_single_file(
            str(path), config=str(folder), dtype=dtype, local_files_only=True, **tokenizers
        )
    except (SingleFileComponentError, ValueError, KeyError, RuntimeError) as error:  # what does not fit the layout
        raise ModelUnavailable(model.name, f"{path.name} does not fit {found.family}: {_first_line(error)}") from error
    _require_whole(model, path, pipeline)
    _follow_marks(path, pipeline)
    return pipeline


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _require_whole(model: ModelSpec, path: Path, pipeline: Any) -> None:
    """Raises: ModelUnavailable: a part has weights without a value."""
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            empty = [key for key, value in chain(part.named_parameters(), part.named_buffers()) if value.is_meta]
            if empty:
                raise ModelUnavailable(model.name, f"{path.name} lacks weights of its {name}, such as {empty[0]}")


def _follow_marks(path: Path, pipeline: Any) -> None:
    """SDXL's checkpoints that predict velocity say so with an empty tensor; without it a model predicts noise."""
    with safe_open(path, framework="pt") as file:
        marks = {"v_pred", "ztsnr"} & set(file.keys())
    if "v_pred" in marks:
        more = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": "ztsnr" in marks}
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **more)


def _tokenizer(pad: str) -> CLIPTokenizer:
    vocabulary, merges = _word_pieces(LAYOUTS / MERGES)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=_TOKENS)


@lru_cache(maxsize=1)
def _word_pieces(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's vocabulary: each byte, each byte that ends a word, each merge, and two marks.

    Source: `simple_tokenizer.py` of github.com/openai/CLIP.
    """
    merges = [(first, second) for first, second in map(str.split, path.read_text(encoding="utf-8").splitlines())]
    letters = _letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *(first + second for first, second in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}, merges


def _letters() -> list[str]:
    """One printable letter for each byte, the printable ones first, as byte-level BPE writes them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, printable), *(chr(256 + number) for number in range(256 - len(printable)))]
