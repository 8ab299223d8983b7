"""Z-Image's transformer as a graph: the lists of latents and prompts are padded to tensors outside of it.

Positions and the sines of timesteps are inputs, as bfloat16 has too few digits for what they are computed from. Calls
with what a ControlNet adds, and those with several images for a row, run on torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from torch.nn.functional import pad, scaled_dot_product_attention

from inference.backends.graph import DynamicAxes
from inference.backends.graph_inputs import UnsupportedModule, plain_tensor
from inference.backends.shared_weights import copy_with_shared_weights

_COMPUTED = frozenset({"x", "t", "cap_feats"})
_IGNORED = frozenset({"return_dict", "patch_size", "f_patch_size"})
_PATCH, _FRAMES = 2, 1
_LAYERS = f"{_PATCH}-{_FRAMES}"
"""The name of the layers for patches of this size, the only one of Z-Image."""
_ROWS, _PATCHES, _TOKENS = 2, 64, 32
"""Of the example."""


class ZImageInputs:
    """The rule of one `ZImageTransformer2DModel`. Raises: UnsupportedModule."""

    def __init__(self, module: torch.nn.Module) -> None:
        config: Any = module.config
        if (_PATCH, _FRAMES) not in zip(config.all_patch_size, config.all_f_patch_size, strict=True):
            raise UnsupportedModule("its transformer has patches of a size that has no compiled form")
        self._module: Any = module
        self._patch_width = int(config.in_channels) * _PATCH * _PATCH * _FRAMES
        self._prompt_width, self._head_width = int(config.cap_feat_dim), sum(config.axes_dims)

    # ------------------------------------------------------------ export

    def wrapper(self, module: torch.nn.Module) -> torch.nn.Module:
        return PositionalZImage(module)

    def example(self) -> Sequence[torch.Tensor]:
        sines = torch.randn(_ROWS, self._module.t_embedder.frequency_embedding_size)
        sequences = []
        for length, width in ((_PATCHES, self._patch_width), (_TOKENS, self._prompt_width)):
            states, rotation = torch.randn(_ROWS, length, width), torch.randn(_ROWS, length, self._head_width)
            kinds = torch.tensor([_TOKEN, _PADDING, _UNUSED]).repeat_interleave(length)[None, ::3].expand(_ROWS, -1)
            sequences += [states, rotation, kinds]
        return [sines, *sequences]

    def dynamic(self) -> Sequence[DynamicAxes]:
        return [{0: "rows"}, *[{0: "rows", 1: "patches"}] * 3, *[{0: "rows", 1: "tokens"}] * 3]

    # ------------------------------------------------------------ calls

    def takes(self, arguments: Mapping[str, Any]) -> bool:
        given = {name for name, value in arguments.items() if value is not None and name not in _IGNORED}
        given -= {name for name in ("joint_attention_kwargs", "controlnet_block_samples") if not arguments.get(name)}
        sizes = (arguments.get("patch_size", _PATCH), arguments.get("f_patch_size", _FRAMES))
        return (
            given == _COMPUTED
            and sizes == (_PATCH, _FRAMES)
            and all(isinstance(row, torch.Tensor) for row in (*arguments["x"], *arguments["cap_feats"]))
        )

    def to_inputs(self, arguments: Mapping[str, Any]) -> Sequence[torch.Tensor] | None:
        if not self.takes(arguments):
            return None
        module = self._module
        latents, prompts = ([plain_tensor(row) for row in arguments[name]] for name in ("x", "cap_feats"))
        patches, tokens, _, *positions = module.patchify_and_embed(latents, prompts, _PATCH, _FRAMES)
        patch_positions, token_positions, patch_padding, token_padding = positions
        time = plain_tensor(arguments["t"]).reshape(-1).expand(len(latents)) * module.t_scale
        return [
            module.t_embedder.timestep_embedding(time, module.t_embedder.frequency_embedding_size),
            *self._sequence(patches, patch_positions, patch_padding),
            *self._sequence(tokens, token_positions, token_padding),
        ]

    def _sequence(
        self, rows: Sequence[torch.Tensor], positions: Sequence[torch.Tensor], paddings: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The states, rotations and kinds of tokens, as long as the longest row."""
        longest = max(map(len, rows))
        rotations = [self._module.rope_embedder(position) for position in positions]
        kinds = [torch.where(padding, _PADDING, _TOKEN) for padding in paddings]
        return (
            torch.stack([pad(row, (0, 0, 0, longest - len(row))) for row in rows]),
            torch.stack([pad(torch.cat([one.real, one.imag], -1), (0, 0, 0, longest - len(one))) for one in rotations]),
            torch.stack([pad(kind, (0, longest - len(kind)), value=_UNUSED) for kind in kinds]),
        )

    def to_output(self, outputs: Sequence[torch.Tensor], arguments: Mapping[str, Any]) -> Any:
        latents: Sequence[torch.Tensor] = arguments["x"]
        sizes = [tuple(row.shape[1:]) for row in latents]
        images = self._module.unpatchify(list(outputs[0].unbind(0)), sizes, _PATCH, _FRAMES)
        images = [image.to(row.device, row.dtype) for image, row in zip(images, latents, strict=True)]
        return (images,) if arguments.get("return_dict") is False else Transformer2DModelOutput(sample=images)


