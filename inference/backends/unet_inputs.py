"""UNets of Stable Diffusion 1.x, 2.x and XL as graphs, with the residuals of controls as inputs.

A call without controls gives each of them zeros of shape (1, channels, 1, 1), which are added to all rows and cells.
The sines of timesteps and sizes are inputs, too: bfloat16 has too few digits for their arguments.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

from inference.backends.graph import DynamicAxes
from inference.backends.graph_inputs import UnsupportedModule, plain_tensor

_IGNORED = frozenset({"return_dict"})
_COMPUTED = frozenset({"sample", "timestep", "encoder_hidden_states", "timestep_cond", "added_cond_kwargs"})
_RESIDUALS = frozenset(
    {"down_block_additional_residuals", "mid_block_additional_residual", "down_intrablock_additional_residuals"}
)
_ADDED = ("text_embeds", "time_ids")
_UNSUPPORTED = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "encoder_hid_dim")
"""Entries of the configuration that add conditions which the graph has no inputs for."""
_ROWS, _CELLS, _TOKENS = 2, 9, 7
"""Of the example. Its sides are no multiples of the UNet's halvings: a UNet traced with such sides takes all others."""


class UNetInputs:
    """The rule of one `UNet2DConditionModel`. Raises: UnsupportedModule."""

    def __init__(self, module: torch.nn.Module) -> None:
        config: Any = module.config
        _require_supported(config)
        self._config = config
        self._is_sdxl = config.addition_embed_type == "text_time"
        self._has_timestep_cond = config.time_cond_proj_dim is not None
        self._down_channels = _down_channels(config)
        self._mid_channels = int(config.block_out_channels[-1])
        self._time_proj: Any = module.time_proj
        self._size_proj: Any = module.add_time_proj if self._is_sdxl else None
        self._added_widths = _added_widths(module) if self._is_sdxl else ()
        widths = (*self._down_channels, self._mid_channels, *config.block_out_channels)
        self._zeros = [torch.zeros(1, int(width), 1, 1) for width in widths]
        """For the residuals of ControlNets, of the middle, and of T2I-Adapters."""

    # ------------------------------------------------------------ export

    def wrapper(self, module: torch.nn.Module) -> torch.nn.Module:
        return PositionalUNet(module, self._names(), len(self._down_channels))

    def example(self) -> Sequence[torch.Tensor]:
        width = self._config.cross_attention_dim
        width = width if isinstance(width, int) else width[0]
        inputs = [
            torch.randn(_ROWS, self._config.in_channels, _CELLS, _CELLS),
            torch.randn(_ROWS, self._time_proj.num_channels),
            torch.randn(_ROWS, _TOKENS, width),
        ]
        inputs += [torch.randn(_ROWS, width) for width in self._added_widths]
        if self._has_timestep_cond:
            inputs.append(torch.randn(_ROWS, self._config.time_cond_proj_dim))
        return [*inputs, *self._zeros]

    def dynamic(self) -> Sequence[DynamicAxes]:
        rows = {0: "rows"}
        axes: list[DynamicAxes] = [{0: "rows", 2: "height", 3: "width"}, rows, {0: "rows", 1: "tokens"}]
        axes += [rows] * (len(self._names()) - len(axes))
        return axes + [
            {0: f"residual_rows_{number}", 2: f"residual_height_{number}", 3: f"residual_width_{number}"}
            for number in range(len(self._zeros))
        ]

    def _names(self) -> tuple[str, ...]:
        """Of the inputs before the residuals."""
        added = _ADDED if self._is_sdxl else ()
        timestep_cond = ("timestep_cond",) if self._has_timestep_cond else ()
        return ("sample", "timestep", "encoder_hidden_states", *added, *timestep_cond)

    # ------------------------------------------------------------ calls

    def takes(self, arguments: Mapping[str, Any]) -> bool:
        given = {name for name, value in arguments.items() if value is not None and name not in _IGNORED}
        if arguments.get("cross_attention_kwargs") == {}:
            given.discard("cross_attention_kwargs")
        if not given <= _COMPUTED | _RESIDUALS:
            return False
        added = arguments.get("added_cond_kwargs") or {}
        if {name for name, value in added.items() if value is not None} != set(_ADDED if self._is_sdxl else ()):
            return False
        if "timestep_cond" in given and not self._has_timestep_cond:
            return False
        down, mid = arguments.get("down_block_additional_residuals"), arguments.get("mid_block_additional_residual")
        return (down is None) == (mid is None) and self._has_right_count(arguments)

    def _has_right_count(self, arguments: Mapping[str, Any]) -> bool:
        """Whether there are as many residuals as layers; an adapter of SDXL may have one more, for the middle."""
        down = arguments.get("down_block_additional_residuals")
        features = arguments.get("down_intrablock_additional_residuals")
        blocks = len(self._config.block_out_channels)
        return (down is None or len(down) == len(self._down_channels)) and (
            features is None or len(features) in (blocks, blocks + 1)
        )

    def to_inputs(self, arguments: Mapping[str, Any]) -> Sequence[torch.Tensor] | None:
        if not self.takes(arguments):
            return None
        sample: torch.Tensor = arguments["sample"]
        timestep = torch.as_tensor(arguments["timestep"]).reshape(-1)
        sines = self._time_proj(timestep.cpu().expand(len(sample)))
        inputs = [sample, sines, arguments["encoder_hidden_states"]]
        if self._is_sdxl:
            added = arguments["added_cond_kwargs"]
            sizes = self._size_proj(added["time_ids"].cpu().float().flatten())
            inputs += [added["text_embeds"], sizes.reshape(len(sample), -1)]
        if self._has_timestep_cond:
            given = arguments.get("timestep_cond")
            inputs.append(torch.zeros(len(sample), self._config.time_cond_proj_dim) if given is None else given)
        return [plain_tensor(value) for value in (*inputs, *self._residuals(arguments, sample))]

    def _residuals(self, arguments: Mapping[str, Any], sample: torch.Tensor) -> list[torch.Tensor]:
        count = len(self._down_channels)
        residuals = list(self._zeros)
        down = arguments.get("down_block_additional_residuals")
        if down is not None:
            residuals[: count + 1] = [*down, arguments["mid_block_additional_residual"]]
        features = arguments.get("down_intrablock_additional_residuals")
        if features is not None:
            blocks = len(self._config.block_out_channels)
            residuals[count + 1 :] = features[:blocks]
            if len(features) > blocks and self._fits_middle(features[blocks], sample):
                residuals[count] = plain_tensor(residuals[count]) + plain_tensor(features[blocks])
        return residuals

    def _fits_middle(self, feature: torch.Tensor, sample: torch.Tensor) -> bool:
        """Whether the stock UNet would add an adapter's last feature to its middle block."""
        height, width = sample.shape[-2:]
        for _ in range(len(self._config.block_out_channels) - 1):
            height, width = -(-height // 2), -(-width // 2)
        return tuple(feature.shape[1:]) == (self._mid_channels, height, width)

    def to_output(self, outputs: Sequence[torch.Tensor], arguments: Mapping[str, Any]) -> Any:
        sample: torch.Tensor = arguments["sample"]
        predicted = outputs[0].to(sample.device, sample.dtype)
        return (predicted,) if arguments.get("return_dict") is False else UNet2DConditionOutput(sample=predicted)


class PositionalUNet(torch.nn.Module):
    """A UNet whose arguments are positional tensors: `names`, then the residuals, of which `down_count` and one more
    are a ControlNet's."""

    def __init__(self, unet: torch.nn.Module, names: Sequence[str], down_count: int) -> None:
        super().__init__()
        self.unet = _with_sines_as_inputs(unet)
        self._names = tuple(names)
        self._down_count = down_count

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        given = dict(zip(self._names, inputs, strict=False))
        residuals = inputs[len(self._names) :]
        added = {name: given.pop(name) for name in _ADDED if name in given}
        predicted: torch.Tensor = self.unet(
            **given,
            added_cond_kwargs=added or None,
            down_block_additional_residuals=residuals[: self._down_count],
            mid_block_additional_residual=residuals[self._down_count],
            down_intrablock_additional_residuals=list(residuals[self._down_count + 1 :]),
            return_dict=False,
        )[0]
        return predicted


def _with_sines_as_inputs(unet: torch.nn.Module) -> torch.nn.Module:
    """A copy that shares the weights, and whose timesteps and sizes are sines already."""
    changed = copy.copy(unet)
    changed.__dict__["_modules"] = dict(unet._modules)
    changed.__dict__["get_time_embed"] = lambda sample, timestep: timestep
    if "add_time_proj" in changed._modules:
        changed.add_time_proj = torch.nn.Identity()
    return changed


def _require_supported(config: Any) -> None:
    """Raises: UnsupportedModule."""
    unknown = [name for name in _UNSUPPORTED if config.get(name) is not None]
    if config.time_embedding_type != "positional":
        unknown.append("time_embedding_type")
    if config.addition_embed_type not in (None, "text", "text_time"):
        unknown.append("addition_embed_type")
    if unknown:
        raise UnsupportedModule(f"its UNet has conditions that have no compiled form: {', '.join(unknown)}")


def _down_channels(config: Any) -> tuple[int, ...]:
    """Channels of the residuals that a ControlNet adds, in the order in which the UNet makes them."""
    widths = [int(width) for width in config.block_out_channels]
    layers = config.layers_per_block
    counts = [layers] * len(widths) if isinstance(layers, int) else list(layers)
    channels = [widths[0]]
    for number, (width, count) in enumerate(zip(widths, counts, strict=True)):
        is_last = number == len(widths) - 1
        channels += [width] * (count + (0 if is_last else 1))
    return tuple(channels)


def _added_widths(module: Any) -> tuple[int, int]:
    """Of the pooled prompt and of the sines of the sizes, of which SDXL's refiner has five and the others six."""
    total, each = int(module.add_embedding.linear_1.in_features), int(module.config.addition_time_embed_dim)
    sizes = 5 if total - 5 * each == _POOLED_WIDTH else 6
    return total - sizes * each, sizes * each


_POOLED_WIDTH = 1280
"""Of SDXL's second text encoder."""
