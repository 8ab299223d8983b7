"""Batching rules for the flow-matching denoisers FLUX.2, Krea 2 and Z-Image.

They take one noise level per row, so rows at different steps, of different step counts, share a pass exactly.
"""

import inspect
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from inference.diffusion.batching import GenericBatching, expand_timestep, tensor_digest
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.prefix_caches import JoinedReferences, split_references

POSITION_IDS = frozenset({"img_ids", "txt_ids", "image_cond_ids", "position_ids"})
_KV_ARGUMENTS = frozenset({"kv_cache", "kv_cache_mode", "num_ref_tokens"})
PADDING_MULTIPLE = 32
"""Z-Image pads a row's prompt tokens, and its patches, to a multiple of this."""


class Flux2Batching(GenericBatching):
    """Rows share a pass if their image size and the sizes of their reference images are equal, because the model takes
    one list of position ids for the whole batch. The pipeline pads prompts to one length. Guidance is a second call.
    Krea 2 is the same in this. klein-KV computes its references in the first step and then reads them from each row's
    cache: later steps share passes with all that have as many tokens of references.
    """

    batch_argument = "hidden_states"

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module)
        self._digests = WeakIdKeyDictionary()

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        """Tokens of the image, its references and the prompt, which all attend to each other."""
        rows, patches = arguments["hidden_states"].shape[:2]
        return int(rows * (patches + arguments["encoder_hidden_states"].shape[1]))

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        mode = arguments.get("kv_cache_mode")
        own = {name: value for name, value in arguments.items() if name not in _KV_ARGUMENTS}
        if not mode:
            return super().batch_key(own)
        cached = arguments.get("kv_cache")
        tokens = arguments.get("num_ref_tokens", 0) if cached is None else cached.num_ref_tokens
        return (mode, tokens, super().batch_key(own))

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        own = [{name: value for name, value in call.items() if name != "kv_cache"} for call in calls]
        cached = [call["kv_cache"] for call in calls if call.get("kv_cache") is not None]
        return super().merge_calls(own) | ({"kv_cache": JoinedReferences(cached)} if cached else {})

    def split_output(self, output: Any, rows: Sequence[int]) -> list[Any]:
        """With the caches of the rows' references, if the pass has computed them."""
        if len(output) == 1:
            return super().split_output(output, rows)
        parts = output[0].split(list(rows))
        return list(zip(parts, split_references(output[1], rows), strict=True))

    def argument_key(self, name: str, value: Any, rows: int) -> Hashable:
        if name in POSITION_IDS and isinstance(value, torch.Tensor):
            return self._positions_digest(value)
        return super().argument_key(name, value, rows)

    def merge_argument(self, name: str, values: Sequence[Any], rows: Sequence[int]) -> Any:
        return values[0] if name in POSITION_IDS else super().merge_argument(name, values, rows)

    def _positions_digest(self, positions: torch.Tensor) -> Hashable:
        """Digest of the first row, which the model uses for all rows. Usually it is the same tensor at each step."""
        if positions not in self._digests:
            row = positions[0] if positions.dim() == 3 else positions
            self._digests[positions] = (tuple(row.shape), tensor_digest(row))
        digest: Hashable = self._digests[positions]
        return digest


