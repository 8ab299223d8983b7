"""Batching rule for Qwen-Image 2.1, which computes prompt and reference images once and caches what they give."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from inference.diffusion.batching import GenericBatching, expand_timestep, pad_tokens, tensor_digest
from inference.diffusion.batching_flow import length_bucket
from inference.diffusion.prefix_caches import JoinedPrefixes, StoredPrefixes

MAX_PREFIX = 8000
"""Tokens of a prefix of Qwen-Image 2.1 whose passes are shared; the model's position table ends after 8,192."""
_SLOT = 4
"""Latent tokens for which each image slot of Qwen-Image 2.1's prompt stands."""


@dataclass(frozen=True)
class Prefix:
    """Of Qwen-Image 2.1: its number of tokens, and the position that the image after it has on the first axis."""

    tokens: int
    position: int


class QwenImage21Batching(GenericBatching):
    """The first step computes the prefix (prompt and reference images): rows share it if theirs have the same layout.

    In later steps, rows of one image size share passes whatever their prefixes, up to `MAX_PREFIX` tokens. The model
    places all images of a pass after the longest prefix; the keys of shorter ones are turned so that each image stays
    as far from its own prefix as it is alone.
    """

    batch_argument = "hidden_states"

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__(module)
        self._rope: Any = module.pos_embed
        self._prefixes = WeakIdKeyDictionary()
        self._digests = WeakIdKeyDictionary()

    def count_tokens(self, arguments: Mapping[str, Any]) -> int:
        """Of the image alone once its prefix is cached."""
        _, height, width = _target(arguments)
        prefix = 0 if _is_cached(arguments) else self._prefix_of(arguments).tokens
        return int(self.count_rows(arguments) * (height * width + prefix))

    def batch_key(self, arguments: Mapping[str, Any]) -> Hashable:
        latents = arguments["hidden_states"]
        common = (arguments.get("kv_cache_mode"), _target(arguments), latents.dtype, str(latents.device))
        if not _is_cached(arguments):
            own = {name: value for name, value in arguments.items() if name not in ("kv_cache", "kv_cache_mode")}
            return (*common, arguments.get("kv_cache") is None, super().batch_key(own))
        prefix = self._prefix_of(arguments)
        if prefix.tokens > MAX_PREFIX:
            return ("unbatchable", id(latents))
        kwargs = self.argument_key("attention_kwargs", arguments.get("attention_kwargs"), 1)
        return (*common, kwargs, length_bucket(self.count_tokens(arguments) + prefix.tokens))

    def argument_key(self, name: str, value: Any, rows: int) -> Hashable:
        """The layout is that of the first row for the whole pass."""
        if name != "img_mask":
            return super().argument_key(name, value, rows)
        if value not in self._digests:
            self._digests[value] = (tuple(value.shape[1:]), tensor_digest(value[0]))
        digest: Hashable = self._digests[value]
        return digest

    def merge_calls(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if _is_cached(calls[0]):
            return self._merge_cached(calls)
        merged = super().merge_calls([{**call, "kv_cache": None} for call in calls])
        merged["img_shapes"] = [sizes for call in calls for sizes in call["img_shapes"]]
        if calls[0].get("kv_cache") is not None:
            rows = [self.count_rows(call) for call in calls]
            merged["kv_cache"] = StoredPrefixes([call["kv_cache"] for call in calls], rows)
        return merged

    def _merge_cached(self, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A layout of text alone, as long as the longest prefix: what it holds is only in the caches."""
        _, height, width = target = _target(calls[0])
        rows = [self.count_rows(call) for call in calls]
        prefixes = [self._prefix_of(call) for call in calls]
        longest = max(prefix.tokens for prefix in prefixes)
        states, slots = calls[0]["encoder_hidden_states"], height * width // _SLOT
        layout = torch.arange(longest + slots, device=states.device) >= longest
        return {
            **calls[0],
            "hidden_states": torch.cat([call["hidden_states"][:, -height * width :] for call in calls]),
            "timestep": torch.cat(
                [expand_timestep(call["timestep"], count) for call, count in zip(calls, rows, strict=True)]
            ),
            "encoder_hidden_states": states.new_zeros(sum(rows), longest, states.shape[2]),
            "encoder_hidden_states_mask": self._merge_validity(calls, prefixes, longest),
            "img_shapes": [[target]] * sum(rows),
            "img_mask": layout.expand(sum(rows), -1),
            "kv_cache": JoinedPrefixes(
                [call["kv_cache"] for call in calls],
                longest,
                [self._turn(longest - prefix.position) for prefix in prefixes],
            ),
        }

    def _merge_validity(
        self, calls: Sequence[Mapping[str, Any]], prefixes: Sequence[Prefix], longest: int
    ) -> torch.Tensor | None:
        """Which tokens of each row's prefix exist; None: all of all rows."""
        masks = [self._prefix_mask(call, prefix) for call, prefix in zip(calls, prefixes, strict=True)]
        if all(bool(prefix.tokens == longest) for prefix in prefixes) and not any(
            call.get("encoder_hidden_states_mask") is not None for call in calls
        ):
            return None
        return torch.cat([pad_tokens(mask, longest) for mask in masks])

    def _prefix_mask(self, call: Mapping[str, Any], prefix: Prefix) -> torch.Tensor:
        """(rows, tokens of the prefix): False for padding of the prompt."""
        states = call["encoder_hidden_states"]
        found = torch.ones(self.count_rows(call), prefix.tokens, dtype=torch.bool, device=states.device)
        mask = call.get("encoder_hidden_states_mask")
        if mask is None:
            return found
        is_image = call["img_mask"][0][: mask.shape[1]]
        is_image_token = torch.repeat_interleave(is_image, torch.where(is_image, _SLOT, 1))
        found[:, ~is_image_token] = mask.bool()[:, ~is_image]
        return found

    def _prefix_of(self, arguments: Mapping[str, Any]) -> Prefix:
        """Usually the mask is the same tensor at each step."""
        layout = arguments["img_mask"]
        if layout not in self._prefixes:
            text = int((~layout[0]).sum())
            images = [(height * width, max(height, width)) for _, height, width in arguments["img_shapes"][0][:-1]]
            tokens, advance = (sum(one[index] for one in images) for index in (0, 1))
            self._prefixes[layout] = Prefix(text + tokens, text + advance)
        prefix: Prefix = self._prefixes[layout]
        return prefix

    def _turn(self, distance: int) -> torch.Tensor | None:
        """The rotation by so many positions on the first axis, (channels / 2,), complex; None: by none."""
        if not distance:
            return None
        turn: torch.Tensor = self._rope.rope_params(torch.tensor([distance]), self._rope.axes_dim[0], self._rope.theta)
        return turn[0]


def _is_cached(arguments: Mapping[str, Any]) -> bool:
    return bool(arguments.get("kv_cache_mode") == "cached")


def _target(arguments: Mapping[str, Any]) -> tuple[int, int, int]:
    """Frames, height and width of the image, in tokens."""
    frames, height, width = arguments["img_shapes"][0][-1]
    return frames, height, width
