"""FLUX.2's transformers as graphs. Positions and the sines of timesteps are inputs, as bfloat16 has too few digits for
what they are computed from. Calls that fill or read a cache of references run on torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.transformers import transformer_flux2

from inference.backends.graph import DynamicAxes
from inference.backends.graph_inputs import plain_tensor
from inference.backends.shared_weights import copy_with_shared_weights

_COMPUTED = frozenset({"hidden_states", "encoder_hidden_states", "timestep", "img_ids", "txt_ids", "guidance"})
_IGNORED = frozenset({"return_dict", "ref_fixed_timestep"})
_TIME_SCALE = 1000
"""The transformer multiplies timesteps and guidance by this."""
_ROWS, _PATCHES, _TOKENS = 2, 9, 7
"""Of the example."""


class Flux2Inputs:
    """The rule of one `Flux2Transformer2DModel`."""

    def __init__(self, module: torch.nn.Module) -> None:
        config: Any = module.config
        self._channels, self._prompt_width = int(config.in_channels), int(config.joint_attention_dim)
        self._has_guidance = bool(config.guidance_embeds)
        self._positions: Any = module.pos_embed
        self._time_proj: Any = module.time_guidance_embed.time_proj
        self._head_width = sum(config.axes_dims_rope)

    # ------------------------------------------------------------ export

    def wrapper(self, module: torch.nn.Module) -> torch.nn.Module:
        return PositionalFlux2(module)

    def example(self) -> Sequence[torch.Tensor]:
        sines = [torch.randn(_ROWS, self._time_proj.num_channels) for _ in range(1 + self._has_guidance)]
        return [
            torch.randn(_ROWS, _PATCHES, self._channels),
            torch.randn(_ROWS, _TOKENS, self._prompt_width),
            torch.randn(_PATCHES, 2 * self._head_width),
            torch.randn(_TOKENS, 2 * self._head_width),
            *sines,
        ]

    def dynamic(self) -> Sequence[DynamicAxes]:
        rows: DynamicAxes = {0: "rows"}
        sines = [rows] * (1 + self._has_guidance)
        return [{0: "rows", 1: "patches"}, {0: "rows", 1: "tokens"}, {0: "patches"}, {0: "tokens"}, *sines]

    # ------------------------------------------------------------ calls

    def takes(self, arguments: Mapping[str, Any]) -> bool:
        given = {name for name, value in arguments.items() if value is not None and name not in _IGNORED}
        given -= {name for name in ("joint_attention_kwargs", "num_ref_tokens") if not arguments.get(name)}
        needed = _COMPUTED if self._has_guidance else _COMPUTED - {"guidance"}
        return needed <= given <= _COMPUTED

    def to_inputs(self, arguments: Mapping[str, Any]) -> Sequence[torch.Tensor] | None:
        if not self.takes(arguments):
            return None
        rows = len(arguments["hidden_states"])
        names = ("timestep", "guidance") if self._has_guidance else ("timestep",)
        inputs = [arguments["hidden_states"], arguments["encoder_hidden_states"]]
        inputs += [self._rotation(arguments[name]) for name in ("img_ids", "txt_ids")]
        return [plain_tensor(value) for value in (*inputs, *(self._sines(arguments[name], rows) for name in names))]

    def _rotation(self, positions: torch.Tensor) -> torch.Tensor:
        """The cosines and sines of each token, (tokens, 2 * width)."""
        positions = positions[0] if positions.ndim == 3 else positions
        return torch.cat(self._positions(positions.cpu()), dim=-1)

    def _sines(self, value: torch.Tensor, rows: int) -> torch.Tensor:
        scaled = value.reshape(-1).cpu().float().expand(rows) * _TIME_SCALE
        sines: torch.Tensor = self._time_proj(scaled) / _TIME_SCALE
        return sines

    def to_output(self, outputs: Sequence[torch.Tensor], arguments: Mapping[str, Any]) -> Any:
        like: torch.Tensor = arguments["hidden_states"]
        predicted = outputs[0].to(like.device, like.dtype)
        if arguments.get("return_dict") is False:
            return (predicted,)
        return transformer_flux2.Flux2Transformer2DModelOutput(sample=predicted)


class PositionalFlux2(torch.nn.Module):
    """A transformer whose arguments are positional tensors; positions are rotations, timesteps and guidance sines."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        changed: Any = copy_with_shared_weights(transformer)
        changed.pos_embed = _GivenRotation()
        changed.time_guidance_embed.time_proj = torch.nn.Identity()
        self.transformer = changed

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        patches, prompt, image_rotation, prompt_rotation, timestep, *guidance = inputs
        with _exportable_rotation():
            predicted: torch.Tensor = self.transformer(
                hidden_states=patches,
                encoder_hidden_states=prompt,
                timestep=timestep,
                img_ids=image_rotation,
                txt_ids=prompt_rotation,
                guidance=guidance[0] if guidance else None,
                return_dict=False,
            )[0]
        return predicted


@contextmanager
def _exportable_rotation() -> Iterator[None]:
    """Lets FLUX.2's attention rotate with `_rotate`: from Diffusers' function, torch's exporter to ONNX makes constants
    of the example's sizes."""
    own = transformer_flux2.apply_rotary_emb
    transformer_flux2.apply_rotary_emb = _rotate
    try:
        yield
    finally:
        transformer_flux2.apply_rotary_emb = own


def _rotate(values: torch.Tensor, rotation: tuple[torch.Tensor, torch.Tensor], sequence_dim: int) -> torch.Tensor:
    """Turn pairs of (rows, tokens, heads, width)."""
    cosines, sines = (part[None, :, None, :] for part in rotation)
    one, other = values.unflatten(-1, (-1, 2)).unbind(-1)
    return values * cosines + torch.stack([-other, one], dim=-1).flatten(3) * sines


class _GivenRotation(torch.nn.Module):
    def forward(self, rotation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cosines, sines = rotation.chunk(2, dim=-1)
        return cosines, sines