class ZImageBatching:
    """Rows are list elements, so sizes and prompt lengths may differ; the model pads them to the longest. Rows whose
    padding would cost about as much as the rows themselves go into separate passes."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._signature = inspect.signature(module.forward)

    def bind_arguments(self, call: ModuleCall) -> Mapping[str, Any]:
        return self._signature.bind(*call.args, **call.kwargs).arguments

    def count_rows(self, arguments: Mapping[str, Any]) -> int:
        return len(arguments["x"])

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        return (
            sum(_sequence_lengths(arguments))
            if _is_batchable(arguments)
            else PADDING_MULTIPLE * self.count_rows(arguments)
        )

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        if not _is_batchable(arguments):
            return ("unbatchable", id(arguments["x"]))
        latents, caption = arguments["x"][0], arguments["cap_feats"][0]
        scale = tuple(sorted((arguments.get("joint_attention_kwargs") or {}).items()))
        return (
            length_bucket(max(_sequence_lengths(arguments))),
            latents.dtype,
            caption.dtype,
            str(latents.device),
            scale,
        )

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "x": [latents for call in calls for latents in call["x"]],
            "t": torch.cat([expand_timestep(call["t"], self.count_rows(call)) for call in calls]),
            "cap_feats": [caption for call in calls for caption in call["cap_feats"]],
            "joint_attention_kwargs": calls[0].get("joint_attention_kwargs"),
            "controlnet_block_samples": _merge_block_samples(calls),
            "return_dict": False,
        }

    def split_output(self, output: Any, rows: Sequence[int]) -> list[Any]:
        """The pipelines use element 0 of the output, whether they asked for a tuple or not."""
        images = iter(output[0])
        return [([next(images) for _ in range(count)],) for count in rows]


class ZImageControlBatching(ZImageBatching):
    """Z-Image's ControlNets: like the transformer, with latents of a map for each row. Its output is by layer.

    Rows of another weight go into another pass, because the weight may count inside.
    """

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        own = {name: value for name, value in arguments.items() if name not in _CONTROL_ARGUMENTS}
        return (super().batch_key(own), arguments.get("conditioning_scale"))

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        return sum(_sequence_lengths(arguments))

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "x": [latents for call in calls for latents in call["x"]],
            "t": torch.cat([expand_timestep(call["t"], self.count_rows(call)) for call in calls]),
            "cap_feats": [caption for call in calls for caption in call["cap_feats"]],
            "control_context": [latents for call in calls for latents in call["control_context"]],
            "conditioning_scale": calls[0]["conditioning_scale"],
        }

    def split_output(self, output: Mapping[int, torch.Tensor], rows: Sequence[int]) -> list[Any]:
        by_layer = {layer: hints.split(list(rows)) for layer, hints in output.items()}
        return [{layer: hints[index] for layer, hints in by_layer.items()} for index in range(len(rows))]


def length_bucket(length: int) -> int:
    """Lengths in one bucket differ by less than a factor of two. The bounds, 3 * 2^n, are between the usual sizes: 512,
    768, 1024 and 1536 pixels square are 1024, 2304, 4096 and 9216 patches, to which the prompt adds up to 512."""
    return (length // 3).bit_length()


_BATCHABLE_ARGUMENTS = frozenset(
    {"x", "t", "cap_feats", "return_dict", "joint_attention_kwargs", "controlnet_block_samples"}
)
_CONTROL_ARGUMENTS = frozenset({"control_context", "conditioning_scale"})


def _is_batchable(arguments: Mapping[str, Any]) -> bool:
    """Whether each row is only latents, a prompt and what a control adds: no reference images."""
    has_extra = any(value is not None for name, value in arguments.items() if name not in _BATCHABLE_ARGUMENTS)
    return not has_extra and all(isinstance(one, torch.Tensor) for one in (*arguments["x"], *arguments["cap_feats"]))


def _merge_block_samples(calls: Sequence[Mapping[str, Any]]) -> dict[int, torch.Tensor] | None:
    """What controls add after each layer, (rows, tokens, width), padded like the rows; zeros for rows without any."""
    samples = [call.get("controlnet_block_samples") or {} for call in calls]
    examples = {layer: hint for one in samples for layer, hint in one.items()}
    if not examples:
        return None
    counts = [len(call["x"]) for call in calls]
    tokens = max(padded_row_length(call) for call in calls)
    merged: dict[int, torch.Tensor] = {}
    for layer, example in examples.items():
        merged[layer] = example.new_zeros((sum(counts), tokens, example.shape[-1]))
        start = 0
        for one, count in zip(samples, counts, strict=True):
            if layer in one:
                merged[layer][start : start + count, : one[layer].shape[1]] = one[layer]
            start += count
    return merged


def padded_row_length(arguments: Mapping[str, Any]) -> int:
    """Tokens of each row of a call of its own: those of its longest."""
    return max(_sequence_lengths(arguments))


def _sequence_lengths(arguments: Mapping[str, Any]) -> list[int]:
    """Of each row: patches of 2 x 2 latent cells and prompt tokens, each padded."""
    return [
        _padded_length(latents.shape[-2] * latents.shape[-1] // 4) + _padded_length(len(caption))
        for latents, caption in zip(arguments["x"], arguments["cap_feats"], strict=True)
    ]


def _padded_length(length: int) -> int:
    return -(-length // PADDING_MULTIPLE) * PADDING_MULTIPLE


def unpack_latents(pipeline: Any, latents: Any, size: tuple[int, int]) -> Any:
    """FLUX.2's tokens, (1, tokens, channels), or ERNIE-Image's patches, (1, channels, h / 2, w / 2), of an image of
    `size` (width, height), in the layout of their decoder: (1, channels / 4, h, w), denormalised. Latents of other
    pipelines are returned unchanged."""
    is_patched = hasattr(pipeline, "_unpatchify_latents") and hasattr(getattr(pipeline, "vae", None), "bn")
    if not is_patched or not isinstance(latents, torch.Tensor) or latents.dim() not in (3, 4):
        return latents
    if latents.dim() == 3:
        columns, rows = (side // (2 * pipeline.vae_scale_factor) for side in size)
        latents = latents.mT.unflatten(2, (rows, columns))
    norm, epsilon = pipeline.vae.bn, pipeline.vae.config.batch_norm_eps
    mean, variance = (
        one.view(1, -1, 1, 1).to(latents.device, latents.dtype) for one in (norm.running_mean, norm.running_var)
    )
    return pipeline._unpatchify_latents(latents * torch.sqrt(variance + epsilon) + mean)
