"""Batching rules for denoisers that mask the padding of prompts: Qwen-Image and ERNIE-Image.

Rows whose prompts differ in length are padded to the longest; the mask makes that exact.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from inference.diffusion.batching import GenericBatching, expand_timestep, pad_tokens
from inference.diffusion.batching_flow import length_bucket


class QwenImageBatching(GenericBatching):
    """Rows share a pass if the sizes of their image and of their reference images are equal, in this order."""

    batch_argument = "hidden_states"

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        rows, patches = arguments["hidden_states"].shape[:2]
        return int(rows * (patches + arguments["encoder_hidden_states"].shape[1]))

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        latents, rows = arguments["hidden_states"], self.count_rows(arguments)
        sizes = tuple(tuple(one) for one in arguments["img_shapes"][0])
        others = tuple(
            (name, self.argument_key(name, value, rows))
            for name, value in sorted(arguments.items())
            if name not in _QWEN_MERGED and value is not None
        )
        return (sizes, length_bucket(self.count_tokens(arguments) // rows), latents.dtype, str(latents.device), others)

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        length = max(call["encoder_hidden_states"].shape[1] for call in calls)
        return {
            **calls[0],
            "hidden_states": torch.cat([call["hidden_states"] for call in calls]),
            "timestep": torch.cat([expand_timestep(call["timestep"], self.count_rows(call)) for call in calls]),
            "encoder_hidden_states": torch.cat([pad_tokens(call["encoder_hidden_states"], length) for call in calls]),
            "encoder_hidden_states_mask": _merge_masks(calls, length),
            "img_shapes": [sizes for call in calls for sizes in call["img_shapes"]],
        }


_QWEN_MERGED = frozenset(
    {"hidden_states", "timestep", "encoder_hidden_states", "encoder_hidden_states_mask", "img_shapes"}
)


class ErnieImageBatching(GenericBatching):
    """Rows of one image size share a pass. A guided image is one call of two rows."""

    batch_argument = "hidden_states"

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        rows, _, height, width = arguments["hidden_states"].shape
        return int(rows * (height * width + arguments["text_bth"].shape[1]))

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        latents = arguments["hidden_states"]
        length = self.count_tokens(arguments) // len(latents)
        kind = (tuple(latents.shape[1:]), latents.dtype, str(latents.device))
        return (*kind, length_bucket(length), arguments.get("return_dict"))

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        length = max(call["text_bth"].shape[1] for call in calls)
        return {
            **calls[0],
            "hidden_states": torch.cat([call["hidden_states"] for call in calls]),
            "timestep": torch.cat([expand_timestep(call["timestep"], self.count_rows(call)) for call in calls]),
            "text_bth": torch.cat([pad_tokens(call["text_bth"], length) for call in calls]),
            "text_lens": torch.cat([call["text_lens"] for call in calls]),
        }


def _merge_masks(calls: Sequence[Mapping[str, Any]], length: int) -> torch.Tensor | None:
    """True for tokens of the prompt; None: no row has padding."""
    masks = [call.get("encoder_hidden_states_mask") for call in calls]
    states = [call["encoder_hidden_states"] for call in calls]
    if all(mask is None for mask in masks) and all(one.shape[1] == length for one in states):
        return None
    full = [
        torch.ones(one.shape[:2], dtype=torch.bool, device=one.device) if mask is None else mask.bool()
        for mask, one in zip(masks, states, strict=True)
    ]
    return torch.cat([pad_tokens(mask, length) for mask in full])
