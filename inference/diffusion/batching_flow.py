"""How calls of the flow-matching families' denoisers share a pass: FLUX.2 and Z-Image.

Both take one noise level for each row, so rows at different steps, of different numbers of steps, share a pass exactly.
"""

import inspect
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from inference.diffusion.batching import ByBatch, digest, each
from inference.diffusion.coroutines import Call

POSITIONS = frozenset({"img_ids", "txt_ids"})
PADDED = 32
"""Z-Image pads a row's words, and its patches, to a multiple of this."""


class OfFlux2(ByBatch):
    """Rows share a pass when their own size and the sizes of their reference pictures are equal: the model takes one
    list of positions for the whole batch. Prompts are padded to one length by the pipeline. Guidance is a second call.
    """

    main = "hidden_states"

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module)
        self._digests = WeakIdKeyDictionary()

    def tokens(self, arguments: Mapping[str, Any]) -> int:
        """Those of the picture, of its references, and of the prompt: all attend to all."""
        rows, patches = arguments["hidden_states"].shape[:2]
        return int(rows * (patches + arguments["encoder_hidden_states"].shape[1]))

    def key(self, arguments: Mapping[str, Any]) -> Hashable:
        if arguments.get("kv_cache_mode"):  # it hands out what it keeps of the references along with the output
            return ("alone", id(arguments["hidden_states"]))
        return super().key(arguments)

    def part_of_key(self, name: str, value: Any, rows: int) -> Hashable:
        if name in POSITIONS and isinstance(value, torch.Tensor):
            return self._digest(value)
        return super().part_of_key(name, value, rows)

    def joined(self, name: str, values: Sequence[Any], rows: Sequence[int]) -> Any:
        return values[0] if name in POSITIONS else super().joined(name, values, rows)

    def _digest(self, positions: torch.Tensor) -> Hashable:
        """Of the first row's, which the model uses for all. Most are the same tensor at each step."""
        if positions not in self._digests:
            own = positions[0] if positions.dim() == 3 else positions
            self._digests[positions] = (tuple(own.shape), digest(own))
        found: Hashable = self._digests[positions]
        return found


class OfZImage:
    """Rows are lists, so each may have its own size and its own length of prompt; the model pads them to the longest.
    Rows whose padding would cost about as much as they do themselves go apart."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._signature = inspect.signature(module.forward)

    def arguments(self, call: Call) -> Mapping[str, Any]:
        return self._signature.bind(*call.args, **call.kwargs).arguments

    def rows(self, arguments: Mapping[str, Any]) -> int:
        return len(arguments["x"])

    def tokens(self, arguments: Mapping[str, Any]) -> int:
        return sum(_lengths(arguments)) if _is_plain(arguments) else PADDED * self.rows(arguments)

    def key(self, arguments: Mapping[str, Any]) -> Hashable:
        if not _is_plain(arguments):
            return ("alone", id(arguments["x"]))
        picture, words = arguments["x"][0], arguments["cap_feats"][0]
        scale = tuple(sorted((arguments.get("joint_attention_kwargs") or {}).items()))
        return (band(max(_lengths(arguments))), picture.dtype, words.dtype, str(picture.device), scale)

    def join(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "x": [picture for call in calls for picture in call["x"]],
            "t": torch.cat([each(call["t"], self.rows(call)) for call in calls]),
            "cap_feats": [words for call in calls for words in call["cap_feats"]],
            "joint_attention_kwargs": calls[0].get("joint_attention_kwargs"),
            "return_dict": False,
        }

    def split(self, output: Any, rows: Sequence[int]) -> list[Any]:
        """The pipelines take element 0 of the output, whether they asked for a tuple or not."""
        parts = iter(output[0])
        return [([next(parts) for _ in range(count)],) for count in rows]


def band(length: int) -> int:
    """Lengths of one band differ by less than a factor of two. The bounds, 3 * 2^n, lie between the usual sizes: 512,
    768, 1024 and 1536 pixels square are 1024, 2304, 4096 and 9216 patches, to which the prompt adds up to 512."""
    return (length // 3).bit_length()


_USUAL = frozenset({"x", "t", "cap_feats", "return_dict", "joint_attention_kwargs"})


def _is_plain(arguments: Mapping[str, Any]) -> bool:
    """Nothing but a picture and a prompt for each row: no control signals, no pictures to refer to."""
    extra = any(value is not None for name, value in arguments.items() if name not in _USUAL)
    return not extra and all(isinstance(one, torch.Tensor) for one in (*arguments["x"], *arguments["cap_feats"]))


def _lengths(arguments: Mapping[str, Any]) -> list[int]:
    """Of each row: patches of 2 x 2 latent cells and words, each padded."""
    return [
        _padded(picture.shape[-2] * picture.shape[-1] // 4) + _padded(len(words))
        for picture, words in zip(arguments["x"], arguments["cap_feats"], strict=True)
    ]


def _padded(length: int) -> int:
    return -(-length // PADDED) * PADDED


def unpacked(pipeline: Any, latents: Any, size: tuple[int, int]) -> Any:
    """FLUX.2's tokens, (1, tokens, channels), of a picture of `size` (width, height), as its decoder takes them:
    (1, channels / 4, h, w), no longer normalised. Latents of other pipelines are given back as they are."""
    if not hasattr(pipeline, "_unpack_latents_with_ids") or not isinstance(latents, torch.Tensor) or latents.dim() != 3:
        return latents
    columns, rows = (side // (2 * pipeline.vae_scale_factor) for side in size)
    norm, epsilon = pipeline.vae.bn, pipeline.vae.config.batch_norm_eps
    mean, variance = (one.to(latents.device, latents.dtype) for one in (norm.running_mean, norm.running_var))
    tokens = latents * torch.sqrt(variance + epsilon) + mean
    return pipeline._unpatchify_latents(tokens.mT.unflatten(2, (rows, columns)))