_TOKEN, _PADDING, _UNUSED = 0.0, 1.0, 2.0
"""Kinds of tokens: those of the image or prompt; padding that the model learned; what makes rows equally long, which
nothing attends to."""


class PositionalZImage(torch.nn.Module):
    """A transformer whose arguments are positional tensors: the sines of the timesteps; states, rotations and kinds of
    the patches; the same of the prompts' tokens. Returns the patches."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer: Any = copy_with_shared_weights(transformer)
        for module in self.transformer.modules():
            if hasattr(module, "set_processor"):
                module.set_processor(RotaryProcessor())

    def forward(
        self,
        sines: torch.Tensor,
        patches: torch.Tensor,
        patch_rotation: torch.Tensor,
        patch_kinds: torch.Tensor,
        tokens: torch.Tensor,
        token_rotation: torch.Tensor,
        token_kinds: torch.Tensor,
    ) -> torch.Tensor:
        model = self.transformer
        time = model.t_embedder.mlp(sines)
        states = _with_padding(model.all_x_embedder[_LAYERS](patches), patch_kinds, model.x_pad_token)
        for layer in model.noise_refiner:
            states = layer(states, _attended(patch_kinds), patch_rotation, time)
        prompt = _with_padding(model.cap_embedder(tokens), token_kinds, model.cap_pad_token)
        for layer in model.context_refiner:
            prompt = layer(prompt, _attended(token_kinds), token_rotation)
        joined = torch.cat([states, prompt], dim=1)
        mask = _attended(torch.cat([patch_kinds, token_kinds], dim=1))
        rotation = torch.cat([patch_rotation, token_rotation], dim=1)
        for layer in model.layers:
            joined = layer(joined, mask, rotation, time)
        predicted: torch.Tensor = model.all_final_layer[_LAYERS](joined[:, : patches.shape[1]], c=time)
        return predicted


def _with_padding(states: torch.Tensor, kinds: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    return torch.where((kinds == _PADDING)[..., None], padding, states)


def _attended(kinds: torch.Tensor) -> torch.Tensor:
    """Which tokens each token attends to, (rows, 1, 1, tokens)."""
    return (kinds != _UNUSED)[:, None, None, :]


class RotaryProcessor:
    """Attention as Z-Image's own processor computes it, with real numbers for rotations instead of complex ones."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: None,
        attention_mask: torch.Tensor,
        freqs_cis: torch.Tensor,
    ) -> torch.Tensor:
        query, key, value = (
            layer(hidden_states).unflatten(-1, (attn.heads, -1)) for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        query, key = (_rotate(one, freqs_cis) for one in (query, key))
        mixed = scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=attention_mask
        )
        output: torch.Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2, 3))
        return output


def _rotate(values: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turn pairs of (rows, tokens, heads, width) by cosines and sines, (rows, tokens, width)."""
    cosines, sines = rotation.unsqueeze(2).chunk(2, dim=-1)
    one, other = values.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([one * cosines - other * sines, one * sines + other * cosines], dim=-1).flatten(3)
