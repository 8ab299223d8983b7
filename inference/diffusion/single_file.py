"""Loads a complete checkpoint from one `.safetensors` file, offline: the component configs are in `layouts/` here.

Diffusers would fetch them from the Hub, and leaves missing weights uninitialised: such files are rejected.
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
BPE_MERGES_FILE = "clip-merges.txt"
_INPAINTING_CHANNELS = 9
_PAD_TOKENS = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}
"""Padding tokens. Source: tokenizer_config.json of stable-diffusion-xl-base-1.0."""
_MAX_TOKENS = 77


def load_single_file(model: ModelSpec, path: Path, dtype: torch.dtype) -> Any:
    """The file's text-to-image pipeline, in main memory.

    Raises: ModelUnavailable: not a complete checkpoint of a known family.
    """
    try:
        checkpoint = identify.identify_path(path)
    except ModelRefused as error:
        raise ModelUnavailable(model.name, error.detail) from error
    if checkpoint.kind != "single-file":
        problem = checkpoint.reason if checkpoint.kind == "unknown" else checkpoint.kind
        raise ModelUnavailable(model.name, f"{path.name} is not a complete checkpoint: {problem}")
    family, kind = checkpoint.family, getattr(diffusers, checkpoint.class_name)
    folder = LAYOUTS / family
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    tokenizers = {name: _clip_tokenizer(pad) for name, pad in _PAD_TOKENS.items() if name in index}
    settings = {"config": str(folder), "dtype": dtype, "local_files_only": True}
    try:
        unet = _inpainting_unet(path, settings) if "Inpaint" in checkpoint.class_name else {}
        pipeline = kind.from_single_file(str(path), **settings, **tokenizers, **unet)
    except (SingleFileComponentError, ValueError, KeyError, RuntimeError) as error:  # it does not fit the layout
        raise ModelUnavailable(model.name, f"{path.name} does not fit {family}: {_first_line(error)}") from error
    _require_all_weights(model, path, pipeline)
    _apply_prediction_markers(path, pipeline)
    return pipeline


def _inpainting_unet(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The denoiser, which has more inputs than its layout says."""
    unet = diffusers.UNet2DConditionModel.from_single_file(
        str(path), subfolder="unet", in_channels=_INPAINTING_CHANNELS, **settings
    )
    return {"unet": unet}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _require_all_weights(model: ModelSpec, path: Path, pipeline: Any) -> None:
    """Raises: ModelUnavailable: a component has uninitialised weights."""
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            tensors = chain(component.named_parameters(), component.named_buffers())
            missing = [key for key, value in tensors if value.is_meta]
            if missing:
                raise ModelUnavailable(model.name, f"{path.name} lacks weights of its {name}, such as {missing[0]}")


def _apply_prediction_markers(path: Path, pipeline: Any) -> None:
    """SDXL checkpoints with v-prediction are marked by an empty tensor `v_pred`; others predict noise."""
    with safe_open(path, framework="pt") as file:
        markers = {"v_pred", "ztsnr"} & set(file.keys())
    if "v_pred" in markers:
        settings = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": "ztsnr" in markers}
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **settings)


def _clip_tokenizer(pad: str) -> CLIPTokenizer:
    vocabulary, merges = _bpe_vocabulary(LAYOUTS / BPE_MERGES_FILE)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=_MAX_TOKENS)


@lru_cache(maxsize=1)
def _bpe_vocabulary(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's vocabulary: each byte, each byte at a word's end, each merge, and two special tokens.

    Source: `simple_tokenizer.py` of github.com/openai/CLIP.
    """
    merges = [(first, second) for first, second in map(str.split, path.read_text(encoding="utf-8").splitlines())]
    characters = _byte_characters()
    tokens = [*characters, *(f"{one}</w>" for one in characters), *(first + second for first, second in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: number for number, token in enumerate(tokens)}, merges


def _byte_characters() -> list[str]:
    """A printable character for each byte, the printable bytes first, as in byte-level BPE."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, printable), *(chr(256 + number) for number in range(256 - len(printable)))]
